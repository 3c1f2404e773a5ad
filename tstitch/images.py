"""From decoded images to bytes, by one rule that the protocol names."""

import torch
from torch import Tensor

UINT8_RULE = "floor(clamp(127.5 * x + 128, 0, 255))"


def to_uint8(images: Tensor) -> Tensor:
    """Round images (N, C, H, W) in [-1, 1], C 1 or 3, to bytes (N, H, W, 3); grey is repeated. Rule: `UINT8_RULE`."""
    data = torch.clamp(127.5 * images + 128.0, 0, 255).to(torch.uint8)
    return data.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
