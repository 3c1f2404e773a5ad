"""From a recipe to a shipped network: build, train, measure, write the weights and their card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.extractors import CLASSIFIERS
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import load_reference, make_reference
from evaluation.metrics.staged_classifier import StagedClassifier
from evaluation.metrics.statistics import statistics
from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.families import find_family
from models.pair import DenoiserSpec, build_denoiser, denoiser_spec
from models.weights.read import check_state, load_weights
from training.adversary import AdversarialDecoder, DecoderTask
from training.cards import save_weights, write_card
from training.directory import claim_directory
from training.group import Group
from training.images import IMAGE_SIZE, NUM_CLASSES, Images
from training.objective import DiffusionObjective
from training.optimizers import OptimizerSettings
from training.perceptual import PerceptualDistance
from training.tasks import AutoencoderTask, ClassifierTask, DenoiserTask, LatentImages, Task
from training.trainer import TrainerSettings, TrainingRecord, train
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import read_json
from tstitch.schedule import make_schedule

CLASSIFIER, AUTOENCODER = "classifier.safetensors", "autoencoder"
REFERENCE, HELD_OUT_REFERENCE = "reference.npz", "reference_held_out.npz"
BATCH_SIZE = 250
MOST_KEPT = 5_000  # images whose features a reference keeps


@dataclass(frozen=True)
class Training:
    """What every kind of recipe is trained with.

    Attributes:
        recipe: the settings of the network.
        data_name: of the data set, which is also the name of its extractor.
        out: for the checkpoint and the log.
        zoo: for the weights and their card.
        command: what makes the same again, for the card.
    """

    recipe: dict
    data_name: str
    data: Images
    device: torch.device
    group: Group
    out: Path
    zoo: Path
    command: str

    @property
    def seed(self) -> int:
        return self.recipe["trainer"]["seed"]

    def run(self, task: Task) -> tuple[nn.Module, TrainingRecord]:
        """Train in the directory that is the recipe's from now on."""
        if self.group.is_main:
            claim_directory(self.out, self.recipe)
        self.group.wait_for_all()
        settings, optimizer = TrainerSettings(**self.recipe["trainer"]), OptimizerSettings(**self.recipe["optimizer"])
        return train(task, settings, optimizer, self.out, self.group)

    def write_card(self, weights: Path, record: TrainingRecord, module: nn.Module, **facts: object) -> None:
        write_card(weights, self.command, self.seed, record, module, data=self.data.source, **facts)


def train_classifier(own: Training) -> None:
    """Train, measure the accuracy on held-out images, write the reference statistics.

    They are of all training images, as ADM's are, and where the held-out ones are not among these, of the held-out
    ones in a file of their own: a sampler that has memorised its images is nearer to the first than new images are.
    """
    images, labels = own.data.images, torch.from_numpy(own.data.labels)
    held_out, held_out_labels = own.data.held_out
    seen = torch.from_numpy(own.data.seen)
    network = CLASSIFIERS[own.data_name]().to(own.device)
    task = ClassifierTask(network, _scaled(images)[seen].to(own.device), labels[seen].to(own.device))
    module, record = own.run(task)
    if not own.group.is_main:
        return
    features = _run(module, images, own.device)[0]
    if isinstance(module, StagedClassifier):
        module.standardise(features)
        features /= module.deviation.cpu().numpy()
    weights = own.zoo / CLASSIFIER
    save_weights(weights, module, torch.float32)
    held_out_features, logits = _run(module, held_out, own.device)
    accuracy = float((logits.argmax(axis=1) == held_out_labels).mean())
    print(f"accuracy on {len(held_out)} held-out images: {accuracy:.4f}")
    facts = {"side": (IMAGE_SIZE, IMAGE_SIZE), "source": own.data.source}
    feature_set = FeatureSet(features, None, None)
    make_reference(own.zoo / REFERENCE, feature_set, own.data_name, facts, keep_features=len(images) <= MOST_KEPT)
    if len(seen) == len(images):
        feature_set = FeatureSet(held_out_features, None, None)
        make_reference(own.zoo / HELD_OUT_REFERENCE, feature_set, own.data_name, facts, keep_features=False)
    floor = frechet_distance(statistics(held_out_features), load_reference(own.zoo / REFERENCE).pool)
    own.write_card(
        weights, record, module,
        held_out_accuracy=accuracy, held_out_fid=floor, reference_sha256=file_sha256(own.zoo / REFERENCE),
    )  # fmt: skip


