"""Points carry the fractions that ran, and what was asked for beside them; what is the same run is one point."""

import csv
import html
import json
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from evaluation.report.content import reproduce
from evaluation.report.paper import Paper
from evaluation.report.sweep import Asked, Point, Sweep
from evaluation.report.tables import points_table
from experiments.axes import plan_points
from experiments.sweep import kept_overrides
from models.checkout import CONFIG_DIR
from sampling.configuration import checked
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

TINY = ["num_images=8", "batch_size=8", "latency.repeats=1", "pair.evaluation.bootstrap=5"]
LATENCY = {"seconds_per_image": 1.0, "seconds_per_image_min": 1.0, "seconds_per_image_max": 1.0}


@pytest.fixture
def settings_of():
    """A function from overrides to the settings of a sweep."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        yield lambda *overrides: checked("sweep", compose("sweep", list(overrides)))


def test_ten_steps_with_a_quarter_are_a_fifth(settings_of) -> None:
    [point] = plan_points(settings_of("fractions=[0.25]", "sampler.num_steps=10"))
    assert point.place["fractions"] == [0.2, 0.8]
    assert [asked["fractions"] for asked in point.asked] == [[0.25, 0.75]]


def test_what_resolves_to_the_same_run_is_one_point(settings_of) -> None:
    points = plan_points(settings_of("fractions=0:1:0.1", "sampler.num_steps=4"))
    assert [point.place["fractions"][0] for point in points] == [0, 0.25, 0.5, 0.75, 1]
    assert sum(len(point.asked) for point in points) == 11
    orders = ["orders=[small_to_large,large_to_small]", "rules=[steps,timestep]", "guidance_scales=[1.5,[1.5,1.5]]"]
    points = plan_points(settings_of("fractions=[0,0.5,1]", "sampler.num_steps=4", *orders))
    identities = [json.dumps(point.plan.identity("cpu"), sort_keys=True) for point in points]
    assert len(set(identities)) == len(points) == 4
    assert [len(point.asked) for point in points] == [4, 2, 4, 2]
    # A scale that no step uses makes no run of its own.
    scales = plan_points(settings_of("fractions=[0,1]", "guidance_scales=[[1,1.5],[2,1.5]]"))
    assert len(scales) == 3


def test_a_shared_point_lies_on_every_curve() -> None:
    def point(fractions: list[float], asked: list[tuple[list[float], str]]) -> Point:
        places = [Asked(own, 1.5, 4, order, "steps") for own, order in asked]
        return Point(fractions, 1.5, "ddim", 4, asked[0][1], "steps", [0], {"fid5k": 9.0}, LATENCY, asked=places)

    large = point([0, 1], [([0, 1], "small_to_large"), ([0, 1], "interleave"), ([0.1, 0.9], "interleave")])
    halves = [point([0.5, 0.5], [([0.5, 0.5], order)]) for order in ("small_to_large", "interleave")]
    sweep = Sweep([large, *halves], {"pair": "a"})
    curves = {series.order: points for _, series, points in sweep.curves()}
    assert curves == {"small_to_large": [large, halves[0]], "interleave": [large, halves[1]]}
    assert sweep.large_alone(halves[1]) is large
    assert large.shown("order") == "small to large or interleave"
    assert large.label == "0/1 (asked 0.1/0.9)"


def test_the_papers_numbers_are_found_by_what_was_asked() -> None:
    curves = [{"fractions": [0.2, 0.25, 0.3], "fid": [2.0, 2.5, 3.0]}]
    paper = Paper("t", "points", {}, {"fid": 1.0}, curves=curves)

    def point(*asked: float) -> Point:
        places = [Asked([own, 1 - own], 1.5, 10, "small_to_large", "steps") for own in asked]
        arguments = ("ddim", 10, "small_to_large", "steps", [0], {"fid5k": 2.2}, LATENCY)
        return Point([0.2, 0.8], 1.5, *arguments, asked=places)

    assert paper.values_at(point(0.25)) == {"fid": 2.5}, "the paper's 0.25 was rounded as ours"
    assert paper.values_at(point(0.25, 0.2)) == {"fid": 2.0}, "the nearest to what ran"
    table = points_table(paper, Sweep([point(0.25)], {"pair": "a"}), [])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["fractions"], row["asked"], row["FID paper"]) == ("0.2/0.8", "0.25/0.75", "2.5")


@pytest.mark.parametrize(
    ("fractions", "fids", "said"),
    [
        ([0, 0.2, 0.4, 1], [10, 10.5, 12, 40], "up to 0.2."),
        ([0, 1], [10, 40], None),
        ([0.2, 0.4, 1], [10, 12, 40], None),
    ],
)
def test_the_papers_curve_is_flat_by_all_of_its_fractions(fractions, fids, said: str | None) -> None:
    paper = Paper("t", "points", {}, {}, curves=[{"fractions": fractions, "fid": fids, "sampler": "ddim"}])
    ours = [
        Point([own, 1 - own], 1.5, "ddim", 10, "small_to_large", "steps", [0], {"fid5k": fid}, LATENCY)
        for own, fid in ((0, 10.0), (0.5, 20.0))
    ]
    text = " ".join(points_table(paper, Sweep(ours, {"pair": "a"}), []).notes)
    assert (f"The paper's FID stays within 10% {said}" in text) if said else "The paper's FID" not in text


def test_the_papers_numbers_are_of_its_own_order_and_of_no_router() -> None:
    paper = Paper("t", "points", {}, {"fid": 1.0}, curves=[{"fractions": [0, 0.5, 1], "fid": [10, 10.5, 40]}])

    def ran(share: float, order: str, router: str = "allocation") -> Point:
        return Point([share, 1 - share], 1.5, "ddim", 10, order, "steps", [0], {"fid5k": 11.0}, LATENCY, router=router)

    ours, other = "small_to_large", "large_to_small"
    points = [
        ran(0, ours),
        ran(0.5, ours),
        ran(0.5, other),
        ran(0, other),
        ran(0.5, ours, "track"),
        ran(0, ours, "track"),
    ]
    assert [paper.values_at(point).get("fid") for point in points] == [10, 10.5, None, 10, None, None]
    notes = [note for note in points_table(paper, Sweep(points, {"pair": "a"}), []).notes if "10 steps" in note]
    assert ["The paper's FID stays within 10% up to 0.5." in note for note in notes] == [True, False, False]
    assert [note.partition(": ")[0] for note in notes] == [
        "DDIM, 10 steps, small to large", "DDIM, 10 steps, large to small",
        "DDIM, 10 steps, small to large, router track",
    ]  # fmt: skip


def test_files_and_pages_show_what_ran(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    settings = [*TINY, "fractions=[0,0.1,0.3,0.6]", "sampler.num_steps=4", f"out={out}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *settings)
    assert outcome.code == 0, outcome.err
    assert "0/1 against 0/1" not in outcome.out, "the large model has no verdict against itself"
    points = json.loads((out / "sweep.json").read_text())["points"]
    assert [point["fractions"] for point in points] == [[0, 1], [0.25, 0.75], [0.5, 0.5]]
    assert [asked["fractions"] for asked in points[0]["asked"]] == [[0, 1], [0.1, 0.9]]
    assert len(list((out / "points").iterdir())) == 3
    rows = list(csv.DictReader((out / "sweep.csv").open()))
    assert [row["fractions"] for row in rows] == ["0/1", "0.25/0.75", "0.5/0.5"]
    assert [row["requested_fractions"] for row in rows] == ["0.1/0.9", "0.3/0.7", "0.6/0.4"]
    outcome = run_here(capfd, monkeypatch, "report", f"sweep={out}")
    assert outcome.code == 0, outcome.err
    assert "<td>0.25/0.75</td><td>0.3/0.7</td>" in (out / "report.html").read_text()
    assert "| 0.25/0.75 | 0.3/0.7 |" in (out / "report.md").read_text()


@pytest.mark.long
@pytest.mark.parametrize("metrics", ["kid", "precision", "inception_score", "recall,precision,kid", "sfid"])
def test_a_sweep_draws_the_metrics_that_there_are(capfd, monkeypatch, tmp_path: Path, metrics: str) -> None:
    out = tmp_path / "sweep"
    settings = [*TINY, "sampler.num_steps=2", f"pair.evaluation.metrics=[{metrics}]", "fractions=[0,0.5,1]"]
    if metrics == "sfid":
        out_of_place = run_here(capfd, monkeypatch, "sweep", *settings, f"out={out}")
        check_one_line(out_of_place, "sfid needs Inception's spatial features; digits has none")
        return
    outcome = run_here(capfd, monkeypatch, "sweep", *settings, f"out={out}", "wandb.mode=offline")
    assert outcome.code == 0, outcome.err
    assert (out / "curve.png").stat().st_size > 5000
    assert (out / "strip.png").is_file()
    for command, arguments in {
        "report": [f"sweep={out}"],
        "table": ["name=table9", "pairs=digits", f"sweep={out}", f"out={tmp_path / 'tables'}"],
    }.items():
        outcome = run_here(capfd, monkeypatch, command, *arguments)
        assert outcome.code == 0, outcome.err
    header = (out / "sweep.csv").read_text().splitlines()[0]
    pictures = {path.name for path in (out / "report_pictures").iterdir()}
    for metric in metrics.split(","):
        assert metric in header
        assert any(name.startswith(f"{metric}_fraction") for name in pictures)


GRIDS = [
    ["fractions=0:1:0.25", "sampler.num_steps=4"],
    ["fractions=[0.5]", "also=[{fractions: [0], num_steps: [2]}, {samplers: [euler], orders: [interleave]}]"],
    ["sampler.eta=0.5", "labels=balanced", "sampler.history=reset", "fractions=[0.3]"],
    ["rules=[steps,timestep]", "guidance_scales=[1,[1,1.5]]", "fractions=[0.2,0.7]", "sampler=plms"],
    ["pair.denoisers.xl.path=models/zoo/fashion/dit_b.safetensors", "pair=fashion_dit_s_b_xl", "fractions=0:1:0.5"],
    ["experiment=fig15", "pair=fashion_dit_s_b_xl", "num_images=8", "sampler.num_steps=4"],
    [
        "fractions=[0.4]",
        "pair.autoencoder.path=models/zoo/digits/autoencoder.safetensors",
        "pair.schedule.beta_end=0.03",
        "seed=3",
    ],
]


@pytest.mark.parametrize("overrides", GRIDS)
def test_the_command_that_is_printed_plans_the_same_runs(settings_of, overrides: list[str]) -> None:
    place = ["out=a place", "points=b", "wandb.mode=offline", "dry_run=true"]
    command = reproduce(Sweep([], {}, kept_overrides([*overrides, *place])))
    python, flag, module, *printed = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "scripts.sweep")
    assert not any(own.startswith(("out=", "points=", "wandb")) for own in printed)

    def runs(own: list[str]) -> list[str]:
        points = plan_points(settings_of(*own, "dry_run=true"))
        return [
            json.dumps([p.place, p.plan.allocation, p.settings.as_dict()], sort_keys=True, default=str) for p in points
        ]

    def without_place(texts: list[str]) -> list[str]:
        found = [json.loads(text) for text in texts]
        for own in found:
            for key in ("out", "points", "wandb"):
                own[2].pop(key)
        return found

    assert without_place(runs(printed)) == without_place(runs([*overrides, *place]))


def test_the_report_prints_the_overrides_of_the_sweep(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "a sweep"
    own = [*TINY, "fractions=[0.5]", "sampler.num_steps=2", "sampler.eta=0.5", "labels=balanced",
           "also=[{fractions: [0], orders: [interleave]}]"]  # fmt: skip
    assert run_here(capfd, monkeypatch, "sweep", *own, f'out="{out}"').code == 0
    assert json.loads((out / "sweep.json").read_text())["overrides"] == own
    assert run_here(capfd, monkeypatch, "report", f'sweep="{out}"').code == 0
    text = html.unescape((out / "report.html").read_text())
    printed = text[text.index("python -m scripts.sweep") : text.index("python -m scripts.report")]
    assert shlex.split(printed)[3:] == own
