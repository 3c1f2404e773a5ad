"""A Markdown page on finished sweeps: pictures, what was found in words, the numbers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.sweep import Point, Sweep
from tstitch.allocation import show_fractions

FLAT_WITHIN = 0.10


@dataclass(frozen=True)
class Chapter:
    """What the page says of a pair: its points, the curve (None for a point alone), a strip for each scale."""

    sweep: Sweep
    curve: Path | None
    strips: list[tuple[float | list[float], Path]]


def summarise(chapters: Sequence[Chapter], page: Path) -> str:
    """The Markdown text of a page at `page`, with links relative to it."""
    first = chapters[0].sweep.protocol
    lines = [
        f"# Trajectory stitching: {', '.join(dict.fromkeys(c.sweep.protocol['pair'] for c in chapters))}",
        "",
        f"{_sampling(first)}{first['num_images']} images for each point "
        f"with the same noise and labels (seed {first['seed']}), {first['precision']}, on {first['device_name']}. "
        f"FID against {first['reference_num_images']} real images over the features of `{first['extractor']}`.",
        "",
    ]
    everything = [point for chapter in chapters for point in chapter.sweep.points]
    for chapter in chapters:
        lines += _section(chapter, everything, page)
    return "\n".join(lines)


def _sampling(protocol: dict) -> str:
    """The sampler and its steps, where all points share them."""
    if not {"sampler", "num_steps"} <= protocol.keys():
        return ""
    return f"{protocol['sampler']['name'].upper()}, {protocol['num_steps']} steps, "


def find_flat_point(points: Sequence[Point]) -> Point | None:
    """The largest fraction up to which every FID stays within `FLAT_WITHIN` of the one at 0."""
    return points[last_flat([point.fid for point in points])] if points[0].small_fraction == 0 else None


def last_flat(fids: Sequence[float]) -> int:
    """The last position up to which every FID stays within `FLAT_WITHIN` of the first."""
    highest = (1 + FLAT_WITHIN) * fids[0]
    return next((before for before, fid in enumerate(fids[1:]) if fid > highest), len(fids) - 1)


def describe_finding(points: Sequence[Point], scale: float | list[float]) -> str:
    """How far FID stays flat, the speed-up there, and where the small model alone ends."""
    if len(points[0].fractions) > 2:
        return describe_fastest(points, scale)
    flat, large, small = find_flat_point(points), points[0], points[-1]
    if flat is None or len(points) < 2:
        return f"Guidance scale {scale}: no point at fraction 0, so there is nothing to compare with."
    if flat is large:
        found = f"no fraction tried keeps FID within {FLAT_WITHIN:.0%} of the large model's {large.fid:.2f}"
    else:
        flat_ms, large_ms = 1000 * flat.seconds_per_image, 1000 * large.seconds_per_image
        found = (
            f"FID stays within {FLAT_WITHIN:.0%} of the large model's {large.fid:.2f} up to fraction "
            f"{flat.small_fraction:g} (FID {flat.fid:.2f}), where an image takes {flat_ms:.1f} ms "
            f"instead of {large_ms:.1f} ms: {large_ms / flat_ms:.2f}x faster"
        )
    if small.small_fraction == 1:
        found += (
            f". The small model alone has FID {small.fid:.2f} ({small.fid / large.fid:.1f}x) "
            f"and is {large.seconds_per_image / small.seconds_per_image:.1f}x faster"
        )
    return f"Guidance scale {scale}: {found}."


def describe_fastest(points: Sequence[Point], scale: float | list[float]) -> str:
    """Of three models or more: the fastest point that keeps FID."""
    large = next((point for point in points if point.is_large_alone), None)
    if large is None:
        return f"Guidance scale {scale}: no point of the large model alone, so there is nothing to compare with."
    kept = [point for point in points if point.fid <= (1 + FLAT_WITHIN) * large.fid]
    fastest = min(kept, key=lambda point: point.seconds_per_image)
    return (
        f"Guidance scale {scale}: the fastest of {len(points)} points with FID within {FLAT_WITHIN:.0%} of the large "
        f"model's {large.fid:.2f} is {show_fractions(fastest.fractions)} (FID {fastest.fid:.2f}), "
        f"{large.seconds_per_image / fastest.seconds_per_image:.2f}x faster."
    )


def describe_point(point: Point, everything: Sequence[Point]) -> str:
    """A point on its own beside the large model alone at the same guidance scale, where that was run."""
    text = f"Fractions {show_fractions(point.fractions)} at guidance scale {point.guidance_scale}: FID {point.fid:.2f}"
    for other in everything:
        if other.fractions[-1] == 1 and other.guidance_scale == point.guidance_scale:
            speed_up = other.seconds_per_image / point.seconds_per_image
            return f"{text} (the large model alone {other.fid:.2f}), {speed_up:.2f}x faster than the large model alone."
    return f"{text}, {1000 * point.seconds_per_image:.1f} ms per image."


def _section(chapter: Chapter, everything: Sequence[Point], page: Path) -> list[str]:
    sweep = chapter.sweep
    lines = [f"## {sweep.protocol['pair']}", ""]
    for scale, series, points in sweep.curves():
        text = describe_finding(points, scale) if len(points) > 1 else describe_point(points[0], everything)
        if len(sweep.series) > 1:
            text = f"{series.sampler.upper()}, {series.num_steps} steps, {series.order.replace('_', ' ')}. {text}"
        lines += [text, ""]
        verdicts = [f"- {point.paired['verdict']}." for point in points if point.paired is not None]
        if verdicts:
            lines += ["Paired by their noise:", "", *verdicts, ""]
    if chapter.curve is not None:
        caption = "FID and Inception Score against the fraction and the time, a row for each guidance scale"
        lines += [_picture(caption, chapter.curve, page)]
    for scale, strip in chapter.strips:
        lines += [
            _picture(f"Guidance scale {scale}: the same noise at every fraction, a row for each class", strip, page)
        ]
    return [*lines, *_table(sweep), ""]


def _table(sweep: Sweep) -> list[str]:
    rows = [
        f"| fractions, small to large | scale | {sweep.fid_name} | Inception Score | ms per image | min to max |",
        "|---|---|---|---|---|---|",
    ]
    for point in sweep.points:
        fractions = show_fractions(point.fractions)
        spread = [1000 * point.latency[f"seconds_per_image_{end}"] for end in ("min", "max")]
        rows.append(
            f"| {fractions} | {point.guidance_scale} | {point.fid:.3f} | {point.inception_score:.3f} "
            f"| {1000 * point.seconds_per_image:.2f} | {spread[0]:.2f} to {spread[1]:.2f} |"
        )
    return rows


def _picture(caption: str, picture: Path, page: Path) -> str:
    return f"![{caption}]({Path(os.path.relpath(picture, page.parent)).as_posix()})\n"
