"""A record of the machine names the GPU that was used."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tstitch.runs.machine import QUERY, describe_machine

ADDRESS = SimpleNamespace(pci_domain_id=0, pci_bus_id=0xC4, pci_device_id=0, name="a GPU")


def stub_nvidia_smi(monkeypatch, folder: Path, body: str) -> None:
    """An nvidia-smi of our own, and a GPU that PyTorch counts as the first of those that are visible."""
    stub = folder / "nvidia-smi"
    stub.write_text(f"#!/bin/sh\n{body}\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: ADDRESS)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: ADDRESS.name)


def test_nvidia_smi_is_asked_by_the_gpus_address(monkeypatch, tmp_path: Path) -> None:
    """Its index there is another one than PyTorch's where CUDA_VISIBLE_DEVICES leaves some out."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    stub_nvidia_smi(monkeypatch, tmp_path, f'echo "$@" > {tmp_path}/asked; echo "580.65, 1980 MHz, 2619 MHz, 700 W"')
    machine = describe_machine(torch.device("cuda", 0))
    assert "--id=00000000:c4:00.0" in (tmp_path / "asked").read_text().split()
    assert machine["driver_version"] == "580.65"
    assert machine["power.limit"] == "700 W"


def test_what_nvidia_smi_says_when_it_fails_is_no_driver(monkeypatch, tmp_path: Path) -> None:
    stub_nvidia_smi(monkeypatch, tmp_path, 'echo "No devices were found"; exit 6')
    assert "driver_version" not in describe_machine(torch.device("cuda", 0))


@pytest.mark.gpu
def test_every_gpu_has_its_record() -> None:
    for index in range(torch.cuda.device_count()):
        machine = describe_machine(torch.device("cuda", index))
        assert machine["device"] == torch.cuda.get_device_name(index)
        assert set(QUERY.split(",")) <= machine.keys()
