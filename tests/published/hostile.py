"""Files that write a canary where a loader runs what is in them."""

import argparse
import os
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.published.torch_files import save

HOSTILE = ("torchscript", "torchscript named .bin", "zip", "legacy", "args", "args legacy", "persistent id", "magic")


class Runs:
    """An object whose pickle writes the canary."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def write_hostile(path: Path, kind: str, canary: Path, state: dict[str, Tensor]) -> Path:
    """Write one of `HOSTILE`, with the tensors of `state` where the kind has any."""
    if kind.startswith("torchscript"):
        return write_torchscript(path, canary)
    if kind in ("zip", "legacy"):
        return save({**state, "hostile": Runs(canary)}, path, kind == "legacy")
    if kind.startswith("args"):
        args = argparse.Namespace(inner=[{"deep": Runs(canary)}])
        return save({"ema": state, "args": args, "callbacks": Runs(canary)}, path, kind.endswith("legacy"))
    pickled = b"(cposix\nsystem\n(Vtouch " + str(canary).encode() + b"\ntRtQ."
    if kind == "magic":
        path.write_bytes(pickled)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickled)
        archive.writestr("weights/version", "3\n")
    return path


def write_torchscript(path: Path, canary: Path) -> Path:
    """Write an archive that saves a file of its choosing when `torch.jit.load` reads it."""

    class Writes(nn.Module):
        def __init__(self, name: str):
            super().__init__()
            self.name, self.weight = name, nn.Parameter(torch.zeros(2))

        @torch.jit.export
        def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
            self.name, self.weight, self.training = state[0], state[1], state[2]
            torch.save(self.weight, self.name)

        @torch.jit.export
        def __getstate__(self) -> tuple[str, Tensor, bool]:
            return self.name, self.weight, self.training

        def forward(self, x: Tensor) -> Tensor:
            return x + self.weight

    torch.jit.save(torch.jit.script(Writes(str(canary))), str(path))
    return path
