"""Masks become heat maps: 1 in the middle of every object, falling towards its edge."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.losses.ignored import takes_known


class HeatLoss(nn.Module):
    """A loss of logits and heat maps.

    Args:
        loss: Of logits and soft targets of one shape (B, C, *S).
        sigma: Standard deviation of the smoothing, in voxels.
        softmax: The first channel is the background, which gets what the others leave.
    """

    def __init__(self, loss: nn.Module, sigma: float, softmax: bool) -> None:
        super().__init__()
        self.loss, self.sigma, self.softmax = loss, sigma, softmax

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Loss against the heat maps of 0/1 targets (B, C, *S)."""
        heat = heat_map(target[:, 1:] if self.softmax else target, self.sigma)
        if self.softmax:
            heat = torch.cat([1 - heat.sum(1, keepdim=True).clamp(max=1), heat], 1)
        value: Tensor = (
            self.loss(logits, heat, known=known)
            if known is not None and takes_known(self.loss)
            else self.loss(logits, heat)
        )
        return value


def heat_map(mask: Tensor, sigma: float) -> Tensor:
    """Smooth masks (B, C, *S) of 0 and 1, and divide by the highest value near every voxel, inside the mask alone.

    Example:
        >>> heat_map(torch.tensor([[[[0.0, 1, 1, 1, 0]]]]), 1.0).mul(10).round().int().tolist()
        [[[[0, 8, 10, 8, 0]]]]
    """
    axes = mask.ndim - 2
    radius = math.ceil(3 * sigma)
    line = torch.exp(-(torch.arange(-radius, radius + 1, device=mask.device, dtype=mask.dtype) ** 2) / (2 * sigma**2))
    kernel, size = line / line.sum(), 2 * radius + 1
    batch, channels, *shape = mask.shape
    smooth = mask.reshape(batch * channels, 1, *shape)
    convolve = functional.conv2d if axes == 2 else functional.conv3d
    pool = functional.max_pool2d if axes == 2 else functional.max_pool3d
    for axis in range(axes):
        widths = [size if one == axis else 1 for one in range(axes)]
        smooth = convolve(smooth, kernel.view(1, 1, *widths), padding=[width // 2 for width in widths])
    highest = pool(smooth, size, stride=1, padding=radius)
    heat = (smooth / highest.clamp(min=1e-6)).reshape(mask.shape)
    return heat * mask
