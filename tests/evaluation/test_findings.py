import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.report.findings import (
    describe_curves,
    describe_fastest,
    describe_finding,
    describe_point,
    find_flat_point,
    key_numbers,
    last_flat,
)
from evaluation.report.render import comma_separated, markdown
from evaluation.report.results import results_table
from evaluation.report.sweep import Asked, Point, Sweep, join_sweeps


def point(fraction: float, fid: float, seconds: float, **others: object) -> Point:
    latency = {f"seconds_per_image{end}": seconds for end in ("", "_min", "_max")}
    metrics = {"fid5k": fid, "inception_score": 5.0}
    settings = {"guidance_scale": 1.5, "sampler": "ddim", "num_steps": 50, "order": "small_to_large", "rule": "steps"}
    own = {"allocation": [0], "metrics": metrics, "latency": latency, **others}
    return Point(fractions=[fraction, 1 - fraction], **{**settings, **own})


CURVE = [point(0, 10, 1.0), point(0.2, 10.9, 0.8), point(0.4, 10.5, 0.6), point(0.6, 13, 0.4), point(0.8, 9, 0.3)]


def test_flat_ends_before_the_first_point_that_is_not() -> None:
    assert find_flat_point(CURVE).small_fraction == 0.4
    assert find_flat_point(CURVE[1:]) is None
    assert find_flat_point([CURVE[0], CURVE[3]]) is CURVE[0]
    assert [last_flat(fids) for fids in ([10], [10, 11], [10, 12, 9], [10, 9, 12, 9])] == [0, 1, 0, 1]


def test_what_images_decide_is_not_the_large_model_whatever_share_it_has() -> None:
    """A probe that asks the large model at every step has share 0 of the small one, and is no baseline."""
    probes = [point(0, 20, 1.0, allocation=[], router="probe", knob="a"), point(0.3, 21, 0.8, allocation=[], knob="b")]
    assert find_flat_point(probes) is None
    assert "no point of the large model alone" in describe_finding(probes, 1.5)
    decided = [CURVE[0], point(1, 11, 0.5, allocation=[], router="probe", knob="c")]
    assert "The small model alone" not in describe_finding(decided, 1.5)


def test_a_curve_without_all_fractions_has_no_number_of_its_flat_part() -> None:
    names = [name for name, _ in key_numbers(CURVE, is_whole=True)]
    assert names == ["FID of the large model", "FID within 10% up to fraction", "FID there", "speed-up there"]
    assert [name for name, _ in key_numbers(CURVE, is_whole=False)] == ["FID of the large model"]


def test_words_state_the_numbers() -> None:
    text = describe_finding([*CURVE, point(1, 50, 0.1)], 1.5)
    assert "up to fraction 0.4 (FID 10.50), where an image takes 600.0 ms instead of 1000.0 ms: 1.67x faster" in text
    assert "The small model alone has FID 50.00 (5.0x) and is 10.0x faster" in text
    assert "no fraction tried keeps FID within 10%" in describe_finding([CURVE[0], CURVE[3]], 1.5)
    assert "nothing to compare with" in describe_finding(CURVE[1:], 1.5)
    assert "the fastest of 3 points with FID within 10% of the large model's 10.00 is" in describe_fastest(
        CURVE[:3], 1.5
    )
    assert "no faster one of 2 points has FID within 10%" in describe_fastest([CURVE[0], CURVE[3]], 1.5)


def test_a_point_alone_is_compared_with_the_large_model_of_another_sweep() -> None:
    assert "the large model alone 10.00), 1.67x faster" in describe_point(CURVE[2], CURVE)
    assert describe_curves(Sweep([CURVE[2]], {}), CURVE) == [describe_point(CURVE[2], CURVE)]
    assert "600.0 ms per image" in describe_curves(Sweep([CURVE[2]], {}))[0]


def test_a_curve_that_lacks_fractions_tuned_to_another_scale_makes_no_claim() -> None:
    tuned = [CURVE[0], replace(CURVE[1], guidance_scale=2.0), *CURVE[2:]]
    of_scales = describe_curves(Sweep(tuned, {}))
    assert of_scales[0].startswith("Guidance scale 1.5, where it suits best: 0/1 FID 10.00, ")
    assert "stays within" not in " ".join(of_scales)
    assert "stays within" in describe_curves(Sweep(CURVE, {}))[0]


def test_sweeps_of_one_protocol_are_joined() -> None:
    a, b, other = Sweep(CURVE[:2], {"pair": "a"}), Sweep(CURVE[2:], {"pair": "a"}), Sweep(CURVE[:1], {"pair": "b"})
    joined = join_sweeps([(a, Path("1")), (other, Path("2")), (b, Path("3"))])
    assert joined == [(Sweep(CURVE, {"pair": "a"}), [Path("1"), Path("3")]), (other, [Path("2")])]


def test_the_results_table_has_all_digits_in_its_file_and_a_format_on_its_pages() -> None:
    spread = {"fid5k": {"value": 1 / 3, "std": 0.1, "interval95": [0.1, 0.2]}}
    requested = [Asked([0.3, 0.7], 1.5, 50, "small_to_large", "steps")]
    points = [point(0.25, 1 / 3, 1 / 3, spread=spread, asked=requested), point(1, 2.0, 0.1, metrics={"recall": 1.0})]
    table = results_table(Sweep(points, {}))
    first, second = csv.DictReader(io.StringIO(comma_separated(table)))
    assert float(first["fid5k"]) == 1 / 3
    assert float(first["ms_per_image"]) == pytest.approx(1000 / 3, rel=1e-15)
    assert (first["fid5k_low95"], first["fid5k_high95"]) == ("0.1", "0.2")
    assert (first["requested_fractions"], second["requested_fractions"]) == ("0.3/0.7", "")
    assert (first["recall"], second["recall"], second["fid5k"], second["fid5k_low95"]) == ("", "1.0", "", "")
    header, _, shown, other = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert header.startswith("| fractions, small to large | requested | small fraction | guidance scale |")
    assert shown.startswith("| 0.25/0.75 | 0.3/0.7 | 0.25 | 1.5 | ddim | 50 | small to large | steps | 0.3333 |")
    assert other.endswith(" - | - | - | - | 1 | 100.00 | 100.00 | 100.00 |")
    assert json.loads(json.dumps(table.rows)) == table.rows, "what the dashboard is sent"
