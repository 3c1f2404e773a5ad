import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tstitch.errors import UserError
from tstitch.runs.shards import (
    Block,
    DamagedShard,
    Shard,
    blocks,
    merge_shards,
    missing_blocks,
    npz_comment,
    read_shard,
    read_shards,
    write_shard,
)

RUN_ID = "0123456789ab"
OTHER_LAYOUTS = {
    "float": lambda shard: Shard(shard.images.astype(np.float32), shard.labels),
    "grey": lambda shard: Shard(shard.images[..., 0], shard.labels),
    "int32 labels": lambda shard: Shard(shard.images, shard.labels.astype(np.int32)),
}


def make_shard(block: Block) -> Shard:
    rng = np.random.default_rng(block.start)
    return Shard(rng.integers(256, size=(len(block), 8, 8, 3), dtype=np.uint8), rng.integers(10, size=len(block)))


def write_all(directory: Path, num_images: int, batch_size: int) -> list[Block]:
    wanted = blocks(num_images, batch_size)
    for block in wanted:
        write_shard(directory, block, make_shard(block), RUN_ID)
    return wanted


def test_blocks_cover_every_image_once() -> None:
    assert blocks(10, 4) == [Block(0, 4), Block(4, 8), Block(8, 10)]
    assert blocks(8, 8) == [Block(0, 8)]


def test_merge_has_the_adm_layout_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    wanted = write_all(tmp_path, 10, 4)
    for name in ("a.npz", "b.npz"):
        merge_shards(tmp_path, wanted, RUN_ID, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as merged:
        assert merged.files == ["arr_0", "arr_1"]
        assert merged["arr_0"].dtype == np.uint8
        assert np.array_equal(merged["arr_0"], np.concatenate([make_shard(block).images for block in wanted]))
        assert np.array_equal(merged["arr_1"], np.concatenate([make_shard(block).labels for block in wanted]))
    assert npz_comment(tmp_path / "a.npz") == RUN_ID
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "is missing"),
        ("truncated", "is damaged"),
        ("flipped", "is damaged"),
        ("empty", "is damaged"),
        ("text", "is damaged"),
        ("foreign", "is of another run or range"),
        ("shorter", "is of another run or range"),
        ("moved", "is of another run or range"),
        ("float", "has images float32"),
        ("grey", "has images uint8"),
        ("int32 labels", "has labels int32"),
    ],
)
def test_a_shard_that_cannot_be_used_is_not_read_but_set_aside(tmp_path: Path, damage: str, reason: str) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    wanted = write_all(shards, 8, 4)
    path = shards / wanted[1].name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        write_shard(shards, wanted[1], make_shard(wanted[1]), "another run!")
    elif damage == "shorter":
        write_shard(tmp_path, Block(0, 3), make_shard(Block(0, 3)), RUN_ID)
        (tmp_path / Block(0, 3).name).replace(path)
    elif damage in OTHER_LAYOUTS:
        write_shard(shards, wanted[1], OTHER_LAYOUTS[damage](make_shard(wanted[1])), RUN_ID)
    elif damage == "moved":
        path.write_bytes((shards / wanted[0].name).read_bytes())
    else:
        content[200] ^= 1
        path.write_bytes({"truncated": content[:-40], "empty": b"", "flipped": content, "text": b"not a zip"}[damage])
    with pytest.raises(DamagedShard, match=f"{wanted[1].name} {reason}.*the sampling command makes it again"):
        read_shard(shards, wanted[1], RUN_ID)
    with pytest.raises(UserError):
        list(read_shards(shards, wanted, RUN_ID))
    with pytest.raises(UserError):
        merge_shards(shards, wanted, RUN_ID, tmp_path / "samples.npz")
    assert not (tmp_path / "samples.npz").exists()
    assert not list(tmp_path.rglob(".*.tmp"))

    lines = []
    there = path.read_bytes() if path.exists() else None
    assert missing_blocks(shards, wanted, RUN_ID, lines.append) == [wanted[1]]
    if there is None:
        assert lines == []
        return
    [aside] = (tmp_path / "set_aside").iterdir()
    assert aside.read_bytes() == there
    assert len(lines) == 1
    assert reason in lines[0]
    assert str(aside) in lines[0]
    assert not path.exists()


def test_every_flipped_byte_of_the_images_is_seen(tmp_path: Path) -> None:
    [block] = write_all(tmp_path, 4, 4)
    path = tmp_path / block.name
    content = path.read_bytes()
    start = content.index(make_shard(block).images.tobytes())
    for offset in range(start, start + make_shard(block).images.nbytes, 37):
        flipped = bytearray(content)
        flipped[offset] ^= 1 << offset % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedShard):
            read_shard(tmp_path, block, RUN_ID)


def test_no_flipped_bit_of_a_shard_is_a_traceback(tmp_path: Path) -> None:
    [block] = write_all(tmp_path, 1, 1)
    path = tmp_path / block.name
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        npz_comment(path)
        with suppress(DamagedShard):
            read_shard(tmp_path, block, RUN_ID)
    np.save(path.open("wb"), np.zeros(3))
    with pytest.raises(DamagedShard):
        read_shard(tmp_path, block, RUN_ID)


def test_shards_are_plain_npz_files_without_times(tmp_path: Path) -> None:
    write_all(tmp_path, 4, 4)
    with zipfile.ZipFile(tmp_path / Block(0, 4).name) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None


def test_shards_of_another_shape_are_not_merged_and_are_made_again(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    wanted = write_all(shards, 8, 4)
    smaller = make_shard(wanted[1])
    write_shard(shards, wanted[1], Shard(smaller.images[:, :4], smaller.labels), RUN_ID)
    with pytest.raises(DamagedShard, match=r"has images of shape \(4, 8, 3\), the first one \(8, 8, 3\)"):
        merge_shards(shards, wanted, RUN_ID, tmp_path / "samples.npz")
    assert not (tmp_path / "samples.npz").exists()
    assert missing_blocks(shards, wanted, RUN_ID, lambda line: None) == [], "the shape is not known here"
    lines = []
    assert missing_blocks(shards, wanted, RUN_ID, lines.append, (8, 8, 3)) == [wanted[1]]
    assert "has images of shape (4, 8, 3), the run's have (8, 8, 3)" in lines[0]


def test_more_files_than_a_directory_should_hold_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="at batch_size=1 are 1,000,000,000 files, and at most 1,000,000 are made"):
        blocks(10**9, 1)
    assert len(blocks(10**6, 1)) == 10**6
