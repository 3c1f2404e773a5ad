"""Ways to mix models beside T-Stitch's: verdicts at equal time, by hand; diversity by its closed form."""

import math

import numpy as np
import pytest

from evaluation.metrics.diversity import class_diversity
from evaluation.metrics.halves import HalvesSpread, halves_spread, score_halves
from evaluation.metrics.influence import fid_spread
from evaluation.metrics.statistics import statistics
from evaluation.report import mixtures
from evaluation.report.mixtures import (
    DIVERSITY,
    FID,
    FIRST,
    LEVELS,
    Mixed,
    budgets_table,
    fixed_table,
    judge,
    methods_of,
    metrics_table,
    points_table,
    same_share_table,
    verdicts_table,
)
from evaluation.report.mixtures_plot import draw_mixtures
from evaluation.report.sweep import Asked, Point

NUM, DIM = 400, 4


def point(share: float, ms: float, **others: object) -> Point:
    time = {f"seconds_per_image{end}": ms / 1000 for end in ("", "_min", "_max")}
    settings = {"guidance_scale": 1.5, "sampler": "ddim", "num_steps": 10, "order": "small_to_large", "rule": "steps"}
    settings |= {"allocation": [0]}
    return Point(**{"fractions": [share, 1 - share], "metrics": {"fid4": 1.0}, "latency": time, **settings, **others})


def steady(values: list[float]) -> HalvesSpread:
    """Scores that are alike in all halves, so that any two values are told apart."""
    return halves_spread([np.full(41, value) for value in values])


def mixed_of(points: list[Point], shifts: list[float], **scores: list[float]) -> Mixed:
    """Points whose features are normal and share their noise; the FID of each is about its shift squared."""
    noise = np.random.default_rng(0).normal(size=(NUM, DIM))
    reference = np.random.default_rng(1).normal(size=(100_000, DIM))
    fids = fid_spread((noise + np.eye(DIM)[0] * shift for shift in shifts), statistics(reference))
    others = {LEVELS: scores.get("levels"), DIVERSITY: scores.get("diversity")}
    return Mixed(
        "a", ("s", "l"), points, {FID: fids, **{name: steady(given) for name, given in others.items() if given}}
    )


# First steps for the small model: 20, 15 and 10 ms, shifts 1, 1.5 and 3.
CURVE = [point(0, 20), point(0.5, 15), point(1, 10)]
SHIFTS = [1.0, 1.5, 3.0]
LEVELS_OF = [0.0, 5, 20, 9, 3, 10, 10]


@pytest.mark.parametrize(
    ("ms", "shift", "verdict"),
    [
        (15, 1.2, "better"),  # than 1.5 in the same time
        (15.2, 1.2, "better"),  # within 2%
        (16, 1.2, "open"),  # not better than 1.0 in 20 ms, not worse than 1.5 in 15 ms
        (16, 0.9, "better"),  # than what takes longer
        (14, 1.7, "open"),
        (15, 1.7, "worse"),
        (16, 1.7, "worse"),  # than what is faster
        (9, 9.0, "open"),  # faster than any
        (30, 1.5, "worse"),
        (15, 1.5, "open"),  # the same images
    ],
)
def test_a_point_is_held_against_what_takes_as_long(ms: float, shift: float, verdict: str) -> None:
    mixed = mixed_of([*CURVE, point(0.5, ms, router="held", knob="every=2")], [*SHIFTS, shift])
    assert mixed.of(FIRST) == [0, 1, 2]
    assert judge(mixed, 3) == verdict


def test_a_dip_of_the_first_steps_counts_and_a_run_that_both_ask_for_does_not() -> None:
    dip = [point(0, 20), point(0.5, 16), point(1, 8)]
    held = point(0.5, 19, router="held", knob="every=2")
    assert judge(mixed_of([*dip, held], [2.0, 1.0, 4.0, 1.5]), 3) == "worse", "than 16 ms, though better than 20 ms"
    asked = [Asked([0.5, 0.5], 1.5, 10, "small_to_large", "steps", router=name) for name in ("allocation", "track")]
    both = [point(0, 20), point(0.5, 19.8, asked=asked), point(1, 8)]
    mixed = mixed_of(both, [2.0, 1.0, 4.0])
    assert mixed.of("track") == [1]
    assert verdicts_table([mixed]).rows == [["track", "0/1/0"]]


def test_methods_are_orders_routers_and_models_with_other_steps() -> None:
    assert methods_of(point(0.5, 1), 10) == [FIRST]
    assert methods_of(point(0.5, 1, order="large_ends"), 10) == ["large ends"]
    assert methods_of(point(0, 1, order="large_ends"), 10) == [FIRST], "the large model alone has no order"
    assert methods_of(point(0, 1, num_steps=5), 10) == ["the large model, other steps"]
    assert methods_of(point(1, 1, num_steps=99), 10) == ["the small model, other steps"]
    assert methods_of(point(0.5, 1, num_steps=5), 10) == ["small to large, other steps"]
    other = Asked([0.5, 0.5], 1.5, 10, "small_to_large", "steps", router="track")
    both = point(0.5, 1, asked=[Asked([0.5, 0.5], 1.5, 10, "small_to_large", "steps"), other])
    assert methods_of(both, 10) == [FIRST, "track"], "one run that two methods ask for"


