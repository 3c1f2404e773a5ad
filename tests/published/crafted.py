"""Checkpoints written byte by byte, to claim what `torch.save` never would."""

import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from checkpoints.read import read_checkpoint, state_dict_of
from tstitch.errors import UserError


def archive(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def legacy_file(path: Path, content: bytes, keys: object = (), tail: bytes = b"") -> Path:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    path.write_bytes(b"".join(start) + content + pickle.dumps(list(keys), protocol=2) + tail)
    return path


def tensor_pickle(length: object, offset: object, shape: object, stride: object, kind: str = "FloatStorage") -> bytes:
    """A pickle with one tensor that claims what it is told."""

    def dumped(value: object) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]  # without protocol and end

    storage = b"(Vstorage\nctorch\n" + kind.encode() + b"\nV0\nVcpu\n" + dumped(length) + b"tQ"
    arguments = storage + dumped(offset) + dumped(shape) + dumped(stride)
    return b"\x80\x02}Vx\nctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89}tRs."


def refused(path: Path) -> str:
    """The one line that says why nothing is read."""
    with pytest.raises(UserError) as caught:
        read_checkpoint(path, state_dict_of)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Pickles, each of which would write the canary, or end the process, in an unpickler."""
    touch = f"touch {canary}".encode()
    system = b"cposix\nsystem\n"
    name = b"c__builtin__\neval\n"
    text = f"V__import__('pathlib').Path('{canary}').touch()\n".encode()
    return {
        "reduce": system + b"(V" + touch + b"\ntR.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + b"(V" + touch + b"\ntR.",
        "inst": b"(V" + touch + b"\niposix\nsystem\n.",
        "obj": b"(" + system + b"V" + touch + b"\no.",
        "newobj": b"\x80\x02" + system + b"(V" + touch + b"\nt\x81.",
        "newobj_ex": b"\x80\x04" + system + b"(V" + touch + b"\nt}\x92.",
        "build": name + b"(" + text + b"tR}b.",
        "getattr chain": b"c__builtin__\ngetattr\n(cos\npath\nVos\ntRc__builtin__\ngetattr\n(h\x00.",
        "extension": b"\x82\x01.",
        "persistent id": b"(" + system + b"(V" + touch + b"\ntRtQ.",
        "nested call": name + b"(" + text + b"tR(N" + system + b"(V" + touch + b"\ntRtR.",
        "deep tuples": b"}(" + b"(" * 50_000 + b"t" * 50_000 + b"Nu.",
        "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        "long string": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
        "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        "long number": b"I" + b"9" * 10_000 + b"\n.",
        "many marks": b"(" * 10_000 + b".",
        "empty": b"",
        "no end": b"\x80\x02}",
        "underflow": b"\x80\x02R.",
        "itself": b"\x80\x02]q\x00h\x00a.",
    }
