"""How far pairs stitch well, beside measures that are cheap to know of them before any FID."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan, nan
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import permutation_test, rankdata, spearmanr

from evaluation.records import Record, read_record
from evaluation.report.analysis_file import AnalysisRecord, IdentityRecord
from evaluation.report.figures import PALETTE, figure
from evaluation.report.findings import FLAT_WITHIN
from evaluation.report.render import Table
from evaluation.report.sweep import Point, Scale, Sweep
from settings.types import Words
from tstitch.errors import UserError

EARLY = 0.4  # of the steps: as far as T-Stitch's small model usually goes
DRAWS = 9_999
Key = tuple[frozenset[str], str]  # checksums of the models, and the guidance scale


class DenoiserRecord(Record):
    """A denoiser of an analysis."""

    sha256: Words


class GuidanceRecord(Record):
    """The guidance scale of each denoiser."""

    scale: dict[str, float]


class PairIdentityRecord(IdentityRecord):
    """The weights and the guidance of an analysis, by which it is looked up."""

    denoisers: dict[str, DenoiserRecord]
    guidance: GuidanceRecord


class PairAnalysisRecord(AnalysisRecord):
    """An analysis that says which weights it is of."""

    identity: PairIdentityRecord


@dataclass(frozen=True)
class Stitched:
    """A pair at a guidance scale: how far it stays flat, and what is cheap to know of it, by name."""

    pair: str
    scale: Scale
    flat: float
    measures: Mapping[str, float]


def flat_fraction(points: Sequence[Point]) -> float:
    """Return the fraction up to which FID stays within `FLAT_WITHIN` of that at 0, interpolated between points.

    Args:
        points: of one curve, by fraction from 0 on.
    """
    highest = (1 + FLAT_WITHIN) * points[0].distance
    for before, after in pairwise(points):
        if after.distance > highest:
            share = (highest - before.distance) / (after.distance - before.distance)
            return before.small_fraction + share * (after.small_fraction - before.small_fraction)
    return points[-1].small_fraction


def gather(sweeps: Sequence[tuple[Path, Sweep]], analyses: Sequence[Path]) -> list[Stitched]:
    """Join each curve of the sweeps with the analyses of the same weights at the same guidance scale.

    Raises:
        UserError: a sweep is not of two models, has no FID at fractions 0 and 1, or lacks an analysis.
    """
    cheap = _read_measures(analyses)
    joined = []
    for place, sweep in sweeps:
        models = frozenset(own["sha256"] for own in sweep.protocol.get("denoisers", {}).values())
        if len(models) != 2:
            raise UserError(f"{place} is a sweep of {len(models)} models; the flat fraction is of two")
        for scale, _, points in sweep.curves():
            if isinstance(scale, list):
                raise UserError(f"{place} has guidance scales for each model, {scale}; want one for both")
            if any(point.distance is None for point in points) or not _has_ends(points):
                raise UserError(f"{place} needs FID at fractions 0 and 1 at guidance scale {scale}")
            missing = [kind for kind in MEASURES if kind not in cheap.get((models, f"{scale:g}"), {})]
            if missing:
                raise UserError(
                    f"{place} at guidance scale {scale:g} has no analysis of the same weights; make it with "
                    f"python -m scripts.analyse analysis={missing[0]} pair={sweep.protocol['pair']} "
                    f"guidance.scale={scale:g}"
                )
            of_kinds = [cheap[models, f"{scale:g}"][kind] for kind in MEASURES]
            measures = {
                **{name: value for of_kind in of_kinds for name, value in of_kind.items()},
                "FID of the small model": points[-1].distance,
                "FID of the small over that of the large": points[-1].distance / points[0].distance,
            }
            joined.append(Stitched(sweep.protocol["pair"], scale, flat_fraction(points), measures))
    return joined


def _has_ends(points: Sequence[Point]) -> bool:
    return points[0].small_fraction == 0 and points[-1].small_fraction == 1


def _read_measures(places: Sequence[Path]) -> dict[Key, dict[str, dict[str, float]]]:
    """Read the measures that analyses have, by kind, for each pair of weights and guidance scale."""
    measures: dict[Key, dict[str, dict[str, float]]] = {}
    for place in places:
        files = [place / f"{kind}.json" for kind in MEASURES] if place.is_dir() else [place]
        for path in (path for path in files if path.is_file()):
            content, record = read_record(path, PairAnalysisRecord)
            models = frozenset(denoiser.sha256 for denoiser in record.identity.denoisers.values())
            scales, kind = sorted(set(record.identity.guidance.scale.values())), record.identity.analysis
            if len(scales) != 1 or kind not in MEASURES:
                raise UserError(
                    f"{path} is of analysis={kind} at guidance scale {', '.join(map(str, scales))}; want one scale, "
                    f"and {' or '.join(MEASURES)}"
                )
            measures.setdefault((models, f"{scales[0]:g}"), {})[kind] = MEASURES[kind](content["data"])
    return measures


def _of_disagreement(data: Mapping) -> dict[str, float]:
    mean, weights = np.array(data["curves"][0]["mean"]), np.array(data["weights"])
    early = max(1, round(EARLY * len(mean)))
    return {
        "disagreement": mean.mean(),
        f"disagreement in the first {EARLY:.0%}": mean[:early].mean(),
        "the same, weighted by the solver": float(mean[:early] @ weights[:early] / weights[:early].sum()),
    }


def _of_error(data: Mapping) -> dict[str, float]:
    fractions, errors = zip(
        *sorted(zip([own[0] for own in data["fractions"]], data["curve"]["mean"], strict=True)), strict=True
    )
    return {f"distance of the end at {EARLY:g}": float(np.interp(EARLY, fractions, errors))}


MEASURES: dict[str, Callable[[Mapping], dict[str, float]]] = {"disagreement": _of_disagreement, "error": _of_error}


def rank_correlation(stitched: Sequence[Stitched], measure: str) -> tuple[float, float]:
    """Spearman's rank correlation of a measure with the flat fraction, and its p-value from permutations.

    Both are NaN for fewer than four, or where all have one value.
    """
    values, flat = [each.measures[measure] for each in stitched], [each.flat for each in stitched]
    if len(stitched) < 4 or len(set(values)) == 1 or len(set(flat)) == 1:
        return nan, nan
    ranks = rankdata(flat)
    tested = permutation_test(
        (values,), lambda x: spearmanr(x, ranks).statistic, permutation_type="pairings", n_resamples=DRAWS,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(tested.statistic), float(tested.pvalue)


def flatness_table(stitched: Sequence[Stitched]) -> Table:
    """Make the table of all pairs, with the correlation of each measure below it."""
    names = list(stitched[0].measures)
    of_measures = ((name, *rank_correlation(stitched, name)) for name in names)
    ordered = sorted(stitched, key=lambda each: -each.flat)
    rows = [[each.pair, f"{each.scale:g}", each.flat, *(each.measures[name] for name in names)] for each in ordered]
    notes = [
        f"{name}: rank correlation with the flat fraction {rho:+.2f} (p = {p:.3f}, {len(stitched)} points)."
        for name, rho, p in of_measures
        if not isnan(rho)
    ] or [f"No correlation can be told from {len(stitched)} points."]
    columns = ["pair", "guidance scale", "flat fraction", *names]
    return Table("What decides how far a pair stitches well", columns, rows, notes, formats={"flat fraction": ".2f"})


def draw_flatness(stitched: Sequence[Stitched]) -> Figure:
    """Draw the flat fraction against each measure, a colour for each pair."""
    names, pairs = list(stitched[0].measures), list(dict.fromkeys(each.pair for each in stitched))
    columns = 3
    rows = -(-len(names) // columns)
    with figure(4.2 * columns, 3.3 * rows + 0.4) as drawn:
        all_axes = drawn.subplots(rows, columns, squeeze=False).flatten()
        for axes, name in zip(all_axes, names, strict=False):
            for number, pair in enumerate(pairs):
                own = [each for each in stitched if each.pair == pair]
                axes.plot(
                    [each.measures[name] for each in own], [each.flat for each in own], "o",
                    color=PALETTE[number % len(PALETTE)], label=pair,
                )  # fmt: skip
            rho, _ = rank_correlation(stitched, name)
            if not isnan(rho):
                axes.set_title(f"rank correlation {rho:+.2f}", fontsize=10)
            axes.set_xlabel(name)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_ylabel("flat fraction")
            axes.grid(alpha=0.25)
        for axes in all_axes[len(names) :]:
            axes.set_visible(False)
        handles, labels = all_axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=3)
    return drawn
