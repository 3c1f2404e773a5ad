"""The flat fraction, and its rank correlation with what is cheap to know of a pair."""

import json
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from evaluation.report.flatness import Stitched, flat_fraction, flatness_table, gather, rank_correlation
from evaluation.report.sweep import Point, Sweep
from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line
from tstitch.errors import UserError

WEIGHTS = {"a": {"sha256": "1"}, "b": {"sha256": "2"}}


def curve(fids: dict[float, float]) -> list[Point]:
    time = {"seconds_per_image": 1.0, "seconds_per_image_min": 1.0, "seconds_per_image_max": 1.0}
    return [
        Point([r, 1 - r], 1.5, "ddim", 10, "small_to_large", "steps", [0], {"fid4": fid}, time)
        for r, fid in fids.items()
    ]


@pytest.mark.parametrize(
    ("fids", "flat"),
    [
        ({0: 10, 0.5: 10, 1: 10.9}, 1.0),
        ({0: 10, 0.5: 10.5, 1: 11.5}, 0.75),  # 11 lies in the middle of the last piece
        ({0: 10, 0.4: 12, 1: 30}, 0.2),
        ({0: 10, 0.2: 9, 0.4: 13, 1: 10}, 0.3),  # what comes after the first crossing does not count
    ],
)
def test_the_flat_fraction_lies_where_the_line_between_points_crosses_ten_percent(fids, flat: float) -> None:
    assert flat_fraction(curve(fids)) == pytest.approx(flat)


def pairs(flat: list[float], disagreement: list[float]) -> list[Stitched]:
    return [
        Stitched(f"pair {k}", 1.0, *each)
        for k, each in enumerate(zip(flat, ({"d": d} for d in disagreement), strict=True))
    ]


def test_the_rank_correlation_is_spearmans_and_its_p_value_that_of_all_orders() -> None:
    flat, disagreement = [0.6, 0.5, 0.4, 0.3, 0.2], [1.0, 2.0, 4.0, 3.0, 9.0]
    rho, p = rank_correlation(pairs(flat, disagreement), "d")
    assert rho == pytest.approx(spearmanr(flat, disagreement).statistic) == pytest.approx(-0.9)
    # Of the 120 orders of five, 1 has |rho| = 1 in each direction and 4 have 0.9.
    assert p == pytest.approx(10 / 120)


def test_three_pairs_are_too_few_for_a_correlation() -> None:
    table = flatness_table(pairs([0.3, 0.2, 0.1], [1.0, 2.0, 3.0]))
    assert table.notes == ["No correlation can be told from 3 points."]


def stored(directory: Path, kind: str, data: dict, scale: float) -> Path:
    directory.mkdir(exist_ok=True)
    identity = {"analysis": kind, "num_images": 2, "denoisers": WEIGHTS, "guidance": {"scale": {"a": scale}}}
    content = {"identity": identity, "pair": "a_b", "found": ["It is."], "data": data}
    (directory / f"{kind}.json").write_text(json.dumps(content))
    return directory


def test_a_curve_is_joined_with_the_analyses_of_its_weights_and_its_scale(tmp_path: Path) -> None:
    sweep = Sweep(curve({0: 10, 0.5: 10.5, 1: 11.5}), {"pair": "a_b", "denoisers": dict(reversed(WEIGHTS.items()))})
    curves = [{"label": "a", "mean": [0.1, 0.3, 0.5, 0.5, 0.6], "std": [0.0] * 5}]
    data = {"timesteps": [9, 7, 5, 3, 0], "weights": [3.0, 1.0, 1.0, 1.0, 1.0], "curves": curves}
    error = {"fractions": [[0, 1], [0.8, 0.2]], "curve": {"label": "stitched", "mean": [0.0, 0.4], "std": [0, 0]}}
    analyses = [stored(tmp_path / "d", "disagreement", data, 1.5), stored(tmp_path / "e", "error", error, 1.5)]
    (found,) = gather([(tmp_path, sweep)], analyses)
    assert found.flat == pytest.approx(0.75)
    assert list(found.measures.values()) == pytest.approx([0.4, 0.2, 0.15, 0.2, 11.5, 1.15])
    falling = {"fractions": [[0.8, 0.2], [0, 1]], "curve": {"label": "stitched", "mean": [0.4, 0.0], "std": [0, 0]}}
    named = stored(tmp_path / "f", "error", falling, 1.5) / "error.json"
    mine = named.rename(tmp_path / "mine.json")
    (again,) = gather([(tmp_path, sweep)], [analyses[0], mine])
    assert again.measures == found.measures, "whatever order the fractions have, and whatever the file is called"
    other = json.loads(mine.read_text())
    other["identity"]["guidance"]["scale"] = {"a": 1.5, "b": 2}
    mine.write_text(json.dumps(other))
    with pytest.raises(UserError, match=r"analysis=error at guidance scale 1\.5, 2\.0; want one scale"):
        gather([(tmp_path, sweep)], [analyses[0], mine])
    stored(tmp_path / "e", "error", error, 2.0)
    with pytest.raises(UserError, match=r"analysis=error pair=a_b guidance\.scale=1\.5"):
        gather([(tmp_path, sweep)], analyses)


def test_a_place_without_a_sweep_is_one_line(capfd, monkeypatch, tmp_path: Path) -> None:
    arguments = ["sweeps=[nowhere]", "analyses=[nowhere]", f"out={tmp_path / 'out'}"]
    check_one_line(run_here(capfd, monkeypatch, "flatness", *arguments), "nowhere holds no sweep")
    assert not (tmp_path / "out").exists()
