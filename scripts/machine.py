"""What a measurement was made on."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from scripts.generating import device_name

QUERY = "driver_version,clocks.sm,clocks.mem,power.limit"


def describe_machine(device: torch.device) -> dict[str, object]:
    """Device, clocks, driver, threads, load and versions."""
    found: dict[str, object] = {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
    }
    if device.type == "cuda" and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader", f"--id={device.index or 0}"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        found |= dict(zip(QUERY.split(","), (value.strip() for value in shown.split(",")), strict=False))
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        clocks = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "MHz" in line]
        found["clock_mhz"] = clocks[0] if clocks else None
    return found
