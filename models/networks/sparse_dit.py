"""A DiT that predicts some of its tokens, with what it knew of the others (RAS, Liu et al. 2025, arXiv 2502.10389).

Norms, modulation and MLP are of each token by itself. The queries of the active tokens attend to all keys and values:
their own ones, which are new, and those of the others from the last call in which they were active.
"""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.networks.dit import Attention, DiT, DiTBlock, modulate

KeysAndValues = list[tuple[Tensor, Tensor]]  # of each block, (N, heads, L, width of a head)


def forward_tokens(network: DiT, x: Tensor, t: Tensor, y: Tensor, tokens: Tensor | None, memory: dict) -> Tensor:
    """Run the network for some tokens of each image, or for all of them, and remember keys and values.

    Args:
        x: noisy latents (N, in_channels, H, W) in the network's dtype.
        tokens: (N, K) int64, positions of the active tokens, row by row; None for all.
        memory: keeps the keys and values of all tokens between the calls for the same images.

    Returns:
        (N, out_channels, H, W): as the network's own, and zeros in the patches of the tokens that are not active.

    Raises:
        AssertionError: some tokens before all of them were asked for.
    """
    x = network.x_embedder(x) + network.pos_embed
    num, length, width = x.shape
    c = network.t_embedder(t) + network.y_embedder(y)
    if tokens is None:
        memory["blocks"] = [None] * len(network.blocks)
    else:
        assert "blocks" in memory, "the first call is for all tokens"
        x = x.gather(1, tokens[:, :, None].expand(-1, -1, width))
    for index, block in enumerate(network.blocks):
        x, memory["blocks"][index] = _block(block, x, c, tokens, memory["blocks"][index])
    x = network.final_layer(x, c)
    if tokens is None:
        return network.unpatchify(x)
    everywhere = x.new_zeros(num, length, x.shape[2])
    return network.unpatchify(everywhere.scatter(1, tokens[:, :, None].expand_as(x), x))


def _block(
    block: DiTBlock, x: Tensor, c: Tensor, tokens: Tensor | None, known: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = block.adaLN_modulation(c).chunk(6, dim=1)
    attended, known = _attend(block.attn, modulate(block.norm1(x), shift_attn, scale_attn), tokens, known)
    x = x + gate_attn.unsqueeze(1) * attended
    return x + gate_mlp.unsqueeze(1) * block.mlp(modulate(block.norm2(x), shift_mlp, scale_mlp)), known


def _attend(
    attention: Attention, x: Tensor, tokens: Tensor | None, known: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    num, length, width = x.shape
    heads = attention.num_heads
    q, k, v = attention.qkv(x).reshape(num, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    if tokens is not None:
        places = tokens[:, None, :, None].expand_as(k)
        k, v = known[0].scatter(2, places, k), known[1].scatter(2, places, v)
    x = scaled_dot_product_attention(q, k, v)
    return attention.proj(x.transpose(1, 2).reshape(num, length, width)), (k, v)
