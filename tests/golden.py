"""Tiny runs whose bytes and ids stay what they are: `python -m tests.golden` records them anew in `tests/golden/`.

Bytes are those of one processor and one version of PyTorch, both recorded with them. Elsewhere matrix products round
differently, and values are compared instead: they are kept beside the checksums.
"""

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from sampling.configuration import checked
from tests.conftest import ROOT
from tests.pipelines.families import FAMILIES, run, set_scheduler
from tstitch import stitch
from tstitch.runs.machine import device_name

FOLDER = ROOT / "tests" / "golden"
CHECKSUMS, VALUES = FOLDER / "golden.json", FOLDER / "golden.npz"
LDM, THREE = "pair=fashion_unet_s_l", "pair=fashion_dit_s_b_xl"
RUNS = {
    "ddim": ["sampler=ddim"],
    "ddim_eta": ["sampler=ddim", "sampler.eta=1", "stitch.fractions=null", "stitch.denoiser_per_step=[0,1,1,0,1]"],
    "ddim_interleave": ["sampler=ddim", "allocation.order=interleave", "guidance.scale=[1,1.5]"],
    "ddpm": ["sampler=ddpm", "guidance.channels=all", "labels=balanced"],
    "plms_reset": ["sampler=plms", "sampler.history=reset"],
    "dpmpp_2m": ["sampler=dpmpp_2m"],
    "dpmpp_2m_reset": ["sampler=dpmpp_2m", "sampler.history=reset"],
    "unipc": ["sampler=unipc", "seed=7"],
    "heun": ["sampler=heun", "stitch.timestep_boundaries=[400]"],
    "euler": ["sampler=euler", "stitch.log_snr_boundaries=[-1]"],
    "lcm": ["sampler=lcm", "sampler.num_steps=4"],
    "three_plms": [THREE, "sampler=plms", "stitch.counts=[2,1,2]", "stitch.fractions=null"],
    "ldm_plms": [LDM, "sampler=plms", "allocation.rule=timestep"],
    "ldm_pndm": [LDM, "sampler=pndm"],
    "ldm_ddim_staged": [LDM, "sampler=ddim", "residency=staged"],
}
SMALL = ["num_images=5", "batch_size=2", "precision=float32", "device=cpu", "sampler.num_steps=5"]
LATENTS = {
    "sd_ddim": ("sd", "DDIMScheduler"),
    "sd_pndm": ("sd", "PNDMScheduler"),
    "sdxl_heun": ("sdxl", "HeunDiscreteScheduler"),
    "sd3_flow_euler": ("sd3", "FlowMatchEulerDiscreteScheduler"),
    "wan_unipc": ("wan", "UniPCMultistepScheduler"),
}


def settings_of(name: str) -> list[str]:
    """The overrides of `scripts.sample` of one of `RUNS`, but for `out`."""
    return [*SMALL, *RUNS[name]]


def sample_here(name: str, out: Path) -> None:
    """Make one of `RUNS` with `scripts.sample`, in this process, on one thread."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("sample", [*settings_of(name), f"out={out}"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        import_module("scripts.sample").main(checked("sample", config))
    finally:
        torch.set_num_threads(threads)


def stitched_latents(name: str) -> np.ndarray:
    """The final latents of one of `LATENTS`: two of five solver steps are the small denoiser's."""
    kind, scheduler = LATENTS[name]
    pipe, small = FAMILIES[kind].build(), FAMILIES[kind].denoiser("small")
    set_scheduler(pipe, scheduler)
    stitch(pipe, small, fraction=0.4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(FAMILIES[kind], pipe, output_type="latent").detach().numpy()
    finally:
        torch.set_num_threads(threads)


def sha256(data: bytes) -> str:
    """The hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def machine() -> dict[str, str]:
    """The processor and the version of PyTorch, which decide how sums are rounded."""
    return {"device": device_name(torch.device("cpu")).partition(",")[0], "torch": torch.__version__}


def main() -> None:
    entries = {"machine": machine(), "runs": {}, "latents": {}}
    values = {}
    with TemporaryDirectory() as folder:
        for name in RUNS:
            out = Path(folder) / name
            sample_here(name, out)
            record = json.loads((out / "run.json").read_text())
            data = (out / "samples.npz").read_bytes()
            entries["runs"][name] = {"id": record["run_id"], "sha256": sha256(data)}
            values[name] = np.load(out / "samples.npz")["arr_0"]
    for name in LATENTS:
        values[name] = stitched_latents(name)
        entries["latents"][name] = sha256(values[name].tobytes())
    FOLDER.mkdir(exist_ok=True)
    CHECKSUMS.write_text(json.dumps(entries, indent=2) + "\n")
    np.savez_compressed(VALUES, **values)
    for line in summary(entries):
        print(line)


def summary(entries: dict) -> Iterator[str]:
    """A line for each run and each latents."""
    for name, entry in entries["runs"].items():
        yield f"{name}: {entry['id']} {entry['sha256'][:12]}"
    for name, digest in entries["latents"].items():
        yield f"{name}: {digest[:12]}"


if __name__ == "__main__":
    main()
