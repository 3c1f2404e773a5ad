"""The findings of a sweep in sentences and a few numbers: how far FID stays flat, and the speed-up there."""

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.metric_names import metrics_among
from evaluation.report.sweep import Point, Scale, Sweep
from settings.names import ALLOCATION

FLAT_WITHIN = 0.10


def find_flat_point(points: Sequence[Point]) -> Point | None:
    """Return the point of the largest fraction up to which every FID stays within `FLAT_WITHIN` of the large model's.

    None where the first point is not the large model alone, or where a point has no FID.
    """
    fids = [point.distance for point in points]
    return points[last_flat(fids)] if points[0].is_large_alone and None not in fids else None


def last_flat(fids: Sequence[float]) -> int:
    """Return the last position up to which every FID stays within `FLAT_WITHIN` of the first."""
    highest = (1 + FLAT_WITHIN) * fids[0]
    return next((before for before, fid in enumerate(fids[1:]) if fid > highest), len(fids) - 1)


def key_numbers(points: Sequence[Point], is_whole: bool) -> list[tuple[str, str]]:
    """List the FID of the large and of the small model alone, and the flat point between them with its speed-up.

    Args:
        is_whole: no fraction is left out, as one is whose best guidance scale is another.
    """
    large = next((point for point in points if point.is_large_alone), None)
    small = next((point for point in points if point.is_alone(0)), None)
    title = points[0].distance_title
    numbers = []
    if large is not None and large.distance is not None:
        numbers.append((f"{title} of the large model", f"{large.distance:.2f}"))
    flat = find_flat_point(points) if is_whole and len(points[0].fractions) == 2 else None
    if large is not None and flat is not None and flat is not large:
        speed_up = large.seconds_per_image / flat.seconds_per_image
        numbers += [
            (f"{title} within {FLAT_WITHIN:.0%} up to fraction", f"{flat.small_fraction:g}"),
            (f"{title} there", f"{flat.distance:.2f}"),
            ("speed-up there", f"{speed_up:.2f}x"),
        ]
    if small is not None and small.distance is not None:
        numbers.append((f"{title} of the small model", f"{small.distance:.2f}"))
    return numbers


def describe_curves(sweep: Sweep, others: Sequence[Point] = ()) -> list[str]:
    """Describe each curve in a sentence, which names its sampler, steps and order where several were swept.

    Args:
        others: points of other sweeps, among which a point alone may find the large model to be compared with.
    """
    sentences = []
    for scale, series, points in sweep.curves():
        everything = [*sweep.points, *others]
        if len(points) == 1:
            text = describe_point(points[0], everything)
        elif points[0].distance is None or sweep.is_whole(series, points):
            text = describe_finding(points, scale, everything)
        else:
            listed = ", ".join(f"{point.label} {point.distance_title} {point.distance:.2f}" for point in points)
            text = f"Guidance scale {scale}, where it suits best: {listed}."
        large = sweep.large_alone(points[0])
        if series.router != ALLOCATION and large is not None and large.distance is not None:
            decided = [describe_decisions(point) for point in points if point.decisions]
            text = " ".join([f"Router {series.router}. {describe_fastest([large, *points], scale)}", *decided])
        if len(sweep.series) > 1:
            text = f"{series.sampler.upper()}, {series.num_steps} steps, {series.order.replace('_', ' ')}. {text}"
        sentences.append(text)
    return sentences


def describe_finding(points: Sequence[Point], scale: Scale, others: Sequence[Point] = ()) -> str:
    """Describe how far FID stays flat, the speed-up there, and the FID of the small model alone.

    Args:
        others: among which points of three models may find the large one alone.
    """
    if any(point.distance is None for point in points):
        return _describe_ends(points, scale)
    if len(points[0].fractions) > 2:
        large = find_large_alone(points[0], [*points, *others])
        return describe_fastest(points if large is None or large in points else [large, *points], scale)
    title = points[0].distance_title
    flat, large, small = find_flat_point(points), points[0], points[-1]
    if flat is None or len(points) < 2:
        return f"Guidance scale {scale}: no point of the large model alone, so there is nothing to compare with."
    if flat is large:
        text = f"no fraction tried keeps {title} within {FLAT_WITHIN:.0%} of the large model's {large.distance:.2f}"
    else:
        flat_ms, large_ms = 1000 * flat.seconds_per_image, 1000 * large.seconds_per_image
        text = (
            f"{title} stays within {FLAT_WITHIN:.0%} of the large model's {large.distance:.2f} up to fraction "
            f"{flat.small_fraction:g} ({title} {flat.distance:.2f}), where an image takes {flat_ms:.1f} ms "
            f"instead of {large_ms:.1f} ms: {large_ms / flat_ms:.2f}x faster"
        )
    if small.is_alone(0):
        text += (
            f". The small model alone has {title} {small.distance:.2f} ({small.distance / large.distance:.1f}x) "
            f"and is {large.seconds_per_image / small.seconds_per_image:.1f}x faster"
        )
    return f"Guidance scale {scale}: {text}."


