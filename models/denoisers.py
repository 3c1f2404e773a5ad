"""Adapters from networks to the denoiser contract."""

import torch
from torch import Tensor

from models.dit import DiT
from tstitch.denoiser import Prediction


class DiTDenoiser:
    """A DiT as a denoiser. The network runs in its own dtype; latents and predictions are float32."""

    def __init__(self, network: DiT):
        self.network = network
        self.dtype = network.pos_embed.dtype

    def __call__(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Prediction:
        output = self.network(latents.to(self.dtype), timestep, condition).float()
        channels = self.network.config.in_channels
        if output.shape[1] == channels:
            return Prediction(output)
        return Prediction(*output.split(channels, dim=1))

    def unconditional(self, condition: Tensor) -> Tensor:
        """The null class, which is trained by dropping labels."""
        return torch.full_like(condition, self.network.config.num_classes)