def train_autoencoder(own: Training) -> None:
    """Train, set the scaling factor to one over the latents' deviation, measure PSNR and reconstruction FID.

    Both are of held-out images and their decoded selves, decoded by the weights in bf16 that are kept.
    """
    module = AutoencoderKL(sample_size=IMAGE_SIZE, **own.recipe["autoencoder"]).to(own.device)
    classifier = CLASSIFIERS[own.data_name]().eval()  # its own draws come after the autoencoder's
    load_weights(classifier, own.zoo / CLASSIFIER)
    images = _scaled(own.data.images)
    weight, perceptual = own.recipe["perceptual_weight"], None
    if weight:
        perceptual = PerceptualDistance(Path(own.recipe["perceptual_network"]), weight, own.device)
    module, record = own.run(AutoencoderTask(module, images.to(own.device), own.recipe["kl_weight"], perceptual))
    if not own.group.is_main:
        return
    module.bfloat16().float()
    mean, std = _encode(module, images, own.device)
    latents = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(own.seed))
    module.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    _keep_autoencoder(own, module, record, classifier)


def train_decoder(own: Training) -> None:
    """Train the decoder of the zoo's autoencoder on, against a discriminator; its latents stay as they are."""
    module = load_autoencoder(AutoencoderSpec(own.data_name, "kl", own.zoo / AUTOENCODER)).to(own.device)
    classifier = CLASSIFIERS[own.data_name]().eval()
    load_weights(classifier, own.zoo / CLASSIFIER)
    images = _scaled(own.data.images)
    mean, std = (part.to(own.device) for part in _encode(module, images, own.device))
    latents = LatentImages(mean, std, torch.from_numpy(own.data.labels), NUM_CLASSES)
    perceptual = PerceptualDistance(Path(own.recipe["perceptual_network"]), own.recipe["perceptual_weight"], own.device)
    decoder = AdversarialDecoder(module).requires_grad_(True).to(own.device)
    task = DecoderTask(decoder, images.to(own.device), latents, own.recipe["adversarial_weight"], perceptual)
    trained, record = own.run(task)
    if not own.group.is_main:
        return
    module.post_quant_conv, module.decoder = trained.post_quant_conv, trained.decoder
    before = read_json(own.zoo / AUTOENCODER / "diffusion_pytorch_model.json")
    first = before.get("first") or {key: before[key] for key in ("command", "iterations", "seconds", "psnr_db")}
    _keep_autoencoder(own, module.bfloat16().float(), record, classifier, first=first)


def _keep_autoencoder(
    own: Training, module: AutoencoderKL, record: TrainingRecord, classifier: nn.Module, **facts: object
) -> None:
    """Measure an autoencoder on held-out images, and write its weights in bf16 with their card."""
    held_out, classifier = own.data.held_out[0], classifier.to(own.device)
    decoded = _decode(module, _encode(module, _scaled(held_out), own.device)[0], own.device)
    psnr = 10 * torch.log10(4 / (decoded - _scaled(held_out)).square().mean()).item()
    rounded = ((decoded + 1) * 127.5).round().byte()[:, 0].numpy()
    fid = frechet_distance(
        *(statistics(_run(classifier, own_images, own.device)[0]) for own_images in (rounded, held_out))
    )
    print(f"PSNR {psnr:.2f} dB, reconstruction FID {fid:.3f} on {len(held_out)} held-out images")
    module.bfloat16().save_pretrained(own.zoo / AUTOENCODER)
    weights = own.zoo / AUTOENCODER / "diffusion_pytorch_model.safetensors"
    own.write_card(weights, record, module, psnr_db=psnr, reconstruction_fid=fid, **facts)


