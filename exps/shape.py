"""A perceptron on measures of a shape: volume, thickness, surface, areas, extents and axes of inertia."""

import torch
from torch import Tensor, nn

from exps.depth import erosions

AXES = (2, 3, 4)
RANKS = (0, 2, 5, 10, 15)  # of the slices along an axis, the largest first
MEASURES = 6 + 3 * (4 + len(RANKS)) + 3


def measures(mask: Tensor) -> Tensor:
    """Measures (B, MEASURES) of masks (B, 1, X, Y, Z); lengths in voxels, sizes as logarithms.

    None of them changes when the mask is flipped along an axis.
    """
    mask = (mask > 0.5).float()
    columns = [torch.log1p(eroded.sum(AXES)) for eroded in erosions(mask)]
    spreads = []
    for axis in AXES:
        others = tuple(other for other in AXES if other != axis)
        slices = mask.sum(others)  # (B, 1, N)
        position = torch.arange(slices.shape[-1], dtype=mask.dtype, device=mask.device)
        weight = slices / slices.sum(-1, keepdim=True).clamp(min=1)
        centered = position - (weight * position).sum(-1, keepdim=True)
        columns += [
            torch.log1p(mask.diff(dim=axis).abs().sum(AXES)),
            torch.log1p(mask.amax(axis).sum((2, 3))),
            (slices > 0).float().sum(-1),
            (centered.abs() * (slices > 0)).amax(-1),
            slices.sort(-1, descending=True).values[:, 0, list(RANKS)].sqrt(),
        ]
        shape = [-1, 1, 1, 1, 1]
        shape[axis] = slices.shape[-1]
        spreads.append(centered.reshape(shape))
    share = mask / mask.sum(AXES, keepdim=True).clamp(min=1)
    inertia = torch.stack([(share * first * second).sum(AXES) for first in spreads for second in spreads], dim=-1)
    columns.append(torch.log(torch.linalg.eigvalsh(inertia.reshape(-1, 3, 3)).clamp(min=0) + 0.1))
    return torch.cat([column.reshape(len(mask), -1) for column in columns], dim=1)


class ShapePerceptron(nn.Module):
    """Logits (B, K) of the measures of masks, of which each is standardized over the training cases."""

    def __init__(self, classes: int):
        """Make a network of K = `classes` logits."""
        super().__init__()
        self.standardize = nn.BatchNorm1d(MEASURES, affine=False)
        self.head = nn.Sequential(nn.Linear(MEASURES, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, classes))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of masks (B, 1, X, Y, Z)."""
        with torch.autocast(image.device.type, enabled=False):
            standardized = self.standardize(measures(image.float()))
        return self.head(standardized)
