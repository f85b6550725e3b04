"""Dice and cross-entropy, for classes that exclude each other: the loss of nnU-Net."""

from __future__ import annotations

from torch import Tensor, nn


class DiceCE(nn.Module):
    """Mean of the two losses, Dice weighted by ``dice_weight`` against 1."""

    def __init__(self, dice: nn.Module, cross_entropy: nn.Module, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.dice = dice
        self.cross_entropy = cross_entropy
        self.dice_weight = dice_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar."""
        total = self.dice_weight * self.dice(logits, target) + self.cross_entropy(logits, target)
        return total / (1 + self.dice_weight)