def train_denoiser(own: Training) -> None:
    """Train a DiT or a U-Net on the latents of the shipped autoencoder."""
    recipe = own.recipe
    autoencoder = load_autoencoder(AutoencoderSpec(own.data_name, "kl", own.zoo / AUTOENCODER))
    scale = autoencoder.config.scaling_factor
    denoiser = recipe["denoiser"]
    spec = denoiser_spec(
        denoiser["name"], denoiser["family"], own.zoo / Path(denoiser["path"]).name, denoiser["config"]
    )
    _check_shape(spec, autoencoder)
    network, family = build_denoiser(spec), find_family(spec.family)
    module = network.network
    family.initialize(module)
    facts = {}
    if recipe["begin_with"] is not None:
        first = denoiser_spec(spec.name, spec.family, Path(recipe["begin_with"]), denoiser["config"])
        state = family.read(first)
        check_state(module, state, first.weights)
        module.load_state_dict(state)
        facts = {"began_with_sha256": file_sha256(first.weights)}
    module.to(own.device)

    def forward(latents: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        return module(latents, timestep, network.conditional(labels))

    schedule = make_schedule(**recipe["denoiser"]["schedule"])
    timesteps = recipe["timesteps"] and tuple(recipe["timesteps"])
    objective = DiffusionObjective(schedule, recipe["snr_gamma"], recipe["high_noise_weight"], timesteps).to(own.device)
    autoencoder.to(own.device)
    mean, std = (part * scale for part in _encode(autoencoder, _scaled(own.data.images), own.device))
    labels = torch.from_numpy(own.data.labels)
    latents = LatentImages(mean.to(own.device), std.to(own.device), labels.to(own.device), spec.config.num_classes)
    task = DenoiserTask(module, forward, objective, latents, recipe["class_dropout_prob"])
    module, record = own.run(task)
    if own.group.is_main:
        save_weights(spec.weights, module, torch.bfloat16)
        own.write_card(spec.weights, record, module, config=denoiser["config"], **facts)


RECIPES = {
    "classifier": train_classifier,
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "denoiser": train_denoiser,
}


def _check_shape(spec: DenoiserSpec, autoencoder: AutoencoderKL) -> None:
    """Raise `UserError` where a network is not for the classes of the data, or not for the autoencoder's latents."""
    side = IMAGE_SIZE // 2 ** (len(autoencoder.config.block_out_channels) - 1)
    needed = {"num_classes": NUM_CLASSES, "input_size": side, "in_channels": autoencoder.config.latent_channels}
    for key, value in needed.items():
        if getattr(spec.config, key) != value:
            raise UserError(f"{spec.name} has {key}={getattr(spec.config, key)}; training here needs {value}")


def _scaled(images: np.ndarray) -> Tensor:
    """Bytes (N, H, W) as (N, 1, H, W) in [-1, 1]."""
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


@torch.inference_mode()
def _encode(autoencoder: AutoencoderKL, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    posteriors = [autoencoder.encode(part.to(device)).latent_dist for part in images.split(BATCH_SIZE)]
    mean, std = (torch.cat([getattr(p, name) for p in posteriors]).cpu() for name in ("mean", "std"))
    return mean.clone(), std.clone()


@torch.inference_mode()
def _decode(autoencoder: AutoencoderKL, latents: Tensor, device: torch.device) -> Tensor:
    """Images (N, 1, H, W) in [-1, 1]."""
    parts = [autoencoder.decode(part.to(device)).sample.cpu() for part in latents.split(BATCH_SIZE)]
    return torch.cat(parts).clamp(-1, 1)


@torch.inference_mode()
def _run(classifier: nn.Module, images: np.ndarray, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of bytes (N, H, W)."""
    outputs = [classifier(part.to(device)) for part in _scaled(images).split(BATCH_SIZE)]
    features, logits = (torch.cat(own).float().cpu().numpy() for own in zip(*outputs, strict=True))
    return features, logits
