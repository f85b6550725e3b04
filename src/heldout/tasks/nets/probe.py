"""A linear probe: the last layer alone is trained, on features of a frozen encoder that are computed once per image.

Reference: Alain and Bengio, Understanding intermediate layers using linear classifier probes, ICLR workshop 2017.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


class Probe(nn.Module):
    """A frozen encoder, a normalization of its features, and a linear layer.

    In training the features of an image are kept, and taken again when the same values come a second time. An image
    goes through the encoder alone, so that its features do not depend on the others of its batch, nor on whether a
    training was resumed.

    Args:
        encoder: From images (B, C, *S) to features (B, D).
        features: Their number D.
        classes: Number K of logits.
        dropout: Before the linear layer.

    Example:
        >>> network = Probe(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3, 2)
        >>> network(torch.rand(4, 3, 8, 8)).shape, len(network.kept)
        (torch.Size([4, 2]), 4)
    """

    def __init__(self, encoder: nn.Module, features: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        # features of different layers of a network differ in scale by orders of magnitude
        self.head = nn.Sequential(
            nn.BatchNorm1d(features, affine=False), nn.Dropout(dropout), nn.Linear(features, classes)
        )
        self.kept: dict[bytes, Tensor] = {}

    def get_classifier(self) -> nn.Module:
        """The linear layer, as networks of timm name it."""
        return self.head[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        features = torch.stack([self._remembered(one) for one in image]) if self.training else self.encoder(image)
        logits: Tensor = self.head(features)
        return logits

    @torch.no_grad()
    def _remembered(self, image: Tensor) -> Tensor:
        values = image.detach().float().cpu().contiguous().numpy()
        key = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
        if key not in self.kept:
            self.kept[key] = self.encoder(image[None])[0].float()
        return self.kept[key]
