from pathlib import Path

from evaluation.report.summary import describe_finding, describe_point, find_flat_point, last_flat
from evaluation.report.sweep import Point, Sweep, join_sweeps


def point(fraction: float, fid: float, seconds: float) -> Point:
    latency = {"seconds_per_image": seconds, "seconds_per_image_min": seconds, "seconds_per_image_max": seconds}
    metrics = {"fid5k": fid, "inception_score": 5.0}
    return Point([fraction, 1 - fraction], 1.5, "ddim", 50, "small_to_large", "steps", [0], metrics, latency)


CURVE = [point(0, 10, 1.0), point(0.2, 10.9, 0.8), point(0.4, 10.5, 0.6), point(0.6, 13, 0.4), point(0.8, 9, 0.3)]


def test_flat_ends_before_the_first_point_that_is_not() -> None:
    assert find_flat_point(CURVE).small_fraction == 0.4
    assert find_flat_point(CURVE[1:]) is None
    assert find_flat_point([CURVE[0], CURVE[3]]) is CURVE[0]
    assert [last_flat(fids) for fids in ([10], [10, 11], [10, 12, 9], [10, 9, 12, 9])] == [0, 1, 0, 1]


def test_words_state_the_numbers() -> None:
    text = describe_finding([*CURVE, point(1, 50, 0.1)], 1.5)
    assert "up to fraction 0.4 (FID 10.50), where an image takes 600.0 ms instead of 1000.0 ms: 1.67x faster" in text
    assert "The small model alone has FID 50.00 (5.0x) and is 10.0x faster" in text
    assert "no fraction tried keeps FID within 10%" in describe_finding([CURVE[0], CURVE[3]], 1.5)
    assert "nothing to compare with" in describe_finding(CURVE[1:], 1.5)


def test_a_point_alone_is_compared_with_the_large_model() -> None:
    assert "the large model alone 10.00), 1.67x faster" in describe_point(CURVE[2], CURVE)
    assert "600.0 ms per image" in describe_point(CURVE[2], CURVE[1:])


def test_sweeps_of_one_protocol_are_joined() -> None:
    a, b, other = Sweep(CURVE[:2], {"pair": "a"}), Sweep(CURVE[2:], {"pair": "a"}), Sweep(CURVE[:1], {"pair": "b"})
    joined = join_sweeps([(a, Path("1")), (other, Path("2")), (b, Path("3"))])
    assert joined == [(Sweep(CURVE, {"pair": "a"}), [Path("1"), Path("3")]), (other, [Path("2")])]
