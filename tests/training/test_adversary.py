"""The decoder and its discriminator: whose gradient is whose, and that latents stay as they are."""

import pytest
import torch
from diffusers import AutoencoderKL

from tests.conftest import ROOT
from training.adversary import AdversarialDecoder, DecoderTask, PatchDiscriminator
from training.latents import LatentImages
from training.perceptual import PerceptualDistance

CLASSIFIER = ROOT / "models/zoo/digits/classifier.safetensors"
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}


@pytest.fixture
def task() -> DecoderTask:
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        1, 1, **BLOCKS, block_out_channels=(8, 8, 8), latent_channels=4, norm_num_groups=8, sample_size=32
    )
    images = torch.rand(8, 1, 32, 32) * 2 - 1
    latents = LatentImages(torch.randn(8, 4, 8, 8), torch.full((8, 4, 8, 8), 0.1), torch.zeros(8).long(), 10)
    perceptual = PerceptualDistance(CLASSIFIER, 0.5, torch.device("cpu"))
    return DecoderTask(AdversarialDecoder(autoencoder), images, latents, 0.1, perceptual)


def test_the_decoder_deceives_and_the_discriminator_judges_and_neither_moves_the_other(task: DecoderTask) -> None:
    decoded = task.module(task.latents.mean)
    task._deceive(decoded).backward(retain_graph=True)
    assert all(p.grad is None for p in task.module.discriminator.parameters())
    assert all(p.grad is not None for p in task.module.decoder.parameters())
    task.module.zero_grad(set_to_none=True)
    task._discriminate(task.images, decoded).backward()
    assert all(p.grad is None for p in task.module.decoder.parameters())
    assert all(p.grad is not None for p in task.module.discriminator.parameters())


def test_the_hinge_loss_is_that_of_its_formula(task: DecoderTask) -> None:
    decoded = task.module(task.latents.mean).detach()
    real, made = (task.module.discriminator(images) for images in (task.images, decoded))
    wanted = (1 - real).clamp(min=0).mean() + (1 + made).clamp(min=0).mean()
    torch.testing.assert_close(task._discriminate(task.images, decoded), wanted)
    torch.testing.assert_close(task._deceive(decoded), -made.mean())


def test_a_batch_in_shares_has_the_mean_loss_of_the_whole(task: DecoderTask) -> None:
    def loss(share: slice) -> torch.Tensor:
        return task.loss(4, torch.Generator().manual_seed(0), share)

    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    torch.testing.assert_close(halves, loss(slice(None)))


def test_a_logit_sees_ten_pixels() -> None:
    images = torch.zeros(1, 1, 32, 32, requires_grad=True)
    logits = PatchDiscriminator()(images)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    rows = images.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert len(rows) == 10


def test_a_perceptual_distance_is_nothing_for_the_same_images_and_trains_no_network() -> None:
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    decoded = images.roll(1, dims=3).requires_grad_(True)
    one, three = (PerceptualDistance(CLASSIFIER, weight, torch.device("cpu")) for weight in (1.0, 3.0))
    assert one(images, images) == 0 < one(images, decoded)
    torch.testing.assert_close(three(images, decoded), 3 * one(images, decoded))
    one(images, decoded).backward()
    assert decoded.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in one.layers.parameters())
