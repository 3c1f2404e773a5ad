"""A Markdown page on finished sweeps: pictures, what was found in words, the numbers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.metrics.metric_names import DISTANCES, metrics_among
from evaluation.report.sweep import Point, Scale, Sweep

FLAT_WITHIN = 0.10


@dataclass(frozen=True)
class Chapter:
    """What the page says of a pair: its points, the curve (None for a point alone), a strip for each scale."""

    sweep: Sweep
    curve: Path | None
    strips: list[tuple[Scale, Path]]


def summarise(chapters: Sequence[Chapter], page: Path) -> str:
    """The Markdown text of a page at `page`, with links relative to it."""
    first = chapters[0].sweep.protocol
    lines = [
        f"# Trajectory stitching: {', '.join(dict.fromkeys(c.sweep.protocol['pair'] for c in chapters))}",
        "",
        f"{_sampling(first)}{first['num_images']} images for each point "
        f"with the same noise and labels (seed {first['seed']}), {first['precision']}, on {first['device_name']}; "
        f"times on {' and '.join(dict.fromkeys(c.sweep.timed_on for c in chapters))}. "
        f"Scored against {first['reference_num_images']} real images over the features of `{first['extractor']}`.",
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
    """The largest fraction up to which every FID stays within `FLAT_WITHIN` of the one at 0.

    None without a point at 0, or where a point has no FID.
    """
    fids = [point.distance for point in points]
    return points[last_flat(fids)] if points[0].small_fraction == 0 and None not in fids else None


def last_flat(fids: Sequence[float]) -> int:
    """The last position up to which every FID stays within `FLAT_WITHIN` of the first."""
    highest = (1 + FLAT_WITHIN) * fids[0]
    return next((before for before, fid in enumerate(fids[1:]) if fid > highest), len(fids) - 1)


def describe_finding(points: Sequence[Point], scale: Scale) -> str:
    """How far FID stays flat, the speed-up there, and where the small model alone ends."""
    if any(point.distance is None for point in points):
        return _describe_ends(points, scale)
    if len(points[0].fractions) > 2:
        return describe_fastest(points, scale)
    title = points[0].distance_title
    flat, large, small = find_flat_point(points), points[0], points[-1]
    if flat is None or len(points) < 2:
        return f"Guidance scale {scale}: no point at fraction 0, so there is nothing to compare with."
    if flat is large:
        found = f"no fraction tried keeps {title} within {FLAT_WITHIN:.0%} of the large model's {large.distance:.2f}"
    else:
        flat_ms, large_ms = 1000 * flat.seconds_per_image, 1000 * large.seconds_per_image
        found = (
            f"{title} stays within {FLAT_WITHIN:.0%} of the large model's {large.distance:.2f} up to fraction "
            f"{flat.small_fraction:g} ({title} {flat.distance:.2f}), where an image takes {flat_ms:.1f} ms "
            f"instead of {large_ms:.1f} ms: {large_ms / flat_ms:.2f}x faster"
        )
    if small.small_fraction == 1:
        found += (
            f". The small model alone has {title} {small.distance:.2f} ({small.distance / large.distance:.1f}x) "
            f"and is {large.seconds_per_image / small.seconds_per_image:.1f}x faster"
        )
    return f"Guidance scale {scale}: {found}."


def _describe_ends(points: Sequence[Point], scale: Scale) -> str:
    """Without an FID: the metrics and the time of the first and the last point."""
    ends = [points[0], points[-1]] if len(points) > 1 else [points[0]]
    said = []
    for point in ends:
        scores = ", ".join(f"{m.title} {point.metrics[key]:.4g}" for m, key in metrics_among(point.metrics))
        said.append(f"{point.label} has {scores} and takes {1000 * point.seconds_per_image:.1f} ms per image")
    return f"Guidance scale {scale}: {'; '.join(said)}."


def describe_fastest(points: Sequence[Point], scale: Scale) -> str:
    """Of three models or more: the fastest point that keeps FID."""
    large = next((point for point in points if point.is_large_alone), None)
    if large is None:
        return f"Guidance scale {scale}: no point of the large model alone, so there is nothing to compare with."
    kept = [point for point in points if point.distance <= (1 + FLAT_WITHIN) * large.distance]
    title = large.distance_title
    fastest = min(kept, key=lambda point: point.seconds_per_image)
    return (
        f"Guidance scale {scale}: the fastest of {len(points)} points with {title} within {FLAT_WITHIN:.0%} of "
        f"the large model's {large.distance:.2f} is {fastest.label} ({title} {fastest.distance:.2f}), "
        f"{large.seconds_per_image / fastest.seconds_per_image:.2f}x faster."
    )


def describe_point(point: Point, everything: Sequence[Point]) -> str:
    """A point on its own beside the large model alone at the same guidance scale, where that was run."""
    if point.distance is None:
        return _describe_ends([point], point.guidance_scale)
    text = f"Fractions {point.label} at guidance scale {point.guidance_scale}: "
    text += f"{point.distance_title} {point.distance:.2f}"
    for other in everything:
        is_large = other.fractions[-1] == 1 and other.guidance_scale == point.guidance_scale
        if is_large and other.distance_title == point.distance_title and other.distance is not None:
            speed_up = other.seconds_per_image / point.seconds_per_image
            faster = f"{speed_up:.2f}x faster than the large model alone."
            return f"{text} (the large model alone {other.distance:.2f}), {faster}"
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
        titles = " and ".join(metric.title for metric, _ in sweep.metrics)
        caption = f"{titles} against the fraction and the time, a row for each guidance scale"
        lines += [_picture(caption, chapter.curve, page)]
    for scale, strip in chapter.strips:
        lines += [
            _picture(f"Guidance scale {scale}: the same noise at every fraction, a row for each class", strip, page)
        ]
    return [*lines, *_table(sweep), ""]


def _table(sweep: Sweep) -> list[str]:
    titles = [key if metric.name in DISTANCES else metric.title for metric, key in sweep.metrics]
    columns = ["fractions, small to large", "scale", *titles, "ms per image", "min to max"]
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for point in sweep.points:
        spread = [1000 * point.latency[f"seconds_per_image_{end}"] for end in ("min", "max")]
        scores = [f"{point.metrics[key]:.3f}" if key in point.metrics else "-" for _, key in sweep.metrics]
        times = [f"{1000 * point.seconds_per_image:.2f}", f"{spread[0]:.2f} to {spread[1]:.2f}"]
        rows.append(f"| {' | '.join([point.label, point.shown('guidance_scale'), *scores, *times])} |")
    return rows


def _picture(caption: str, picture: Path, page: Path) -> str:
    return f"![{caption}]({Path(os.path.relpath(picture, page.parent)).as_posix()})\n"
