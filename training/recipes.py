"""From a recipe to a shipped network: build, train, measure, write the weights and their card."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from evaluation.metrics.distances import frechet_distance
from evaluation.metrics.extractors import CLASSIFIERS
from evaluation.metrics.features import FeatureSet
from evaluation.metrics.reference import load_reference, make_reference
from evaluation.metrics.staged_classifier import StagedClassifier
from evaluation.metrics.statistics import statistics
from models.autoencoder import AutoencoderSpec, load_autoencoder
from models.weights.read import load_weights
from training.adversary import AdversarialDecoder, DecoderTask
from training.batches import classify, decode, encode, scaled
from training.cards import save_weights
from training.denoisers import AUTOENCODER, train_denoiser, train_snnet
from training.images import IMAGE_SIZE, NUM_CLASSES
from training.latents import LatentImages
from training.perceptual import PerceptualDistance
from training.run import Training
from training.tasks import AutoencoderTask, ClassifierTask
from training.trainer import TrainingRecord
from tstitch.errors import UserError
from tstitch.runs.digest import file_sha256
from tstitch.runs.json_files import read_json

CLASSIFIER = "classifier.safetensors"
REFERENCE, HELD_OUT_REFERENCE = "reference.npz", "reference_held_out.npz"
MOST_KEPT = 5_000  # images whose features a reference keeps


def train_classifier(own: Training) -> None:
    """Train, measure the accuracy on held-out images, write the reference statistics.

    They are of all training images, as ADM's are, and where the held-out ones are not among these, of the held-out
    ones in a file of their own: a sampler that has memorised its images is nearer to the first than new images are.
    """
    if own.group.world_size > 1:
        raise UserError(
            f"recipe={own.recipe['name']} trains in one process, got {own.group.world_size}: its batch normalisation "
            "is over the images of a process"
        )
    images, labels = own.data.images, torch.from_numpy(own.data.labels)
    held_out, held_out_labels = own.data.held_out
    seen = torch.from_numpy(own.data.seen)
    network = CLASSIFIERS[own.data_name]().to(own.device)
    task = ClassifierTask(network, scaled(images)[seen].to(own.device), labels[seen].to(own.device))
    module, record = own.run(task)
    if not own.group.is_main:
        return
    features = classify(module, images, own.device)[0]
    if isinstance(module, StagedClassifier):
        module.standardise(features)
        features /= module.deviation.cpu().numpy()
    weights = own.zoo / CLASSIFIER
    save_weights(weights, module, torch.float32)
    held_out_features, logits = classify(module, held_out, own.device)
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
    images = scaled(own.data.images)
    weight, perceptual = own.recipe["perceptual_weight"], None
    if weight:
        perceptual = PerceptualDistance(Path(own.recipe["perceptual_network"]), weight, own.device)
    module, record = own.run(AutoencoderTask(module, images.to(own.device), own.recipe["kl_weight"], perceptual))
    if not own.group.is_main:
        return
    module.bfloat16().float()
    mean, std = encode(module, images, own.device)
    latents = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(own.seed))
    module.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    _keep_autoencoder(own, module, record, classifier)


def train_decoder(own: Training) -> None:
    """Train the decoder of the zoo's autoencoder on, against a discriminator; its latents stay as they are."""
    module = load_autoencoder(AutoencoderSpec(own.data_name, "kl", own.zoo / AUTOENCODER)).to(own.device)
    classifier = CLASSIFIERS[own.data_name]().eval()
    load_weights(classifier, own.zoo / CLASSIFIER)
    images = scaled(own.data.images)
    mean, std = (part.to(own.device) for part in encode(module, images, own.device))
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
    decoded = decode(module, encode(module, scaled(held_out), own.device)[0], own.device)
    psnr = 10 * torch.log10(4 / (decoded - scaled(held_out)).square().mean()).item()
    rounded = ((decoded + 1) * 127.5).round().byte()[:, 0].numpy()
    fid = frechet_distance(
        *(statistics(classify(classifier, own_images, own.device)[0]) for own_images in (rounded, held_out))
    )
    print(f"PSNR {psnr:.2f} dB, reconstruction FID {fid:.3f} on {len(held_out)} held-out images")
    module.bfloat16().save_pretrained(own.zoo / AUTOENCODER)
    weights = own.zoo / AUTOENCODER / "diffusion_pytorch_model.safetensors"
    own.write_card(weights, record, module, psnr_db=psnr, reconstruction_fid=fid, **facts)


RECIPES = {
    "classifier": train_classifier,
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "denoiser": train_denoiser,
    "snnet": train_snnet,
}
