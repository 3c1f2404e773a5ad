"""A VQ autoencoder looks its codes up in float32, whatever precision decodes them."""

from pathlib import Path

import pytest
import torch
from diffusers import VQModel
from torch import Tensor

from models.autoencoder import AutoencoderSpec, decode, decode_in_parallel, load_autoencoder
from models.networks.vq import VQConfig
from models.pair import load_pair
from models.placement.place import place
from tests.published.diffusers_folders import write_vq_folder
from tests.published.vq import write_vq

CPU = torch.device("cpu")
CONFIG = VQConfig(4, 16384, 4, 16, 32, (1, 2), 1, (8,))  # as many codes as VQ-f8


def latents(model: VQModel) -> Tensor:
    """Latents as large as the entries of the codebook, so that many are near."""
    noise = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    return (noise * model.quantize.embedding.weight.cpu().std()).to(model.device)


def codes_seen(autoencoder: VQModel, call) -> Tensor:
    seen = []
    hook = autoencoder.quantize.register_forward_hook(lambda _, __, output: seen.append(output[2][2]))
    with torch.inference_mode():
        call()
    hook.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_codes_of_a_low_precision_are_those_of_float32(tmp_path: Path, layout: str, precision: str) -> None:
    if layout == "file":
        spec = AutoencoderSpec("vq", "vq", write_vq(tmp_path / "vq.ckpt", CONFIG), vars(CONFIG))
    else:
        spec = AutoencoderSpec("vq", "vq", write_vq_folder(tmp_path, CONFIG))
    exact = load_autoencoder(spec)
    x = latents(exact)
    expected = codes_seen(exact, lambda: decode(exact, x))
    assert len(expected.unique()) > 500

    pair = load_pair([], (), spec, [], CPU, precision)
    low = pair.autoencoder
    assert low.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert low.quantize.embedding.weight.dtype == torch.float32
    assert torch.equal(codes_seen(low, lambda: decode(low, x)), expected)
    assert torch.equal(codes_seen(low, lambda: decode_in_parallel(low, x, 2)), expected)
    images = decode(low, x)
    assert images.dtype == torch.float32
    assert (images - decode(exact, x)).abs().mean() < 0.02

    # What is mended here: the codebook and the search of diffusers' own model, moved to the low precision.
    theirs = VQModel.from_config({**exact.config, "scaling_factor": 1.0})
    theirs.load_state_dict(exact.state_dict())
    theirs.to(low.dtype)
    with torch.inference_mode():
        coarse = theirs.quantize(x.to(low.dtype))[2][2]
    assert (coarse != expected).float().mean() > 0.01


def test_float32_decodes_to_the_bytes_of_diffusers(tmp_path: Path) -> None:
    spec = AutoencoderSpec("vq", "vq", write_vq_folder(tmp_path, CONFIG))
    ours = load_autoencoder(spec)
    x = latents(ours)
    theirs = VQModel.from_pretrained(tmp_path, local_files_only=True, use_safetensors=False)
    with torch.inference_mode():
        assert torch.equal(decode(ours, x), theirs.decode(x).sample)


@pytest.mark.parametrize("move", ["bfloat16", "half", "double"])
def test_the_codebook_stays_exact_however_the_model_is_moved(tmp_path: Path, move: str) -> None:
    spec = AutoencoderSpec("vq", "vq", write_vq_folder(tmp_path, CONFIG))
    model = load_autoencoder(spec)
    codebook = model.quantize.embedding.weight.clone()
    getattr(model, move)()
    assert torch.equal(model.quantize.embedding.weight, codebook)
    assert model.decoder.conv_in.weight.dtype != torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "tf32", "fp16"])
def test_codes_on_a_gpu_do_not_depend_on_the_precision(tmp_path: Path, precision: str) -> None:
    spec = AutoencoderSpec("vq", "vq", write_vq(tmp_path / "vq.ckpt", CONFIG), vars(CONFIG))
    device = torch.device("cuda")
    exact = place(load_autoencoder(spec), "float32", device)
    x = latents(exact)
    pair = load_pair([], (), spec, [], device, precision)
    with pair.use_autoencoder() as low:
        found = codes_seen(low, lambda: decode(low, x))
    assert torch.equal(found, codes_seen(exact, lambda: decode(exact, x)))
