"""AdrenalMNIST3D: depth below the surface as a second channel, as thick glands are a sign."""

import torch
from torch import nn
from torch.nn.functional import max_pool3d

from exps.exp050 import Exp050

LAYERS = 6  # voxels; few glands are thicker than twice this
CROSS = ((3, 1, 1), (1, 3, 1), (1, 1, 3))


class WithDepth(nn.Module):
    """A network that sees, beside a mask, how many times it can be eroded before a voxel is lost."""

    def __init__(self, network):
        """Wrap a network of two channels."""
        super().__init__()
        self.network = network

    def forward(self, image):
        """Logits (B, K) of masks (B, 1, X, Y, Z) from 0 to 1."""
        outside, depth = 1 - image, image
        for _ in range(LAYERS - 1):
            grown = [max_pool3d(outside, size, stride=1, padding=[side // 2 for side in size]) for size in CROSS]
            outside = torch.stack(grown).amax(0)
            depth = depth + (1 - outside)
        return self.network(torch.cat([image, depth / LAYERS], dim=1))


class Exp050Depth(Exp050):
    def build_model(self, classes, exclusive):
        """Wrap the network of the parent, made for two channels."""
        wider = self.model_copy(update={"channels": self.channels + 1})
        return WithDepth(super(Exp050Depth, wider).build_model(classes, exclusive))
