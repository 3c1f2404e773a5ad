"""Folders of diffusers: `sd_vae_ft_ema`, `sd_vae_ft_mse`, facebook/DiT-XL-2-256, and a VQ first stage.

Looked up: `config.json` of stabilityai/sd-vae-ft-ema and -mse (October 2022, diffusers 0.4.2, no `scaling_factor`), of
CompVis/ldm-celebahq-256 (`vqvae`, diffusers 0.1.2, neither `scaling_factor` nor `norm_num_groups`) and of
facebook/DiT-XL-2-256 (`transformer`, diffusers 0.12.0.dev0, class `Transformer2DModel`), as quoted in public code;
huggingface/diffusers, `ModelMixin._fix_state_dict_keys_on_load` (which keys of attention were renamed in 0.13),
pull request 1806 (the DiT pipeline and its conversion, which repeats the embedders in every block) and 11947 (the
class in `config.json` is still the old one), `PatchEmbed` (the table of positions is a buffer that is not saved).
The weights were published as `.bin`; stabilityai added `.safetensors` beside them later, with the same names.
"""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel, VQModel
from safetensors.torch import save_file
from torch import Tensor, nn

from models.networks.dit import DiTConfig
from models.networks.vq import VQConfig
from tests.published.torch_files import save

WEIGHTS = "diffusion_pytorch_model"
NAMES_OF_2022 = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
SD_AUTOENCODER = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.4.2",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SMALL_AUTOENCODER = SD_AUTOENCODER | {
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 32,
}
BOTH = ("bin", "safetensors")


def write_autoencoder(
    folder: Path,
    config: dict = SD_AUTOENCODER,
    formats: Collection[str] = BOTH,
    of_2022: bool = True,
    seed: int = 0,
    legacy: bool = False,
) -> Path:
    """Write an AutoencoderKL as `config.json` and its weights, with the names of 2022 or of today."""
    return _write(folder, _build(AutoencoderKL, config, seed), config, formats, of_2022, legacy)


def write_vq_folder(
    folder: Path, config: VQConfig, formats: Collection[str] = ("bin",), of_2022: bool = True, seed: int = 0
) -> Path:
    """Write a VQModel as diffusers did until 2023, without a scaling factor, with the names of 2022 or of today."""
    attends = [config.resolution // 2**level in config.attn_resolutions for level in range(len(config.ch_mult))]
    settings = {
        "_class_name": "VQModel",
        "_diffusers_version": "0.1.2",
        "act_fn": "silu",
        "block_out_channels": [config.ch * factor for factor in config.ch_mult],
        "down_block_types": ["AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in attends],
        "in_channels": config.in_channels,
        "latent_channels": config.z_channels,
        "layers_per_block": config.num_res_blocks,
        "num_vq_embeddings": config.n_embed,
        "out_channels": config.out_ch,
        "sample_size": config.resolution,
        "up_block_types": ["AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in reversed(attends)],
    }
    return _write(folder, _build(VQModel, settings, seed), settings, formats, of_2022)


def write_dit_pipeline(
    folder: Path,
    config: DiTConfig,
    autoencoder: dict = SD_AUTOENCODER,
    formats: Collection[str] = ("bin",),
    seed: int = 0,
    stored_positions: bool = False,
) -> Path:
    """Write facebook/DiT-XL-2-256, or -512: a pipeline of `transformer`, `vae` and `scheduler`."""
    settings = {
        "_class_name": "Transformer2DModel",
        "_diffusers_version": "0.12.0.dev0",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": config.hidden_size // config.num_heads,
        "cross_attention_dim": None,
        "dropout": 0.0,
        "in_channels": config.in_channels,
        "norm_elementwise_affine": False,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": config.num_heads,
        "num_embeds_ada_norm": config.num_classes,
        "num_layers": config.depth,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "out_channels": config.out_channels,
        "patch_size": config.patch_size,
        "sample_size": config.input_size,
        "upcast_attention": False,
        "use_linear_projection": False,
    }
    transformer = _build(DiTTransformer2DModel, settings, seed)
    for block in transformer.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(transformer.transformer_blocks[0].norm1.emb.state_dict())
    positions = {"pos_embed.pos_embed": transformer.pos_embed.pos_embed} if stored_positions else {}
    _write(folder / "transformer", transformer, settings, formats, extra=positions)
    write_autoencoder(folder / "vae", autoencoder, formats, seed=seed)
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": "0.12.0.dev0",
        "id2label": {str(label): f"class {label}" for label in range(config.num_classes)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    scheduler = {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": "0.12.0.dev0",
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "trained_betas": None,
    }
    _write_json(folder / "model_index.json", index)
    _write_json(folder / "scheduler/scheduler_config.json", scheduler)
    return folder


def _build(kind: type[nn.Module], config: dict, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.from_config({key: value for key, value in config.items() if not key.startswith("_")})


def _write(
    folder: Path,
    network: nn.Module,
    config: dict,
    formats: Collection[str],
    of_2022: bool = False,
    legacy: bool = False,
    extra: dict[str, Tensor] | None = None,
) -> Path:
    state = network.state_dict() | (extra or {})
    if of_2022:
        state = {_name_of_2022(key): value for key, value in state.items()}
    _write_json(folder / "config.json", config)
    if "bin" in formats:
        save(state, folder / f"{WEIGHTS}.bin", legacy)
    if "safetensors" in formats:
        save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{WEIGHTS}.safetensors")
    return folder


def _name_of_2022(key: str) -> str:
    if ".attentions." in key:
        for today, old in NAMES_OF_2022.items():
            key = key.replace(f".{today}.", f".{old}.")
    return key


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
