"""The machine that images and measurements are made on."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
QUERY = "driver_version,clocks.sm,clocks.mem,power.limit"


def describe_machine(device: torch.device) -> dict[str, object]:
    """Return device, clocks, driver, threads, load and versions."""
    facts: dict[str, object] = {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
    }
    if device.type == "cuda" and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader", f"--id={_pci_address(device)}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            facts |= dict(zip(QUERY.split(","), map(str.strip, answer.stdout.split(",")), strict=False))
    if device.type == "cpu" and CPUINFO.exists():
        facts["clock_mhz"] = _first_of_cpuinfo("cpu MHz")
    return facts


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, threads = _first_of_cpuinfo("model name"), torch.get_num_threads()
    return f"{name or platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"


def _pci_address(device: torch.device) -> str:
    """Return the GPU as nvidia-smi knows it, `domain:bus:device.function` in hexadecimal.

    nvidia-smi counts the machine's GPUs, PyTorch those in CUDA_VISIBLE_DEVICES. A part of a GPU (MIG) has the address
    of the whole one, while nvidia-smi does not take its UUID.
    """
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"


def _first_of_cpuinfo(key: str) -> str | None:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
