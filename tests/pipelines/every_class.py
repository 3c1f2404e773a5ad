"""Every pipeline class of the installed diffusers, stitched: the checks, and their table in docs/pipelines.md.

`python -m tests.pipelines.every_class` writes the table, and `... CLASS ...` prints the rows of some.
"""

import gc
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch

from tests.pipelines.tiny.calls import arguments, sample
from tests.pipelines.tiny.pipelines import DENOISERS, annotations, classes, denoiser, make
from tstitch import stitch, unstitch
from tstitch.dropin.compatibility import prepared_by
from tstitch.errors import UserError

LIMIT_S = 40
BEGIN, END = "<!-- every class: begin -->", "<!-- every class: end -->"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "pipelines.md"


@dataclass(frozen=True)
class Row:
    """What became of one class: `pass`, `refused`, `not built`, `wrong` or `crash`, and why."""

    name: str
    result: str
    why: str = ""


def check(name: str, kind: type) -> Row:
    """Stitch a pipeline of a class with fraction 0, 1 and 0.5, call it again, and unstitch it."""
    if not set(DENOISERS) & set(annotations(kind)):
        return Row(name, "no denoiser", "it has neither a unet nor a transformer")
    try:
        pipe = make(kind)
        attribute = next((each for each in DENOISERS if getattr(pipe, each, None) is not None), None)
        large = getattr(pipe, attribute) if attribute else None
        small = _small(kind, large, attribute, "small")
        if small is not None and _lengths(pipe, small) != _lengths(pipe, large):
            small = _small(kind, large, attribute, "equal")
        call = arguments(pipe)
        plain = _first(pipe, call)
        if not torch.equal(sample(pipe, call), plain):
            return Row(name, "not built", "two plain calls with one seed differ")
        if attribute:
            _put(pipe, attribute, large, small)
            plain_small = sample(pipe, call)
            _put(pipe, attribute, small, large)
    except Exception as error:
        if "-v" in sys.argv:
            traceback.print_exc()
        return Row(name, "not built", _line(error))
    try:
        return Row(name, *_checks(pipe, attribute or "unet", small, call, plain, plain_small if attribute else None))
    except UserError as error:
        return Row(name, "refused", _line(error))
    except TimeoutError as error:
        return Row(name, "not built", _line(error))
    except Exception as error:
        if "-v" in sys.argv:
            traceback.print_exc()
        return Row(name, "crash", _line(error))


def _first(pipe: object, call: dict) -> torch.Tensor:
    """Sample with latents as the output, which saves time, or with arrays, where a pipeline gives no latents."""
    try:
        return sample(pipe, call)
    except ValueError as error:
        if "latent" not in str(error) or "output" not in str(error):
            raise
        call["output_type"] = "np"
        return sample(pipe, call)


def _lengths(pipe: object, network: object) -> list:
    """Return the numbers of layers that the pipeline reads; they must agree."""
    return [values for what, values in prepared_by(pipe, network) if what.startswith("the length")]


def _small(kind: type, large: object, attribute: str | None, size: str) -> object:
    """Make the small denoiser; where the pipeline converts its UNet, a pipeline of its class has one."""
    small = denoiser(kind, size)
    if small is None or type(small) is type(large):
        return small
    return getattr(make(kind, size), attribute)


def _put(pipe: object, name: str, old: object, new: object) -> None:
    """Replace a network in a pipeline and in those that it holds."""
    for each in (pipe, *(value for value in vars(pipe).values() if isinstance(value, diffusers.DiffusionPipeline))):
        if getattr(each, name, None) is old:
            setattr(each, name, new)


def _checks(
    pipe: object, name: str, small: object, call: dict, plain: torch.Tensor, plain_small: torch.Tensor
) -> tuple:
    large = getattr(pipe, name, None)
    processors, of_large = (dict(getattr(each, "attn_processors", {})) for each in (small, large))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stitched = stitch(pipe, small, fraction=0)
        if not torch.equal(sample(pipe, call), plain):
            return "wrong", "fraction 0 is not the large one alone"
        stitched.allocate(fraction=1)
        if not torch.equal(sample(pipe, call), plain_small):
            return "wrong", "fraction 1 is not the small one alone"
        stitched.allocate(fraction=0.5)
        takers: list[int] = []
        handles = [
            each.register_forward_hook(lambda *_, index=index: takers.append(index))
            for index, each in enumerate(stitched.denoisers)
        ]
        half = sample(pipe, call)
        first, again = list(takers), sample(pipe, call)
        for handle in handles:
            handle.remove()
        if not torch.equal(half, again):
            return "wrong", "a second call differs"
        if 0 not in first or 1 not in first:
            return "wrong", f"the split at 0.5 called {first}"
        if abs(first.count(0) - first.count(1)) > max(2, len(first) // 3):
            return "wrong", f"the split at 0.5 is uneven: {first}"
        is_restored = getattr(large, "attn_processors", {}) == of_large
        if is_restored and getattr(small, "attn_processors", {}) != processors:
            return "wrong", "attention processors are left in the small one after a call"
        unstitch(pipe)
        if getattr(pipe, name) is not large or not torch.equal(sample(pipe, call), plain):
            return "wrong", "unstitch does not give the pipeline back"
        if getattr(small, "attn_processors", {}) != processors:
            return "wrong", "attention processors are left in the small one after unstitch"
    if torch.equal(plain, plain_small) or torch.equal(half, plain):
        return "wrong", "the denoisers make no difference"
    return "pass", ""


def _stop(*_: object) -> None:
    raise TimeoutError(f"takes more than {LIMIT_S} s")


def _line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error))
    return text.replace("|", "/")[:160]


def table(rows: Sequence[Row]) -> str:
    """Write the table: counts, the classes that pass, and each other class with its reason."""
    results = ("pass", "refused", "wrong", "crash", "no denoiser", "not built")
    counts = {result: sum(row.result == result for row in rows) for result in results}
    passed = ", ".join(f"`{row.name}`" for row in rows if row.result == "pass")
    others = [f"| `{row.name}` | {row.result} | {row.why} |" for row in rows if row.result != "pass"]
    return "\n".join([
        BEGIN,
        f"diffusers {diffusers.__version__}, {len(rows)} pipeline classes: "
        + ", ".join(f"{count} {result}" for result, count in counts.items()) + ".", "",
        f"Pass: {passed}.", "",
        "| class | result | why |", "|---|---|---|", *others, END,
    ])  # fmt: skip


def write(rows: Sequence[Row]) -> None:
    """Replace the table in docs/pipelines.md."""
    text = DOCS.read_text()
    DOCS.write_text(text.split(BEGIN)[0] + table(rows) + text.split(END)[1])


def check_all(names: Sequence[str] = ()) -> list[Row]:
    """Check some classes, by name, or all. One that takes more than LIMIT_S seconds counts as not built."""
    rows = []
    signal.signal(signal.SIGALRM, _stop)
    for name, kind in classes().items():
        if not names or name in names:
            signal.alarm(LIMIT_S)
            rows.append(check(name, kind))
            signal.alarm(0)
            print(rows[-1].result, name, rows[-1].why, flush=True)
            gc.collect()
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    wanted = [each for each in sys.argv[1:] if not each.startswith("-")]
    rows = check_all(wanted)
    if not wanted:
        write(rows)
