"""Several sweeps in one plot: which points stand for a setting, which ones no other beats, what is said of three."""

from dataclasses import replace

from evaluation.report.front import are_comparable, at_best_guidance, describe_front, draw_front, glance_table, on_front
from evaluation.report.sweep import Asked, Point, Sweep

PROTOCOL = {"pair": "s_xl", "num_images": 1000, "seed": 0, "extractor": "fashion", "reference": "r"}


def point(fractions: list[float], fid: float, seconds: float, scale: float = 1.5, num_steps: int = 20) -> Point:
    latency = {f"seconds_per_image{end}": seconds for end in ("", "_min", "_max")}
    latency |= {"machine": {"device": "a CPU"}}
    return Point(fractions, scale, "ddim", num_steps, "small_to_large", "steps", [0], {"fid1k": fid}, latency)


TWO = Sweep(
    [
        *(point([0, 1], fid, 1.0, scale) for fid, scale in ((12.0, 1.0), (10.0, 1.5))),
        *(point([0.5, 0.5], fid, 0.6, scale) for fid, scale in ((10.5, 1.0), (10.8, 1.5))),
        *(point([1, 0], fid, 0.1, scale) for fid, scale in ((30.0, 1.0), (33.0, 1.5))),
        point([0, 1], 14.0, 0.5, num_steps=10),
    ],
    PROTOCOL,
)
THREE = Sweep([point([0.5, 0.3, 0.2], 10.4, 0.4), point([0.2, 0.6, 0.2], 20.0, 0.7)], {**PROTOCOL, "pair": "s_b_xl"})


def test_each_setting_is_taken_at_the_guidance_scale_of_least_fid() -> None:
    best = {(own.fractions[0], own.num_steps): own.metrics["fid1k"] for _, own in at_best_guidance([TWO])}
    assert best == {(0, 20): 10.0, (0.5, 20): 10.5, (1, 20): 30.0, (0, 10): 14.0}


def test_shares_and_precisions_are_no_variants_of_one_point() -> None:
    def ml_em(asked: float) -> Point:
        chosen = [Asked([asked, 1 - asked], 1.5, 20, "small_to_large", "steps", "ml_em")]
        return replace(point([0.5, 0.5], 10.0, 1.0), allocation=[], router="ml_em", asked=chosen)

    assert len(at_best_guidance([Sweep([ml_em(0.2), ml_em(0.4), ml_em(0.4)], PROTOCOL)])) == 2
    in_bf16 = replace(TWO, protocol={**PROTOCOL, "precision": "bf16"})
    pairs = [pair for pair, _ in at_best_guidance([replace(TWO, protocol={**PROTOCOL, "precision": "tf32"}), in_bf16])]
    assert pairs == ["s_xl, tf32"] * 4 + ["s_xl, bf16"] * 4


def test_the_front_has_what_nothing_beats_in_both() -> None:
    front = [(pair, own.distance) for pair, own in on_front(at_best_guidance([TWO, THREE]))]
    assert front == [("s_xl", 30.0), ("s_b_xl", 10.4), ("s_xl", 10.0)]


def test_a_point_of_three_models_on_the_front_is_named_and_none_is_said_plainly() -> None:
    (sentence,) = describe_front([TWO, THREE])
    assert "Of 2 points of three models or more and 4 of fewer, 1 of three or more lie on the front" in sentence
    assert "s_b_xl 0.5/0.3/0.2, 20 steps, guidance 1.5: FID 10.40 in 400.0 ms" in sentence
    worse = replace(THREE, points=THREE.points[1:])
    assert "the front has none of them" in describe_front([TWO, worse])[0]
    assert describe_front([TWO]) == []


def test_sweeps_with_other_noise_or_another_machine_do_not_stand_in_one_plot() -> None:
    assert are_comparable([TWO, THREE])
    for key, value in {"seed": 1, "labels": "balanced", "reference_sha256": "0"}.items():
        assert not are_comparable([TWO, replace(THREE, protocol={**THREE.protocol, key: value})])
    assert not are_comparable([TWO, replace(THREE, points=[replace(THREE.points[0], metrics={"fd_dinov2_1k": 9.0})])])
    larger = replace(THREE.points[0], latency={**THREE.points[0].latency, "batch_size": 64})
    assert not are_comparable([TWO, replace(THREE, points=[larger])])
    elsewhere = replace(THREE.points[0], latency={**THREE.points[0].latency, "machine": {"device": "another"}})
    assert not are_comparable([TWO, Sweep([elsewhere], THREE.protocol)])


def test_the_plot_has_a_line_for_stitching_and_one_for_fewer_steps_and_none_between_three_models() -> None:
    (axes,) = draw_front([TWO, THREE]).axes
    lines = {line.get_label(): (line.get_linestyle(), len(line.get_xdata())) for line in axes.lines}
    assert lines == {
        "s_xl, ddim, 20 steps": ("-", 3),
        "s_xl, the large model alone, other steps": ("-", 1),
        "s_b_xl, ddim, 20 steps": ("None", 2),
        "Pareto front": (":", 3),
    }


def test_the_table_has_a_row_for_each_curve_with_its_flat_point() -> None:
    rows = glance_table([TWO, THREE]).rows
    assert [row[:4] for row in rows] == [["s_xl", "1.0", "ddim", "20"], ["s_xl", "1.5", "ddim", "20"]]
    assert rows[1][4:] == [10.0, 33.0, "0.5", 10.8, "1.67x"]