def test_tables_count_choose_and_compare(monkeypatch) -> None:
    monkeypatch.setattr(mixtures, "EVERY", 1)
    others = [
        point(0.5, 15, order="random"),
        point(0.5, 15, router="track"),
        point(0.4, 16, router="held", knob="every=2", allocation=[]),
        point(0, 8, num_steps=4),
    ]
    mixed = mixed_of(
        [*CURVE, *others], [*SHIFTS, 1.7, 1.2, 1.7, 0.8], levels=LEVELS_OF, diversity=[3.0, 2, 1, 1, 2.5, 2, 2]
    )
    assert verdicts_table([mixed]).rows == [
        ["random", "0/0/1"], ["track", "1/0/0"], ["held", "0/0/1"], ["the large model, other steps", "1/0/0"],
    ]  # fmt: skip
    budgets = {
        row[1]: dict(zip(budgets_table([mixed]).columns, row, strict=True)) for row in budgets_table([mixed]).rows
    }
    assert {ms: row["best within it"] for ms, row in budgets.items()} == dict.fromkeys(
        ("10.0", "15.0", "20.0"), "the large model, other steps, 4 steps"
    )
    assert budgets["15.0"]["nearest to the large model's images"] == "track, 0.5/0.5"
    assert budgets["15.0"]["levels"] == 3.0 and budgets["15.0"]["levels of the first steps"] == 5.0
    assert budgets["20.0"]["high95"] < 0, "of 1.0 and 0.8, with the same noise"
    assert budgets["20.0"]["as good as it"] == "0 of 6"
    shares = {row[0]: row[1:] for row in same_share_table([mixed, mixed]).rows}
    assert same_share_table([mixed]).columns == ["method", FID, LEVELS, DIVERSITY]
    assert shares == {"random": ["0/0/2"] * 3, "track": ["2/0/0"] * 3}, "methods whose knob is the share; two sweeps"
    metrics = {row[0]: row[1:] for row in metrics_table([mixed]).rows}
    assert metrics["random"] == ["0/0/1"] * 3 and metrics["track"] == ["1/0/0"] * 3
    assert metrics["the large model, other steps"] == ["1/0/0"] * 3
    without = mixed_of([*CURVE, *others], [*SHIFTS, 1.7, 1.2, 1.7, 0.8])
    assert same_share_table([without]).columns == ["method", FID]
    assert [row[-4:] for row in budgets_table([without]).rows] == [
        [row[-4], None, None, None] for row in budgets_table([without]).rows
    ]
    assert metrics_table([without, mixed]).rows[0] == ["random", "0/0/2", "0/0/1", "0/0/1"], "where there are any"
    listed = points_table([mixed, without])
    assert len(listed.rows) == 14 and all(len(row) == len(listed.columns) for row in listed.rows)
    named = [dict(zip(listed.columns, row, strict=True)) for row in listed.rows]
    assert named[3][f"{LEVELS} verdict"] == "worse" and named[4][f"{DIVERSITY} verdict"] == "better"
    assert named[0][f"{FID} verdict"] is None, (
        "the first steps for the small model are what the others are held against"
    )
    labels = {text.get_text() for text in draw_mixtures([mixed]).legends[0].get_texts()}
    assert {FIRST, "other orders", "track", "held", "front of all"} <= labels


def test_what_images_decide_is_held_against_the_best_fixed_schedule_in_its_time() -> None:
    """Another order is among those, and what takes longer is not."""
    decided = {"allocation": [], "router": "probe", "decisions": {"switch_step": [4]}, "knob": "threshold=1"}
    other = point(0.6, 14, order="interleave")
    points = [*CURVE, other, point(0.5, 15, **decided), point(0.5, 13, **decided)]
    mixed = mixed_of(points, [*SHIFTS, 1.1, 1.3, 1.3], levels=[0.0, 5, 20, 6, 4, 9])
    table = fixed_table([mixed])
    assert table.columns == ["method", FID, LEVELS]
    assert table.rows == [["probe", "1/0/1", "2/0/0"]], (
        "1.3 is worse than 1.1, and better than 3; 4 levels below 5, 9 below 20"
    )


def test_diversity_is_that_of_normal_features() -> None:
    rng, deviations = np.random.default_rng(0), np.array([1.0, 2.0, 3.0])
    labels = np.repeat(np.arange(10), 2000)
    features = rng.normal(size=(20_000, 3)) * deviations + 100 * labels[:, None]
    assert class_diversity(features, labels) == pytest.approx(math.sqrt(2 * np.square(deviations).sum()), rel=0.01)
    two = np.array([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])
    assert class_diversity(two, np.array([0, 0, 1])) == pytest.approx(5), "of one pair"
    assert math.isnan(class_diversity(two, np.arange(3)))


def test_halves_know_how_far_a_metric_scatters() -> None:
    rng = np.random.default_rng(0)
    values, other = rng.normal(size=(2, 400))
    nearby = values + 0.1 * other
    scores = [score_halves(lambda rows: values[rows].mean(), 400), score_halves(lambda rows: nearby[rows].mean(), 400)]
    spread = halves_spread(scores)
    assert spread.spread(0).value == pytest.approx(values.mean())
    assert spread.spread(0).std == pytest.approx(values.std() / 20, rel=0.3), "the deviation of a mean"
    difference = spread.difference(0, 1)
    assert difference.value == pytest.approx(0.1 * other.mean())
    assert difference.std == pytest.approx(0.1 * other.std() / 20, rel=0.3), "what both share cancels"