def describe_decisions(point: Point) -> str:
    """Describe what the images of a point decided: the median, and where four fifths of them lie."""
    texts = []
    for name, counts in point.decisions.items():
        values = np.repeat(np.arange(len(counts)), counts)
        low, middle, high = (f"{value:g}" for value in np.quantile(values, (0.1, 0.5, 0.9), method="nearest"))
        texts.append(f"{name.replace('_', ' ')} {middle} ({low} to {high} for four fifths of the images)")
    of = f"At {point.knob}" if point.knob is not None else f"At {point.label}"
    return f"{of}: {', '.join(texts)}, of {point.num_steps} steps."


def describe_fastest(points: Sequence[Point], scale: Scale) -> str:
    """Describe the fastest point that keeps FID, of three models or more."""
    large = next((point for point in points if point.is_large_alone), None)
    if large is None:
        return f"Guidance scale {scale}: no point of the large model alone, so there is nothing to compare with."
    kept = [point for point in points if point.distance <= (1 + FLAT_WITHIN) * large.distance]
    title = large.distance_title
    fastest = min(kept, key=lambda point: point.seconds_per_image)
    if fastest is large:
        return (
            f"Guidance scale {scale}: no faster one of {len(points)} points has {title} within {FLAT_WITHIN:.0%} of "
            f"the large model's {large.distance:.2f}."
        )
    return (
        f"Guidance scale {scale}: the fastest of {len(points)} points with {title} within {FLAT_WITHIN:.0%} of "
        f"the large model's {large.distance:.2f} is {fastest.label} ({title} {fastest.distance:.2f}), "
        f"{large.seconds_per_image / fastest.seconds_per_image:.2f}x faster."
    )


def describe_point(point: Point, others: Sequence[Point]) -> str:
    """Describe a point beside the large model alone with its guidance scale and steps, where that is there."""
    if point.distance is None:
        return _describe_ends([point], point.guidance_scale)
    text = f"Fractions {point.label} at guidance scale {point.guidance_scale}: "
    text += f"{point.distance_title} {point.distance:.2f}"
    large = find_large_alone(point, others)
    if large is None or large is point:
        return f"{text}, {1000 * point.seconds_per_image:.1f} ms per image."
    speed_up = large.seconds_per_image / point.seconds_per_image
    return f"{text} (the large model alone {large.distance:.2f}), {speed_up:.2f}x faster than the large model alone."


def find_large_alone(point: Point, others: Sequence[Point]) -> Point | None:
    """Find the large model alone with a point's guidance scale, sampler and steps, scored alike; None without one."""
    alike = ("guidance_scale", "sampler", "num_steps", "distance_title")
    return next(
        (
            other
            for other in others
            if other.is_large_alone
            and other.distance is not None
            and all(getattr(other, key) == getattr(point, key) for key in alike)
        ),
        None,
    )


def _describe_ends(points: Sequence[Point], scale: Scale) -> str:
    """Describe the first and the last point by their metrics and times, where there is no FID."""
    texts = []
    for point in [points[0], points[-1]] if len(points) > 1 else [points[0]]:
        scores = ", ".join(f"{m.title} {point.metrics[key]:.4g}" for m, key in metrics_among(point.metrics))
        texts.append(f"{point.label} has {scores} and takes {1000 * point.seconds_per_image:.1f} ms per image")
    return f"Guidance scale {scale}: {'; '.join(texts)}."
