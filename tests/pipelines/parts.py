"""Tiny, randomly initialised parts of diffusers pipelines: everything but the denoisers. Nothing is downloaded."""

import string

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, ControlNetModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

TEXT_WIDTH, CLIP_LENGTH = 32, 16
ALPHABET = string.ascii_lowercase + ","


def clip_tokenizer() -> CLIPTokenizer:
    """A tokenizer of single letters."""
    vocab = ["<|startoftext|>", "<|endoftext|>", *ALPHABET, *(f"{letter}</w>" for letter in ALPHABET)]
    tokens = {token: index for index, token in enumerate(vocab)}
    return CLIPTokenizer(vocab=tokens, merges=[], model_max_length=CLIP_LENGTH)


def clip_text_encoder(with_projection: bool = False, length: int = CLIP_LENGTH) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=TEXT_WIDTH, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=length, projection_dim=TEXT_WIDTH, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if with_projection else CLIPTextModel)(config).eval()


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer of single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in ALPHABET)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=CLIP_LENGTH)


def t5_text_encoder(multilingual: bool = False) -> T5EncoderModel:
    settings = {"vocab_size": 64, "d_model": TEXT_WIDTH, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    if multilingual:
        return UMT5EncoderModel(UMT5Config(**settings)).eval()
    return T5EncoderModel(T5Config(**settings)).eval()


def vocoder() -> SpeechT5HifiGan:
    """Spectrograms of 8 bins become waves of 16 times their length."""
    torch.manual_seed(4)
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8, sampling_rate=16000, upsample_initial_channel=16, upsample_rates=[4, 4],
            upsample_kernel_sizes=[8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
        )
    ).eval()  # fmt: skip


def autoencoder(channels: int = 4, **settings) -> AutoencoderKL:
    """Images are twice as large as latents."""
    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=channels, **settings,
    ).eval()  # fmt: skip


def video_autoencoder() -> AutoencoderKLWan:
    """Sides are eight times, frames four times those of latents."""
    torch.manual_seed(2)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def controlnet(**settings) -> ControlNetModel:
    """A ControlNet whose outputs are not zero, as untrained ones would be."""
    torch.manual_seed(3)
    network = ControlNetModel(conditioning_embedding_out_channels=(16, 32), **settings).eval()
    for parameter in (*network.controlnet_down_blocks.parameters(), *network.controlnet_mid_block.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    return network
