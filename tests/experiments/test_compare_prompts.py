"""`scripts.compare` on runs of prompts, whose record has another evaluation than that of a pair."""

import json
from pathlib import Path

from models.checkout import ROOT
from tests.sampling.prompt_runs import arguments, save_weights
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

ZOO = ROOT / "models" / "zoo" / "digits"


def test_two_runs_of_prompts_are_compared_with_a_verdict(capfd, monkeypatch, tmp_path: Path) -> None:
    weights, runs = save_weights(tmp_path / "weights"), [tmp_path / "a", tmp_path / "b"]
    for run, fraction in zip(runs, (0, 0.4), strict=True):
        more = [f"stitch.fraction={fraction}", "call.height=32", "call.width=32", "num_images=6"]
        outcome = run_here(capfd, monkeypatch, "prompts", *arguments(weights, run, *more))
        assert outcome.code == 0, outcome.err
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}")
    check_one_line(outcome, "result.json does not exist; python -m scripts.evaluate makes it")
    side = [f"reference={ZOO / 'reference.npz'}", "extractor=digits", "metrics=[fid]", "bootstrap=5"]
    for run in runs:
        outcome = run_here(capfd, monkeypatch, "evaluate", f"run={run}", *side)
        assert outcome.code == 0, outcome.err
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}")
    assert outcome.code == 0, outcome.err
    assert "fid6" in outcome.out
    assert "b against a: FID " in outcome.out

    result = json.loads((runs[0] / "result.json").read_text())
    del result["asked"]
    (runs[0] / "result.json").write_text(json.dumps(result))
    outcome = run_here(capfd, monkeypatch, "compare", f"a={runs[0]}", f"b={runs[1]}")
    check_one_line(outcome, "result.json does not say what it was scored with")
