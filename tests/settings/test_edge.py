"""From a command line to checked settings: what is imported, paths that are numbers, grids that are too large."""

import subprocess
import sys
import time

import pytest

from cli.command import run_command
from settings.check import check_settings
from settings.fractions import count_fractions
from settings.unknown import nearest_keys
from tests.conftest import ROOT
from tests.scripts.command import Outcome, run_here
from tests.scripts.test_bad_input import check_one_line
from tests.settings.composed import composed
from tstitch.errors import UserError

IMPORTED = """
import runpy, sys
sys.argv = [sys.argv[1], *sys.argv[2:]]
try:
    runpy.run_module(f"scripts.{sys.argv[0]}", run_name="__main__")
except SystemExit as stop:
    print(stop.code, *(name for name in ("torch", "numpy", "pydantic") if name in sys.modules))
"""


def imported(*arguments: str) -> str:
    """Run a command in a process of its own; its exit code, and which of the heavy packages it imported."""
    command = [sys.executable, "-c", IMPORTED, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "seed=-1"), ("sweep", "fractions=0:1:1e-9"), ("latency", "repeats=0"), ("analyse", "analysis=x"),
        ("allocation", "denoising_end=2"), ("prompts", "batch_size=0"), ("evaluate", "bootstrap=-1"),
        ("compare", "a=1", "b=[]"), ("merge", "run=true"), ("report", "paper=x"), ("table", "pairs=x"),
        ("train", "zoo=null"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_answered_without_pytorch(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) == "2 pydantic"


def test_a_typo_is_answered_without_the_schema_and_the_schema_alone_imports_little() -> None:
    assert imported("sample", "samplr=ddim") == "2"
    alone = "import sys; import settings.check; print([n for n in ('torch', 'numpy', 'hydra') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", alone], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def settings_of(monkeypatch, command: str, *arguments: str):
    """The settings that a command's `main` would get."""
    seen = []
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    run_command(command, seen.append)
    return seen[0]


@pytest.mark.parametrize("text", ["20261124", "1e3", "007", "1_000", "-3", "0x10", "2.50", "nan"])
def test_a_path_is_the_text_that_was_typed(monkeypatch, text: str) -> None:
    assert settings_of(monkeypatch, "merge", f"run={text}").run == text
    assert settings_of(monkeypatch, "sample", f"out={text}").out == text
    assert settings_of(monkeypatch, "merge", f"run='{text}'").run == text


def test_paths_inside_groups_are_the_texts_that_were_typed(monkeypatch) -> None:
    paths = ["pair.autoencoder.path=1e3", "pair.denoisers.s.path=007", "pair.evaluation.reference=5"]
    pair = settings_of(monkeypatch, "sample", *paths).pair
    assert (pair.autoencoder.path, pair.denoisers["s"].path, pair.evaluation.reference) == ("1e3", "007", "5")


def test_numbers_in_lists_of_paths_are_their_texts(monkeypatch) -> None:
    assert settings_of(monkeypatch, "report", "sweeps=[2026,2027]").sweeps == ["2026", "2027"]


