"""A stitchable network: the first blocks of a small DiT, a linear layer, the last blocks of a large one.

SN-Net, Pan et al. 2023, arXiv 2302.06586, section 3: block i of the small one is followed by block
(i + 1) floor(depth_large / depth_small) of the large one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.dit import DiT, DiTConfig
from tstitch.errors import UserError


@dataclass(frozen=True)
class SNNetConfig:
    """Shape of a stitched network: its two DiTs, and the last block of the small one that it runs."""

    small: DiTConfig
    large: DiTConfig
    block: int

    def __post_init__(self) -> None:
        if not 0 <= self.block < self.small.depth or self.following >= self.large.depth:
            raise UserError(f"block must lie in 0..{self.num_stitches - 1}, got {self.block}")

    @property
    def stride(self) -> int:
        """Blocks of the large one for each of the small one."""
        return self.large.depth // self.small.depth

    @property
    def following(self) -> int:
        """The first block of the large one that it runs."""
        return (self.block + 1) * self.stride

    @property
    def num_stitches(self) -> int:
        """The number of blocks of the small one that have a following block in the large one."""
        return sum((block + 1) * self.stride < self.large.depth for block in range(self.small.depth))

    @property
    def input_size(self) -> int:
        return self.large.input_size

    @property
    def in_channels(self) -> int:
        return self.large.in_channels

    @property
    def num_classes(self) -> int:
        return self.large.num_classes

    @property
    def learn_sigma(self) -> bool:
        return self.large.learn_sigma


class SNNet(nn.Module):
    """A DiT in two parts of different width; it is called as a DiT, and each part embeds time and class by itself."""

    def __init__(self, config: SNNetConfig):
        super().__init__()
        self.config = config
        self.small, self.large = DiT(config.small), DiT(config.large)
        del self.small.final_layer, self.large.x_embedder
        self.small.blocks = self.small.blocks[: config.block + 1]
        self.large.blocks = nn.ModuleList(self.large.blocks[config.following :])
        self.stitch = nn.Linear(config.small.hidden_size, config.large.hidden_size)

    @property
    def pos_embed(self) -> Tensor:
        return self.small.pos_embed

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict the noise and the raw variance of latents (N, in_channels, H, W); see `DiT`."""
        tokens = self.stitch(self.first_tokens(x, t, y))
        condition = self.large.t_embedder(t) + self.large.y_embedder(y)
        for block in self.large.blocks:
            tokens = block(tokens, condition)
        return self.large.unpatchify(self.large.final_layer(tokens, condition))

    def first_tokens(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Return the tokens (N, L, width of the small one) that the linear layer gets."""
        return tokens_before(self.small, x, t, y, len(self.small.blocks))


def tokens_before(network: DiT, x: Tensor, t: Tensor, y: Tensor, block: int) -> Tensor:
    """Return the tokens (N, L, D) of a DiT that its block of this index gets."""
    tokens = network.x_embedder(x) + network.pos_embed
    condition = network.t_embedder(t) + network.y_embedder(y)
    for each in network.blocks[:block]:
        tokens = each(tokens, condition)
    return tokens


@torch.no_grad()
def join(config: SNNetConfig, small: DiT, large: DiT, x: Tensor, t: Tensor, y: Tensor) -> SNNet:
    """Make a stitched network of two trained DiTs, its linear layer by least squares on the tokens of some latents.

    Args:
        x: noisy latents (N, C, H, W), of about 100 images (SN-Net, section 3.3); t (N,) and y (N,) are theirs.
    """
    network = SNNet(config).to(x.device)
    own = {f"small.{key}": value for key, value in small.state_dict().items()}
    for key, value in large.state_dict().items():
        name, _, rest = key.partition(".")
        if name != "blocks":
            own[f"large.{key}"] = value
            continue
        index, _, rest = rest.partition(".")
        own[f"large.blocks.{int(index) - config.following}.{rest}"] = value
    kept = network.state_dict()
    network.load_state_dict(kept | {key: value for key, value in own.items() if key in kept})
    inputs = network.first_tokens(x, t, y).flatten(0, 1).double()
    wanted = tokens_before(large, x, t, y, config.following).flatten(0, 1).double()
    inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    solution = torch.linalg.lstsq(inputs.cpu(), wanted.cpu(), driver="gelsd").solution
    network.stitch.weight.copy_(solution[:-1].T)
    network.stitch.bias.copy_(solution[-1])
    return network
