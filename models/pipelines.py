"""Text-to-image pipelines from folders on disk, in diffusers' layout. Nothing is downloaded."""

import hashlib
import inspect
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
import transformers

from models.weights.read import class_name, in_line, read_settings
from tstitch import stitch
from tstitch.errors import UserError, explain_no_file, is_out_of_memory
from tstitch.runs.digest import file_sha256
from tstitch.solvers.scheduler_convention import scheduler_file

INDEX, CONFIG = "model_index.json", "config.json"  # of a pipeline, and of a model
WEIGHTS, SETTINGS = (".safetensors", ".bin"), (".json", ".txt", ".model")
COMPONENTS = ("unet", "transformer")
# These would blacken images, or mark them where another package happens to be installed.
WITHOUT = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
HOW = "weights are local files only: put the published folder there or give its place"
FLOW = "FlowMatch"  # in the names of all schedulers of flow matching


@dataclass(frozen=True)
class PipelineSpec:
    """Folders and files of the parts of a stitched pipeline.

    Attributes:
        large: the folder of a pipeline, with its `model_index.json`.
        small: folders of denoisers, or of pipelines that hold them, from small to large; none for the plain pipeline.
        denoiser: a folder whose denoiser takes the place of the pipeline's own, or None.
        vae: a folder whose autoencoder takes the place of the pipeline's own, or None.
        controlnet: a folder with a ControlNet that the pipeline is to have, or None.
        loras: a file for each denoiser, small to large, that is fused into it, or None.
        scheduler: the name of a scheduler class of diffusers, or None for the pipeline's own.
        allow: differences between the denoisers that are not refused, see `tstitch.stitch`.
    """

    large: Path
    small: tuple[Path, ...]
    denoiser: Path | None
    vae: Path | None
    controlnet: Path | None
    loras: tuple[Path | None, ...]
    scheduler: str | None
    allow: tuple[str, ...]

    @property
    def component(self) -> str:
        """`unet` or `transformer`."""
        return _component(self.large)

    @property
    def denoisers(self) -> list[Path]:
        """Folders of all denoisers, small to large."""
        large = self.denoiser or self.large
        return [_denoiser_folder(folder, self.component) for folder in (*self.small, large)]


def check_files(spec: PipelineSpec) -> None:
    """Raise `UserError` for the first folder or file that is not there."""
    if not (spec.large / INDEX).is_file():
        raise UserError(f"large={spec.large} is not the folder of a pipeline (no {INDEX}); {HOW}")
    for folder in (*spec.denoisers, spec.vae, spec.controlnet):
        if folder is not None and not (folder / CONFIG).is_file():
            raise UserError(f"{folder} holds no diffusers model (no {CONFIG}); {HOW}")
        if folder is not None and not _files(folder, WEIGHTS):
            raise UserError(f"{folder} holds no weights (.safetensors or .bin); {HOW}")
    for path in spec.loras:
        if path is not None and not path.is_file():
            raise UserError(f"LoRA {path} {explain_no_file(path)}; {HOW}")


def digests(spec: PipelineSpec) -> dict:
    """Compute a checksum of every part that decides the images. Reads the weights."""
    parts = read_settings(spec.large / INDEX)
    replaced = {spec.component, *WITHOUT, *(["vae"] if spec.vae else [])}
    kept = [name for name in parts if name not in replaced and (spec.large / name).is_dir()]
    others = {"vae": spec.vae, "controlnet": spec.controlnet}
    return {
        "index": file_sha256(spec.large / INDEX),
        "large": {name: folder_sha256(spec.large / name) for name in kept},
        "denoisers": [folder_sha256(folder) for folder in spec.denoisers],
        **{name: folder and folder_sha256(folder) for name, folder in others.items()},
        "loras": [path and file_sha256(path) for path in spec.loras],
    }


def scheduler_digests(spec: PipelineSpec) -> list[str | None]:
    """Compute the checksums of what says the noise schedules of the small denoisers; None where nothing does."""
    files = [scheduler_file(folder) for folder in spec.denoisers[:-1]]
    return [None if path is None else file_sha256(path) for path in files]


def folder_sha256(folder: Path) -> str:
    """Compute one checksum over the names and the contents of a model's files."""
    total = hashlib.sha256()
    for path in _files(folder, (*WEIGHTS, *SETTINGS)):
        total.update(f"{path.relative_to(folder)} {file_sha256(path)}\n".encode())
    return total.hexdigest()


