"""All points of several sweeps in one plot of quality against time, each at the guidance scale that suits it best."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from matplotlib.figure import Figure

from evaluation.report.figures import INK, PALETTE, figure
from evaluation.report.findings import FLAT_WITHIN, find_flat_point
from evaluation.report.pareto import pareto_front
from evaluation.report.plots import use_plain_logs
from evaluation.report.render import Table
from evaluation.report.sweep import Point, Sweep
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions

SHARED = (
    "num_images", "seed", "labels", "extractor", "extractor_sha256", "reference", "reference_sha256",
    "reference_num_images",
)  # fmt: skip
FEW = 3  # points that make a curve of their own
Placed = tuple[str, Point]  # a point with the name of its pair


@dataclass(frozen=True)
class Group:
    """Points that are drawn as one line."""

    label: str
    points: list[Point]


def are_comparable(sweeps: Sequence[Sweep]) -> bool:
    """Tell whether points of several sweeps may stand in one plot: noise, evaluation and timing are the same."""
    protocols = [[sweep.timed_on, *(sweep.protocol.get(key) for key in SHARED)] for sweep in sweeps]
    points = [point for sweep in sweeps for point in sweep.points]
    measured = {(point.distance_title, point.latency.get("batch_size")) for point in points}
    has_distance = all(point.distance is not None for point in points)
    return has_distance and len(measured) == 1 and all(other == protocols[0] for other in protocols[1:])


def at_best_guidance(sweeps: Sequence[Sweep]) -> list[Placed]:
    """List the points of the guidance scale with the least FID, for each pair, share of the steps and sampler."""
    best: dict[tuple, Placed] = {}
    precisions = {sweep.protocol.get("precision") for sweep in sweeps}
    for sweep in sweeps:
        pair = sweep.protocol["pair"]
        if len(precisions) > 1:
            pair = f"{pair}, {sweep.protocol.get('precision')}"
        for point in sweep.points:
            shares = point.asked[0].fractions if point.asked else point.fractions
            key = (pair, *(shares if point.knob is None else [point.knob]), *astuple(point.series))
            if key not in best or point.distance < best[key][1].distance:
                best[key] = pair, point
    return list(best.values())


def on_front(placed: Sequence[Placed]) -> list[Placed]:
    """List the points that no other one beats in time and FID, from the fastest on."""
    front = pareto_front([point.seconds_per_image for _, point in placed], [point.distance for _, point in placed])
    return [placed[position] for position in front]


def describe_front(sweeps: Sequence[Sweep]) -> list[str]:
    """Say whether three models reach what two, and one with any number of steps, do not; empty without three."""
    placed = at_best_guidance(sweeps)
    three = [own for own in placed if sum(share > 0 for share in own[1].fractions) > 2]
    if not three or len(three) == len(placed):
        return []
    winners = [own for own in on_front(placed) if own in three]
    of = f"{len(three)} points of three models or more and {len(placed) - len(three)} of fewer"
    if not winners:
        return [f"Of {of}, the front has none of them: another one is as fast and as good as each."]
    shown = "; ".join(
        f"{pair} {show_fractions(point.fractions)}, {point.num_steps} steps, guidance {point.guidance_scale}: "
        f"{point.distance_title} {point.distance:.2f} in {1000 * point.seconds_per_image:.1f} ms"
        for pair, point in winners
    )
    return [f"Of {of}, {len(winners)} of three or more lie on the front, where no pair reaches: {shown}."]


def draw_front(sweeps: Sequence[Sweep]) -> Figure:
    """Draw FID against the time of an image, with the Pareto front of all points."""
    placed = at_best_guidance(sweeps)
    front = on_front(placed)
    with figure(7.4, 4.6) as drawn:
        axes = drawn.subplots()
        for number, group in enumerate(grouped(sweeps)):
            points = group.points
            is_line = sum(share > 0 for share in points[len(points) // 2].fractions) <= 2
            axes.plot(
                [1000 * point.seconds_per_image for point in points], [point.distance for point in points],
                linestyle="-" if is_line else "none", marker="o", markersize=4, linewidth=1,
                color=PALETTE[number % len(PALETTE)], label=group.label, gid=f"group-{number}",
            )  # fmt: skip
            intervals = [(point, interval) for point in points if (interval := point.interval("fid")) is not None]
            axes.vlines(
                [1000 * point.seconds_per_image for point, _ in intervals],
                [max(low, point.distance / 3) for point, (low, _) in intervals], [high for _, (_, high) in intervals],
                color=PALETTE[number % len(PALETTE)], alpha=0.35, linewidth=1, gid=f"interval-{number}",
            )  # fmt: skip
        axes.plot(
            [1000 * point.seconds_per_image for _, point in front], [point.distance for _, point in front],
            color=INK, linewidth=1, linestyle=":", label="Pareto front", gid="pareto",
        )  # fmt: skip
        axes.set_xlabel("time per image (ms), each point at its best guidance scale")
        axes.set_ylabel(placed[0][1].distance_title)
        use_plain_logs(axes)
        axes.grid(alpha=0.25)
        axes.legend()
    return drawn


def grouped(sweeps: Sequence[Sweep]) -> list[Group]:
    """Gather the points of a pair and its steps, fastest first; those of few points by the model alone in them."""
    placed = at_best_guidance(sweeps)
    by_steps: dict[tuple, list[Point]] = {}
    for pair, point in placed:
        by_steps.setdefault((pair, point.sampler, point.num_steps, point.router), []).append(point)
    groups: dict[str, list[Point]] = {}
    for (pair, sampler, num_steps, router), points in by_steps.items():
        for point in points:
            alone = {"large": point.is_large_alone, "small": point.is_alone(0)}
            label = f"{pair}, {sampler}, {num_steps} steps"
            label += "" if router == ALLOCATION else f", {router}"
            if len(points) < FEW and router == ALLOCATION:
                model = next((name for name, is_alone in alone.items() if is_alone), None)
                label = f"{pair}, the {model} model alone, other steps" if model else label
            groups.setdefault(label, []).append(point)
    return [Group(label, sorted(points, key=lambda point: point.seconds_per_image)) for label, points in groups.items()]


def glance_table(sweeps: Sequence[Sweep]) -> Table:
    """Make the table of each curve of two models: FID of both alone, how far it stays flat, the speed-up there."""
    title = sweeps[0].points[0].distance_title
    columns = ["pair", "guidance scale", "sampler", "steps", f"{title} of the large", f"{title} of the small"]
    columns += ["flat up to fraction", f"{title} there", "speed-up there"]
    rows = []
    for sweep in sweeps:
        for scale, series, points in sweep.curves():
            is_curve = series.router == ALLOCATION and len(points) >= FEW and len(points[0].fractions) == 2
            is_curve = is_curve and sweep.is_whole(series, points)
            flat = find_flat_point(points) if is_curve else None
            if flat is None:
                continue
            large, small = points[0], points[-1]
            small_fid = small.distance if small.small_fraction == 1 else None
            speed_up = large.seconds_per_image / flat.seconds_per_image
            row = [sweep.protocol["pair"], f"{scale}", series.sampler, f"{series.num_steps}", large.distance, small_fid]
            rows.append([*row, f"{flat.small_fraction:g}", flat.distance, f"{speed_up:.2f}x"])
    num_images = " and ".join(dict.fromkeys(f"{sweep.protocol['num_images']:,}" for sweep in sweeps))
    notes = [
        f"Flat: {title} within {FLAT_WITHIN:.0%} of the large model's at every fraction up to it. {num_images} images."
    ]
    return Table("At a glance", columns, rows, notes)
