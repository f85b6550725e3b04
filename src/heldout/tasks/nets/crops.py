"""Multi-crop classification: random crops of a volume in training, a grid of them in prediction, pooled to one answer.

The crops are cut inside the network, so that everything around it (batches, flips at test time, kernels) sees whole
cases, and a case gives the same answer wherever it is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn


class CropBag(nn.Module):
    """Logits of volumes from crops of them.

    In training every sample gets crops at places of its own, drawn from torch's global generator on the CPU, which the
    fold loop seeds before each step. In evaluation the crops are those of :func:`grid`, one after the other, so that
    memory does not grow with their number. A crop is no longer than the volume.

    Args:
        encoder: From (n, C, x, y, z) to features (n, D).
        head: From features (B, crops, D) to logits (B, K).
        size: Voxels of a crop (x, y, z).
        count: Crops per sample in training.
        overlap: Minimum overlap of neighboring crops in the grid, as a fraction of a crop.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, size: Sequence[int], count: int, overlap: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.size = tuple(size)
        self.count = count
        self.overlap = overlap

    def forward(self, volume: Tensor) -> Tensor:
        """Logits (B, K) of (B, C, X, Y, Z)."""
        batch, shape = len(volume), volume.shape[2:]
        size = tuple(map(min, self.size, shape))
        if not self.training:
            places = grid(shape, size, self.overlap)
            return self.head(torch.stack([self.encoder(_cut(volume, start, size)) for start in places], dim=1))
        room = torch.tensor([length - wanted + 1 for length, wanted in zip(shape, size, strict=True)])
        starts = (torch.rand(batch * self.count, 3) * room).long().tolist()
        crops = [_cut(volume[n // self.count][None], start, size) for n, start in enumerate(starts)]
        return self.head(self.encoder(torch.cat(crops)).view(batch, self.count, -1))


def grid(shape: Sequence[int], size: Sequence[int], overlap: float) -> list[tuple[int, ...]]:
    """First voxels of evenly spread crops that cover a volume, as few as keep the overlap.

    Args:
        shape: Voxels of the volume.
        size: Voxels of a crop, on no axis more than the volume's.
        overlap: Minimum overlap of neighboring crops, as a fraction of a crop below 1.

    Example:
        >>> grid((10, 4, 4), (4, 4, 4), 0.5)
        [(0, 0, 0), (2, 0, 0), (4, 0, 0), (6, 0, 0)]
    """
    axes = []
    for length, wanted in zip(shape, size, strict=True):
        step = max(1, int(wanted * (1 - overlap)))
        count = -(-(length - wanted) // step) + 1
        axes.append([round(n * (length - wanted) / max(count - 1, 1)) for n in range(count)])
    return list(product(*axes))


def _cut(volume: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    (x, y, z), (width, height, depth) = start, size
    return volume[..., x : x + width, y : y + height, z : z + depth]