LINES = {
    ("sample", "++num_image=4"): "unknown key 'num_image'; did you mean num_images? known: allocation, ",
    ("sample", "+guidance.foo=1"): "unknown key 'guidance.foo'; known in guidance: channels, scale",
    ("sweep", "+latency.foo=3"): "unknown key 'latency.foo'; known in latency: batch_size, repeats",
    ("sample", "~seed"): "seed is missing; it must be a whole number of 0 or more",
    ("sample", "~sampler"): "sampler is missing; it must be a group of settings",
    ("sample", "~pair"): "pair is missing, from which ",
    ("sample", "~pair.fractions"): "pair.fractions is missing, from which stitch.fractions takes its value",
    ("sample", "pair=null"): "pair must be one of digits_dit_s_xl, ",
    ("sample", "sampler=null"): "sampler must be one of ddim, ddpm, ",
    ("sample", "pair="): "unknown pair ''; known: digits_dit_s_xl, ",
    ("sweep", "experiment=[TYPO]"): "unknown experiment 'TYPO'; known: fig11, ",
    ("sample", "guidance=null"): "guidance must be a group of settings (scale, channels), got null",
    ("sample", "seed=${nothing}"): "nothing is missing, from which seed takes its value",
    ("sample", "num_images=2.0"): "num_images must be a whole number of 1 or more, got 2.0",
    ("sample", "num_images=true"): "num_images must be a whole number of 1 or more, got true",
    (
        "sample",
        "num_images=10000000000",
    ): "must be a whole number of 1 or more and at most 1,000,000,000, got",
    ("sample", "stitch.counts=[1,2000000]"): "numbers of 0 or more and at most 1,000,000, got 2000000 in [1, 2000000]",
    ("sample", "sampler.eta=1e400"): "sampler.eta must be a number from 0 to 1, got inf",
    ("sample", "out=[a]"): "out must be a path, got ['a']",
    ("sample", "out=é"): """out=é has characters that must be quoted: 'out="é"'""",
    ("sample", "stitch.fractions=null"): "give one of stitch.fraction, stitch.fractions, ",
    ("sample", "experiment=fig8"): "unknown key 'experiment'; known: allocation, ",
    ("sample", "+experiment=fig8"): "+experiment=fig8 is not for this command: unknown key 'fractions'; did you mean ",
    ("report", "experiment=fig8"): "unknown key 'experiment'; known: analyses, beside, out, paper, sweep, sweeps",
    ("report", "paper=fig0"): "paper must be one of fig11, ",
    ("report", "+beside.x=fig0"): "beside.x must be one of fig11, ",
    ("merge", ""): "run is missing; give run=VALUE",
    ("train", "trainer.iterations=3"): "unknown key 'trainer.iterations'; did you mean recipe.trainer.iterations? ",
    (
        "train",
        "recipe.trainer.iterations=1.5",
    ): "recipe.trainer.iterations must be a whole number of 1 or ",
    ("train", "recipe=dit"): "recipe.name is missing; give recipe.name=VALUE",
    ("sample", "seed=[1"): "seed=[1 cannot be read: ",
    ("sample", "seed=${seed}"): "seed cannot be made: Recursive interpolation detected",
    ("sample", "out=a,b"): """out=a,b is several values: quote it as one, 'out="a,b"', or give a list, 'out=[a,b]'""",
    ("latency", "+ranks=2"): "ranks is for scripts.sweep; this command has no such setting",
    ("prompts", "+call.x=nan"): "call.x must be a finite number, text, true, false, or a list of these, got nan",
    ("sample", "stitch=[]"): "stitch must be a group of settings (fractions, fraction, counts, ",
    ("latency", "+experiment=fig8"): "experiment is one of this command's choices, which takes no +; give experiment=",
    ("sample", "=3"): "'=3' is not of the form KEY=VALUE",
    ("sample", "seed =3"): "'seed =3' has a space in its key; give seed=3",
    ("sample", "hydra.run.dir=/proc/x"): "/proc/x: No such file or directory",
    ("sample", "pair.name=../x"): "pair.name must be a name without slashes, got '../x'",
    ("train", "recipe.name=a/b"): "recipe.name must be a name without slashes, got 'a/b'",
    ("merge", "~run"): "run has no value yet that ~run could take away; give run=VALUE",
    ("sample", "--num_images=3"): "--num_images=3 has dashes, which settings have not: num_images=3",
    ("sample", "-x"): "unknown flag -x; settings are KEY=VALUE, --help lists them and --hydra-help the flags",
    ("sample", "--cfg=foo"): "argument --cfg/-c: invalid choice: 'foo' (choose from",
    ("sample", "out='it's'"): """out='it's' has characters that must be quoted: 'out="it's"'""",
    (
        "sample",
        "out='~/x'",
    ): "out must be a path, got '~/x', which the shell has not expanded there; give ",
    ("report", "sweeps=[a,$HOME]"): "got '$HOME' in ['a', '$HOME']",
    ("report", "sweeps=[a,b,a]"): "sweeps must be a list of paths, each once, got 'a' twice in ['a', 'b', 'a']",
    ("table", "fractions=0:1:1e-9"): "points of three models, and at most 10,000 are taken; shorten them, got",
    ("sweep", "fractions=0:1:1e-9"): "points, and at most 10,000 are taken",
}


