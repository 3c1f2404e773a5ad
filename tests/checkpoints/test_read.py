"""Checkpoints read as data hold the tensors that `torch.load` gives; damaged ones are one clear line."""

import argparse
import collections
import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from checkpoints import read as checkpoints
from checkpoints.read import all_tensors_of, read_checkpoint, state_dict_of
from tests.published.crafted import archive, refused, tensor_pickle
from tests.published.torch_files import foreign_class, save
from tstitch.errors import UserError

FORMATS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]
YOUNG_DTYPES = [torch.float8_e4m3fn, torch.uint16, torch.uint32]  # torch.load cannot read them in the legacy format


def views() -> dict[str, Tensor]:
    """Tensors that are views of larger or shared storages, empty ones and one without dimensions."""
    base = torch.arange(120.0).reshape(10, 12)
    return {
        "base": base,
        "transposed": base.T,
        "rows": base[3:5],
        "column": base[:, 7],
        "every other": base[::2, 1::3],
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 1).expand(3, 2),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 7),
        "parameter": nn.Parameter(torch.randn(3)),
        "frozen": nn.Parameter(torch.randn(3), requires_grad=False),
    }


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    assert ours.keys() == theirs.keys()
    pairs = [(ours[key], value) for key, value in theirs.items()]
    same_kind = all(a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride() for a, b in pairs)
    return same_kind and all(torch.equal(number_bytes(a), number_bytes(b)) for a, b in pairs)


def number_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_views_and_dtypes_are_those_of_torch_load(tmp_path: Path, legacy: bool, protocol: int) -> None:
    path, state = tmp_path / "w.pt", views()
    state |= {str(dtype): torch.arange(6).to(dtype).reshape(2, 3) for dtype in DTYPES + (not legacy) * YOUNG_DTYPES}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    assert same(read_checkpoint(path, state_dict_of), torch.load(path, weights_only=False))


@FORMATS
def test_a_state_dict_of_a_module_and_what_lies_beside_it(tmp_path: Path, legacy: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(network.parameters())
    network[:2](torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    with foreign_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") as callback:
        config = OmegaConf.create({"lr": 1e-4, "nested": {"a": [1, 2]}})
        content = {
            "state_dict": network.state_dict(),
            "optimizer_states": [optimizer.state_dict()],
            "callbacks": {callback: {"best": torch.zeros(3)}, ("a", ("b",)): {1, 2}, frozenset({3}): b"bytes"},
            "hyper_parameters": argparse.Namespace(config=config, path=Path("x"), size=torch.Size([1, 2])),
            "counts": collections.Counter("abca"),
            "numbers": [None, True, False, -1, 2**40, -(2**90), 1.5, "text", "ü", bytearray(b"x"), complex(1, 2), ...],
        }
        save(content, tmp_path / "last.ckpt", legacy)
    assert same(read_checkpoint(tmp_path / "last.ckpt", state_dict_of), network.state_dict())


@FORMATS
def test_tied_weights_stay_one_storage(tmp_path: Path, legacy: bool) -> None:
    weight = torch.randn(4, 4)
    save({"a": weight, "b": weight, "c": weight[1:]}, tmp_path / "w.pt", legacy)
    loaded = read_checkpoint(tmp_path / "w.pt", state_dict_of)
    assert loaded["a"].untyped_storage().data_ptr() == loaded["c"].untyped_storage().data_ptr()


def test_only_the_chosen_tensors_are_read(tmp_path: Path, monkeypatch) -> None:
    save({"ema": {"x": torch.ones(10)}, "opt": {"moments": torch.ones(1000)}}, tmp_path / "w.pt", legacy=True)
    sizes = []
    real = checkpoints.open_checkpoint

    def spy(file, size):
        opened = real(file, size)
        read = opened.read
        opened.read = lambda storage: sizes.append(storage.num_bytes) or read(storage)
        return opened

    monkeypatch.setattr(checkpoints, "open_checkpoint", spy)
    read_checkpoint(tmp_path / "w.pt", state_dict_of)
    assert sizes == [40]


@FORMATS
def test_a_file_cut_anywhere_is_one_clear_line(tmp_path: Path, legacy: bool) -> None:
    path = save({"a": torch.randn(50), "b": {"c": torch.randn(3)}}, tmp_path / "w.pt", legacy)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        refused(path)


@FORMATS
def test_a_flipped_byte_ends_in_one_clear_line_or_in_tensors(tmp_path: Path, legacy: bool) -> None:
    path = save({"a": torch.randn(5, 2), "b": torch.arange(3)}, tmp_path / "w.pt", legacy)
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            loaded = read_checkpoint(path, all_tensors_of)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(value, Tensor) for value in loaded.values())


def test_a_flipped_bit_in_the_numbers_of_an_archive_is_noticed(tmp_path: Path) -> None:
    path = save({"a": torch.full((1000,), 1.5)}, tmp_path / "w.pt")
    whole = path.read_bytes()
    position = whole.index(b"\x00\x00\xc0\x3f" * 10) + 17
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    assert "Bad CRC-32" in refused(path)


def test_an_archive_without_checksums_loads(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        save(views(), tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "w.pt") as file:
        assert {record.CRC for record in file.infolist()} == {0}
    assert same(read_checkpoint(tmp_path / "w.pt", state_dict_of), torch.load(tmp_path / "w.pt", weights_only=True))


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    pickled = tensor_pickle(4, 0, (4,), (1,))
    numbers = bytes(16)
    cases = {
        "is compressed": lambda p: archive(p, {"w/data.pkl": pickled, "w/data/0": numbers}, zipfile.ZIP_DEFLATED),
        "storage '0' is missing": lambda p: archive(p, {"w/data.pkl": pickled}),
        "0 data.pkl": lambda p: archive(p, {"model.ckpt": numbers}),
        "2 data.pkl": lambda p: archive(p, {"v/data.pkl": pickled, "w/data.pkl": pickled}),
        "not little-endian": lambda p: archive(p, {"w/data.pkl": pickled, "w/byteorder": b"big", "w/data/0": numbers}),
        "a tar file": lambda p: p.write_bytes(tar_file()),
        "a pickle, but none of torch.save": lambda p: p.write_bytes(pickle.dumps({"x": 1})),
        "hold no state dict": lambda p: save([1, 2], p),
    }
    for message, write in cases.items():
        write(tmp_path / "w.pt")
        assert message in refused(tmp_path / "w.pt")


def tar_file() -> bytes:
    import tarfile

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as file:
        info = tarfile.TarInfo("storages")
        info.size = 3
        file.addfile(info, io.BytesIO(b"abc"))
    return content.getvalue()