def load_scheduler(spec: PipelineSpec) -> object:
    """Load the scheduler that the pipeline will have.

    Raises:
        UserError: diffusers has no scheduler of this name, or it is for flow matching and the pipeline is not.
    """
    path = spec.large / "scheduler" / "scheduler_config.json"
    config = read_settings(path)
    published = class_name(path, config)
    name = str(spec.scheduler or published)
    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "set_timesteps"):
        if spec.scheduler is None:
            raise UserError(f"{path}: _class_name must be a scheduler of diffusers, got {name!r}")
        known = sorted(each for each in dir(diffusers) if each.endswith("Scheduler") and "Flax" not in each)
        raise UserError(f"unknown scheduler {name!r}; known: {', '.join(known)}")
    if FLOW in name and not (FLOW in published or config.get("prediction_type") == "flow_prediction"):
        raise UserError(
            f"scheduler {name} is for flow matching, {spec.large} is not (its own is {published}); name another"
        )
    try:
        return kind.from_config(config)
    except Exception as error:  # on a value of another kind the constructors raise nearly anything
        raise UserError(f"{path} is no configuration of {name}: {in_line(error)}") from error


def load_pipeline(spec: PipelineSpec, allocation: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> object:
    """Load the pipeline on `device`, stitched with an explicit allocation unless it has no small denoisers.

    Raises:
        UserError: the denoisers do not fit each other, or a file cannot be read.
    """
    for quiet in (diffusers.utils.logging.disable_progress_bar, transformers.logging.disable_progress_bar):
        quiet()
    parts = {"scheduler": load_scheduler(spec), spec.component: _load_model(spec.denoisers[-1], dtype)}
    if spec.vae is not None:
        parts["vae"] = _load_model(spec.vae, dtype)
    name = class_name(spec.large / INDEX, read_settings(spec.large / INDEX))
    if spec.controlnet is not None:
        parts["controlnet"] = _load_model(spec.controlnet, dtype)
        name = name.replace("Pipeline", "ControlNetPipeline")
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise UserError(f"{spec.large} is a {name}, which diffusers does not have")
    known = inspect.signature(kind.__init__).parameters
    parts |= {key: value for key, value in WITHOUT.items() if key in known}
    _check_settings(spec.large)
    try:
        pipe = kind.from_pretrained(
            spec.large, dtype=dtype, local_files_only=True, variant=_variant(spec.large), **parts
        )
    except Exception as error:  # on a file of another kind diffusers and transformers raise nearly anything
        if is_out_of_memory(error):
            raise
        raise UserError(f"{spec.large} cannot be loaded: {in_line(error)}") from error
    networks = [_load_model(folder, dtype) for folder in spec.denoisers[:-1]]
    if networks:
        stitch(pipe, *networks, allocation=allocation, allow=spec.allow)
    for index, path in enumerate(spec.loras):
        if path is not None:
            _fuse(pipe, spec.component, index if networks else None, path)
    return pipe.to(device)


def _check_settings(large: Path) -> None:
    """Check what a pipeline's folder says of its parts: on some damage diffusers looks for the part on the network."""
    for path in sorted(large.glob(f"*/{CONFIG}")):
        settings = read_settings(path)
        if "_class_name" in settings:
            class_name(path, settings)


def _fuse(pipe: object, component: str, index: int | None, path: Path) -> None:
    """Fuse a LoRA into denoiser `index` of a stitched pipeline, or into the only one (None)."""
    denoiser = getattr(pipe, component)
    with denoiser.addressing(index) if index is not None else nullcontext():
        pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name="fused")
        denoiser.fuse_lora()
        denoiser.unload_lora()


def _load_model(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    name = class_name(folder / CONFIG, read_settings(folder / CONFIG))
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise UserError(f"{folder} holds a {name}, which diffusers does not have")
    try:
        return kind.from_pretrained(folder, dtype=dtype, local_files_only=True, variant=_variant(folder))
    except Exception as error:  # on a file of another kind diffusers raises nearly anything
        if is_out_of_memory(error):
            raise
        raise UserError(f"{folder} cannot be loaded: {in_line(error)}") from error


def _component(large: Path) -> str:
    parts = read_settings(large / INDEX)
    for name in COMPONENTS:
        if name in parts and not (isinstance(parts[name], list) and len(parts[name]) == 2):
            raise UserError(f"{large / INDEX}: {name} must be a list of a library and a class, got {parts[name]!r}")
    components = [name for name in COMPONENTS if parts.get(name, [None])[0] is not None]
    if len(components) != 1:
        raise UserError(f"{large} is a {parts.get('_class_name')}, which has no unet or transformer to stitch")
    return components[0]


def _denoiser_folder(folder: Path, component: str) -> Path:
    return folder if (folder / CONFIG).is_file() else folder / component


def _variant(folder: Path) -> str | None:
    """Return `fp16` where a folder has no other weights."""
    files = _files(folder, WEIGHTS)
    return "fp16" if files and all(".fp16." in path.name for path in files) else None


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a model or a pipeline; a `.bin` beside a `.safetensors` is not read by diffusers."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())
    safe = {path.parent for path in files if path.suffix == ".safetensors"}
    return [path for path in files if path.suffix != ".bin" or path.parent not in safe]
