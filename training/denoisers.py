"""Denoisers on the latents of the zoo's autoencoder: DiTs, U-Nets, and DiTs stitched in their middle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.denoisers import ClassConditionalDenoiser
from models.families import find_family
from models.networks.snnet import join
from models.pair import DenoiserSpec, build_denoiser, denoiser_spec, load_denoiser
from models.weights.read import check_state
from training.batches import encode, scaled
from training.cards import save_weights
from training.directory import begun_from
from training.images import NUM_CLASSES
from training.latents import LatentImages, Latents, StoredLatents
from training.objective import DiffusionObjective
from training.run import Training
from training.tasks import DenoiserTask
from training.trainer import TrainingRecord
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.schedule import make_schedule

AUTOENCODER, AUTOENCODER_WEIGHTS = "autoencoder", "diffusion_pytorch_model.safetensors"


def train_denoiser(own: Training) -> None:
    """Train a DiT or a U-Net, from nothing or from weights."""
    recipe, denoiser = own.recipe, own.recipe["denoiser"]
    data = _latents(own)
    spec = _spec(denoiser, own.weights / Path(denoiser["path"]).name)
    _check_shape(spec, data)
    network, family = build_denoiser(spec), find_family(spec.family)
    family.initialize(network.network)
    checksums = _checksums(own)
    if recipe["begin_with"] is not None:
        first = _spec(denoiser, Path(recipe["begin_with"]), bool(denoiser.get("ema")))
        state = family.read(first)
        check_state(network.network, state, first.weights)
        network.network.load_state_dict(state)
        # Weights that are trained on in their own place are no longer what a finished training began with.
        kept = begun_from(own.out) if first.weights.resolve() == spec.weights.resolve() else None
        checksums |= {"began_with_sha256": (kept or {}).get("began_with_sha256") or file_sha256(first.weights)}
    module, record = own.run(_task(own, network, data, denoiser["schedule"]), **checksums)
    if own.group.is_main:
        save_weights(spec.weights, module, torch.bfloat16)
        own.write_card(spec.weights, record, module, config=denoiser["config"], **checksums)


def train_snnet(own: Training) -> None:
    """Stitch two DiTs of the zoo in their middle (SN-Net), and train the layer between them, all of it, or nothing."""
    recipe, data = own.recipe, _latents(own)
    specs = [_spec(recipe[size], Path(recipe[size]["path"])) for size in ("small", "large")]
    for spec in specs:
        _check_shape(spec, data)
    config = {"small": recipe["small"]["config"], "large": recipe["large"]["config"], "block": recipe["block"]}
    spec = denoiser_spec(recipe["name"], "snnet", own.weights / f"{recipe['name']}.safetensors", config)
    small, large = (load_denoiser(each, "float32", torch.device("cpu")).network for each in specs)
    network = build_denoiser(spec)
    facts = {size: file_sha256(each.weights) for size, each in zip(("small", "large"), specs, strict=True)}
    task = _task(own, network, data, recipe["large"]["schedule"])
    joined = join(spec.config, small, large, *_noisy_batch(task, recipe["num_features"], own.seed))
    network.network.load_state_dict(joined.state_dict())
    if recipe["trained"] == "layer":
        network.network.requires_grad_(False).stitch.requires_grad_(True)
    if recipe["trained"] == "none":
        module, record = network.network, TrainingRecord(0, 0, 0.0, 0.0)
    else:
        checksums = _checksums(own) | {f"{size}_sha256": sha256 for size, sha256 in facts.items()}
        module, record = own.run(task, **checksums)
    if own.group.is_main:
        save_weights(spec.weights, module, torch.bfloat16)
        own.write_card(spec.weights, record, module, config=config, stitched_sha256=facts)


def _checksums(own: Training) -> dict[str, str]:
    """The checksum of the autoencoder that encodes the images here; stored latents have it in their source."""
    if isinstance(own.data, StoredLatents):
        return {}
    return {"autoencoder_sha256": file_sha256(own.zoo / AUTOENCODER / AUTOENCODER_WEIGHTS)}


def _spec(denoiser: dict, path: Path, ema: bool = False) -> DenoiserSpec:
    return denoiser_spec(denoiser["name"], denoiser["family"], path, denoiser["config"], ema)


def _latents(own: Training) -> Latents:
    """Return the latents of the training: stored ones, or those of the images, encoded here."""
    if isinstance(own.data, StoredLatents):
        return own.data
    autoencoder = load_autoencoder(AutoencoderSpec(own.data_name, "kl", own.zoo / AUTOENCODER))
    scale = autoencoder.config.scaling_factor
    autoencoder.to(own.device)
    mean, std = (part * scale for part in encode(autoencoder, scaled(own.data.images), own.device))
    labels = torch.from_numpy(own.data.labels)
    return LatentImages(mean.to(own.device), std.to(own.device), labels.to(own.device), NUM_CLASSES)


def _task(own: Training, network: ClassConditionalDenoiser, data: Latents, schedule: dict) -> DenoiserTask:
    """Make the task of training a network, on the device of the training."""
    recipe, module = own.recipe, network.network.to(own.device)
    if recipe["class_dropout_prob"] > 0 and not network.has_null_class:
        raise UserError(
            f"recipe.class_dropout_prob={recipe['class_dropout_prob']:g} drops labels, and the network has no null "
            "class that would stand for them; give recipe.class_dropout_prob=0, or a network with one"
        )

    def forward(latents: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        return module(latents, timestep + network.first_timestep, network.conditional(labels))

    timesteps = recipe["timesteps"] and tuple(recipe["timesteps"])
    objective = DiffusionObjective(
        make_schedule(**schedule), recipe["snr_gamma"], recipe["high_noise_weight"], timesteps,
        recipe["variational_weight"],
    ).to(own.device)  # fmt: skip
    return DenoiserTask(module, forward, objective, data, recipe["class_dropout_prob"])


def _noisy_batch(task: DenoiserTask, num: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw noisy latents (num, C, h, w), their timesteps (num,) and labels (num,) on the host, as training does."""
    generator = torch.Generator(task.objective.signal.device).manual_seed(seed)
    latents, labels = task.draw(num, generator)
    noisy, timesteps, _ = task.objective.add_noise(latents, generator)
    return noisy.cpu(), timesteps.cpu(), labels.cpu()


def _check_shape(spec: DenoiserSpec, data: Latents) -> None:
    """Raise `UserError` where a network is not for the classes of the data, or not for the autoencoder's latents."""
    channels, side = data.take(torch.zeros(1, dtype=torch.int64))[0].shape[1:3]
    for key, value in {"num_classes": data.num_classes, "input_size": side, "in_channels": channels}.items():
        if getattr(spec.config, key) != value:
            raise UserError(f"{spec.name} has {key}={getattr(spec.config, key)}; training here needs {value}")
