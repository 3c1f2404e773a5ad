"""The results table of a sweep, which its CSV file, its pages and the dashboard share."""

from evaluation.report.render import Cell, Table
from evaluation.report.sweep import Point, Sweep
from settings.names import ALLOCATION
from tstitch.allocation import show_fractions

SMALL_FRACTION, TIME, DISTANCE = "small_fraction", "ms_per_image", "distance_from_large"
SETTINGS = ("guidance_scale", "sampler", "num_steps", "order", "rule")
ROUTING = ("router", "knob")  # shown where a point has another router than the allocation
BOUNDS = ("_low95", "_high95")
HEADINGS = {
    "fractions": "fractions, small to large",
    "requested_fractions": "requested",
    TIME: "ms per image",
    f"{TIME}_min": "fastest",
    f"{TIME}_max": "slowest",
}


def results_table(sweep: Sweep) -> Table:
    """Make the table of a sweep's points: settings, metrics with the bounds of their 95% intervals, times.

    `fractions` is what ran; `requested_fractions` is there where other fractions were asked for at a point. Times are
    in milliseconds: the median of the rounds, the fastest and the slowest.
    """
    keys = sweep.metric_keys
    with_interval = [key for key in keys if any(key in point.spread for point in sweep.points)]
    requested = ["requested_fractions"] if any(point.asked_otherwise for point in sweep.points) else []
    routed = any(point.router != ALLOCATION for point in sweep.points)
    columns = ["fractions", *requested, SMALL_FRACTION, *SETTINGS, *(ROUTING if routed else ())]
    for key in keys:
        columns += [key, *(f"{key}{bound}" for bound in BOUNDS if key in with_interval)]
    models = dict.fromkeys(model for point in sweep.points for model in point.evaluations)
    columns += [f"evaluations_of_{model}" for model in models]
    columns += [DISTANCE] if any(point.distance_from_large is not None for point in sweep.points) else []
    columns += [TIME, f"{TIME}_min", f"{TIME}_max"]
    cells = [_cells(point) for point in sweep.points]
    headings = {column: HEADINGS.get(column, column.replace("_", " ")) for column in columns}
    formats = {column: ".2f" for column in columns if column.startswith(TIME)} | {SMALL_FRACTION: ".3g"}
    return Table(
        title="All points",
        columns=columns,
        rows=[[row.get(column) for column in columns] for row in cells],
        notes=[f"Times on {sweep.timed_on}; fastest and slowest of the rounds."],
        headings=headings,
        formats=formats,
    )


def _cells(point: Point) -> dict[str, Cell]:
    """Return the values of a point by column."""
    cells: dict[str, Cell] = {
        "fractions": show_fractions(point.fractions),
        "requested_fractions": point.asked_otherwise or None,
        SMALL_FRACTION: point.small_fraction,
        **{name: point.shown(name) for name in SETTINGS},
        "router": point.router,
        "knob": point.knob,
        **{f"evaluations_of_{model}": count for model, count in point.evaluations.items()},
        **point.metrics,
        DISTANCE: point.distance_from_large,
    }
    for key, spread in point.spread.items():
        cells |= {f"{key}{bound}": value for bound, value in zip(BOUNDS, spread["interval95"], strict=True)}
    for end in ("", "_min", "_max"):
        cells[f"{TIME}{end}"] = 1000 * point.latency[f"seconds_per_image{end}"]
    return cells
