"""What goes to the dashboard: real offline runs whose files are read back."""

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import wandb
from PIL import Image
from wandb.proto import wandb_internal_pb2

from tests.scripts.command import run_here
from tests.scripts.test_bad_input import check_one_line

BLOCK, FULL, LAST = 32768, 1, 4
TINY = ["num_images=8", "batch_size=8", "sampler.num_steps=3", "latency.repeats=1", "pair.evaluation.bootstrap=5"]
SWEEP = [*TINY, "fractions=[0,0.5]", "wandb.mode=offline"]


def chunks(data: bytes):
    """The records of a LevelDB log after wandb's header: blocks of 32 KiB, a record may be cut over several."""
    position, whole = 7, b""
    while position + 7 <= len(data):
        if (left := BLOCK - position % BLOCK) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""


def records(out: Path) -> dict[Path, list]:
    """The records of every offline run below a sweep's directory."""
    found = {}
    for path in sorted(out.glob("wandb/offline-run-*/run-*.wandb")):
        found[path] = []
        for data in chunks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found[path].append(record)
    return found


def values(items) -> dict[str, object]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture(autouse=True)
def quiet(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DISABLE_GIT", "true")


def test_a_sweep_offline_is_read_back(capfd, monkeypatch, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    outcome = run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}")
    assert outcome.code == 0, outcome.err
    sweep = json.loads((out / "sweep.json").read_text())
    found = records(out)
    runs = {path: next(r.run for r in own if r.WhichOneof("record_type") == "run") for path, own in found.items()}
    assert len({run.run_group for run in runs.values()}) == 1
    assert {run.project for run in runs.values()} == {"tstitch"}
    by_point: dict[str, dict] = {}
    pictures = set()
    for path, run in runs.items():
        summary: dict = {}
        for record in found[path]:
            if record.WhichOneof("record_type") == "summary":
                summary |= values(record.summary.update)
            if record.WhichOneof("record_type") == "history":
                keys = values(record.history.item)
                if any(key.startswith("strip") for key in keys):
                    pictures.add(run.run_id)
        by_point.setdefault(run.run_id, {}).update(summary)
    points = {run_id: summary for run_id, summary in by_point.items() if run_id.startswith("point-")}
    assert len(points) == 2
    assert pictures == set(points)
    fids = sorted(summary["fid8"] for summary in points.values())
    assert fids == pytest.approx(sorted(point["metrics"]["fid8"] for point in sweep["points"]))
    assert all(summary["seconds_per_image"] > 0 for summary in points.values())
    assert list(out.glob("wandb/offline-run-*/files/media/images/strip*.png"))
    (logged,) = out.glob("wandb/offline-run-*/files/media/table/points*.json")
    table, rows = json.loads(logged.read_text()), list(csv.reader((out / "sweep.csv").open()))
    assert table["columns"] == rows[0], "the table of the dashboard is that of the file"
    assert [["" if cell is None else str(cell) for cell in row] for row in table["data"]] == rows[1:]
    config = next(values(run.config.update) for run in runs.values() if run.run_id.startswith("point-"))
    assert config["small_fraction"] in (0, 0.5)
    assert config["seed"] == 0


def test_the_run_of_a_sweep_has_a_step_for_each_fraction(capfd, monkeypatch, tmp_path: Path) -> None:
    """The panel of images then has a slider over the fractions, and each metric is a curve over them."""
    out = tmp_path / "sweep"
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}").code == 0
    sweep = json.loads((out / "sweep.json").read_text())
    [logged] = [
        [values(record.history.item) for record in own if record.WhichOneof("record_type") == "history"]
        for own in records(out).values()
        if next(r.run for r in own if r.WhichOneof("record_type") == "run").run_id.startswith("sweep-")
    ]
    steps = [own for own in logged if "fid8" in own]
    assert [own["small fraction"] for own in steps] == [0, 2 / 3], "half of three steps is two"
    assert [own["fid8"] for own in steps] == [point["metrics"]["fid8"] for point in sweep["points"]]
    assert all(own["ms for an image"] > 0 for own in steps)
    pictures = [next(own[key] for key in own if key.startswith("images by fraction/path")) for own in steps]
    for picture, point in zip(pictures, sweep["points"], strict=True):
        [file] = out.glob(f"wandb/offline-run-*/files/{picture}")
        with Image.open(file) as shown, np.load(out / point["run"] / "samples.npz") as made:
            first = made["arr_0"][
                [int(np.flatnonzero(made["arr_1"] == label)[0]) for label in sorted({*made["arr_1"]})]
            ]
            assert np.array_equal(np.asarray(shown.convert("RGB")), np.concatenate(first, axis=1))


def test_started_again_it_sends_nothing_twice_and_a_new_point_joins_the_group(
    capfd, monkeypatch, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}").code == 0
    first = set(records(out))
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={out}").code == 0
    assert set(records(out)) == first
    assert [path.parent for path in out.rglob("wandb.json")] == [out], "points may be shared with other sweeps"
    assert run_here(capfd, monkeypatch, "sweep", *SWEEP, "fractions=[0,0.5,1]", f"out={out}").code == 0
    new = set(records(out)) - first
    ids = {next(r.run.run_id for r in records(out)[path] if r.WhichOneof("record_type") == "run") for path in new}
    assert len([run_id for run_id in ids if run_id.startswith("point-")]) == 1
    assert len([run_id for run_id in ids if run_id.startswith("sweep-")]) == 1, "the table is drawn anew"


def test_off_means_that_nothing_is_written_for_it(capfd, monkeypatch, tmp_path: Path) -> None:
    outcome = run_here(capfd, monkeypatch, "sweep", *TINY, "fractions=[1]", f"out={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    assert not [path for path in tmp_path.rglob("*") if "wandb" in path.name]


def test_a_sweep_of_times_alone_is_sent(capfd, monkeypatch, tmp_path: Path) -> None:
    settings = [*SWEEP, "pair.evaluation.metrics=[]", f"out={tmp_path / 'sweep'}"]
    outcome = run_here(capfd, monkeypatch, "sweep", *settings)
    assert outcome.code == 0, outcome.err
    assert len(json.loads((tmp_path / "sweep/wandb.json").read_text())) == 3, "two points and the sweep"


def test_online_without_a_key_is_one_line_before_anything_is_sampled(capfd, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    settings = [*TINY, "fractions=[0]", "wandb.mode=online", f"out={tmp_path / 'sweep'}"]
    check_one_line(run_here(capfd, monkeypatch, "sweep", *settings), "wandb.mode=online needs a key: run wandb login")
    assert not list(tmp_path.rglob("run.json"))


def test_what_cannot_be_sent_does_not_stop_the_sweep(capfd, monkeypatch, tmp_path: Path) -> None:
    def broken(**_: object) -> None:
        raise wandb.errors.CommError("no connection")

    monkeypatch.setattr(wandb, "init", broken)
    with pytest.warns(UserWarning, match="the dashboard could not be sent: no connection"):
        outcome = run_here(capfd, monkeypatch, "sweep", *SWEEP, f"out={tmp_path / 'sweep'}")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "sweep/sweep.json").is_file() and not (tmp_path / "sweep/wandb.json").exists()