@pytest.mark.parametrize("arguments", LINES, ids=" ".join)
def test_a_mistake_is_one_line(capfd, monkeypatch, arguments: tuple[str, str]) -> None:
    command, argument = arguments
    outcome = run_here(capfd, monkeypatch, command, *filter(None, [argument]))
    check_one_line(outcome, LINES[arguments])


SEVERAL = {
    ("~sampler", "sampler.num_steps=2"): "sampler.num_steps=2 has nothing to change: ~sampler takes it away",
    ("seed=1", "--cfg", "job", "num_images=2"): "num_images=2 is behind a flag and others are before it; put all ",
    (
        "pair=fashion_unet_s_l",
        "pair.denoisers.s.config.depth=3",
    ): "unknown key 'pair.denoisers.s.config.depth'; known in pair.denoisers.s.config: attention_resolutions, ",
}


@pytest.mark.parametrize("arguments", SEVERAL, ids=" ".join)
def test_a_mistake_in_several_arguments_is_one_line(capfd, monkeypatch, arguments: tuple[str, ...]) -> None:
    check_one_line(run_here(capfd, monkeypatch, "sample", *arguments), SEVERAL[arguments])


def test_spaces_without_quotes_are_explained(capfd, monkeypatch) -> None:
    outcome = run_here(capfd, monkeypatch, "sample", "out=a", "b")
    check_one_line(outcome, """'b' is not of the form KEY=VALUE; a value with spaces is quoted: 'out="a b"'""")


@pytest.mark.parametrize(
    ("fractions", "num_denoisers", "num_points"),
    [("0:1:0.1", 2, 11), ("0:1:0.1", 3, 66), ("0.2:0.4:0.1", 2, 3), ([0, 0.5], 2, 2), ("0:1:0.5", 1, 3)],
)
def test_points_are_counted(fractions, num_denoisers: int, num_points: int) -> None:
    assert count_fractions(fractions, num_denoisers) == num_points


def test_a_grid_of_many_points_is_refused_at_once() -> None:
    sweep = {**composed("sweep"), "fractions": "0:1:0.01", "num_steps": list(range(1, 100))}
    assert check_settings("sweep", sweep).num_steps == sweep["num_steps"]  # 101 * 99
    started = time.perf_counter()
    for changes in (
        {"num_steps": list(range(1, 101))},
        {"fractions": "0:1:1e-300"},
        {"also": [{"fractions": "0:1:0.02"}]},
    ):
        with pytest.raises(UserError, match="points, and at most 10,000 are taken; shorten them"):
            check_settings("sweep", {**sweep, **changes})
    assert time.perf_counter() - started < 30, "the grids were built before they were refused"


def test_the_nearest_keys_come_first() -> None:
    known = ["seed", "num_images", "sampler.num_steps", "recipe.trainer.seed", "recipe.trainer.iterations"]
    assert nearest_keys("sampler.steps", known) == ["sampler.num_steps"]
    assert nearest_keys("trainer.iteration", known) == ["recipe.trainer.iterations"]
    assert nearest_keys("sed", known)[0] == "seed"
    assert nearest_keys("colour", known) == []


@pytest.mark.parametrize("command", ["sample", "sweep", "prompts", "train"])
def test_help_lists_every_setting(capfd, monkeypatch, command: str) -> None:
    shown: Outcome = run_here(capfd, monkeypatch, command, "--help")
    assert shown.code == 0
    assert shown.out.startswith(f"python -m scripts.{command}")
    assert max(map(len, shown.out.splitlines())) <= 120
    keys = [key for key, value in composed(command).items() if not isinstance(value, dict)]
    assert all(f"\n  {key}: " in shown.out or f"\n{key}: " in shown.out for key in keys)  # a group may be null
