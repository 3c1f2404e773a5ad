"""Some tokens of a DiT: the dense network where all are active, and what attention says where some are."""

import pytest
import torch
from torch import Tensor, nn

from models.denoisers import DiTDenoiser
from models.networks.dit import DiT, dit_config
from models.networks.sparse_dit import forward_tokens
from tstitch.denoiser import Region
from tstitch.guidance import GuidedDenoiser

CONFIG = dit_config(input_size=8, patch_size=2, hidden_size=32, depth=3, num_heads=4, num_classes=5)
TIMES, LABELS = torch.tensor([500, 20]), torch.tensor([1, 4])
TOKENS = torch.tensor([[0, 3, 7, 8], [2, 5, 11, 15]])


@pytest.fixture
def network() -> DiT:
    torch.manual_seed(0)
    network = DiT(CONFIG).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def latents(seed: int = 1) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def patches(output: Tensor) -> Tensor:
    """(N, C, 8, 8) as (N, 16, C * 4): a row for each patch."""
    return output.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)


@torch.inference_mode()
def test_all_tokens_are_the_dense_network(network: DiT) -> None:
    wanted, memory = network(latents(), TIMES, LABELS), {}
    torch.testing.assert_close(forward_tokens(network, latents(), TIMES, LABELS, None, memory), wanted)
    everything = torch.arange(16).expand(2, 16)
    moved = latents(2)
    found = forward_tokens(network, moved, TIMES, LABELS, everything, memory)
    torch.testing.assert_close(found, network(moved, TIMES, LABELS))


@torch.inference_mode()
def test_active_tokens_at_the_same_input_are_those_of_the_dense_network_and_the_others_are_zero(network: DiT) -> None:
    memory: dict = {}
    dense = patches(forward_tokens(network, latents(), TIMES, LABELS, None, memory))
    found = patches(forward_tokens(network, latents(), TIMES, LABELS, TOKENS, memory))
    for image, tokens in enumerate(TOKENS.tolist()):
        others = [token for token in range(16) if token not in tokens]
        torch.testing.assert_close(found[image, tokens], dense[image, tokens])
        assert not found[image, others].any()


@torch.inference_mode()
def test_active_tokens_attend_to_the_others_as_they_were(network: DiT) -> None:
    """Written out in loops over images and heads, with the keys and values of an earlier input."""
    memory: dict = {}
    forward_tokens(network, latents(1), TIMES, LABELS, None, memory)
    known = [(k.clone(), v.clone()) for k, v in memory["blocks"]]
    found = patches(forward_tokens(network, latents(2), TIMES, LABELS, TOKENS, memory))
    c = network.t_embedder(TIMES) + network.y_embedder(LABELS)
    everything = network.x_embedder(latents(2)) + network.pos_embed
    for image, tokens in enumerate(TOKENS.tolist()):
        x, own = everything[image, tokens], c[image : image + 1]
        for block, (keys, values) in zip(network.blocks, known, strict=True):
            parts = block.adaLN_modulation(own).chunk(6, dim=1)
            normed = block.norm1(x) * (1 + parts[1]) + parts[0]
            q, k, v = block.attn.qkv(normed).reshape(len(tokens), 3, 4, 8).unbind(1)
            heads = []
            for head in range(4):
                all_keys, all_values = keys[image, head].clone(), values[image, head].clone()
                all_keys[tokens], all_values[tokens] = k[:, head], v[:, head]
                heads.append((q[:, head] @ all_keys.T / 8**0.5).softmax(dim=-1) @ all_values)
            x = x + parts[2] * block.attn.proj(torch.cat(heads, dim=1))
            x = x + parts[5] * block.mlp(block.norm2(x) * (1 + parts[4]) + parts[3])
        shift, scale = network.final_layer.adaLN_modulation(own).chunk(2, dim=1)
        output = network.final_layer.linear(network.final_layer.norm_final(x) * (1 + scale) + shift)
        output = output.reshape(len(tokens), 2, 2, 8).permute(0, 3, 1, 2).flatten(1)
        torch.testing.assert_close(found[image, tokens], output, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_guidance_has_a_memory_of_both_branches(network: DiT) -> None:
    denoiser = DiTDenoiser(network)
    unconditional = lambda labels: torch.full_like(labels, 5)  # noqa: E731
    guided = GuidedDenoiser(denoiser, 1.5, 3, unconditional, denoiser.conditional).prepare(LABELS)
    memory: dict = {}
    whole = guided(latents(), 500, None, Region(None, 1, memory))
    torch.testing.assert_close(whole.eps, guided(latents(), 500).eps)
    part = guided(latents(), 500, None, Region(TOKENS, 0.25, memory))
    for image, tokens in enumerate(TOKENS.tolist()):
        torch.testing.assert_close(patches(part.eps)[image, tokens], patches(whole.eps)[image, tokens])
    assert guided.share_of(Region(TOKENS, 0.25, memory)) == 0.25
    assert guided.share_of(None) == 1


def test_a_part_before_the_whole_is_a_mistake_of_ours(network: DiT) -> None:
    with pytest.raises(AssertionError, match="the first call is for all tokens"):
        forward_tokens(network, latents(), TIMES, LABELS, TOKENS, {})
