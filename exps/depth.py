"""A network of masks that also sees how deep each voxel lies below the surface."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

LAYERS = 6  # voxels; few glands are thicker than twice this
CROSS = ((3, 1, 1), (1, 3, 1), (1, 1, 3))


def erosions(mask: Tensor) -> list[Tensor]:
    """Return masks (B, 1, X, Y, Z) from 0 to 1, eroded by a voxel and its six neighbors 0, 1, ... times."""
    outside, eroded = 1 - mask, [mask]
    for _ in range(LAYERS - 1):
        grown = [max_pool3d(outside, size, stride=1, padding=[side // 2 for side in size]) for size in CROSS]
        outside = torch.stack(grown).amax(0)
        eroded.append(1 - outside)
    return eroded


class WithDepth(nn.Module):
    """A network that sees, beside a mask, how many times it can be eroded before a voxel is lost."""

    def __init__(self, network):
        """Wrap a network of two channels."""
        super().__init__()
        self.network = network

    def forward(self, image):
        """Logits (B, K) of masks (B, 1, X, Y, Z) from 0 to 1."""
        return self.network(torch.cat([image, sum(erosions(image)) / LAYERS], dim=1))
