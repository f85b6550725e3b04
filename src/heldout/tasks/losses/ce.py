"""Cross-entropy of classes that exclude each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.losses.ignored import mean_of_known


class CrossEntropy(nn.Module):
    """Mean of ``-log p`` of the true class, weighted by the true class's weight.

    Args:
        class_weight: Weights (C,); None is 1 each.
        label_smoothing: Share of the target spread evenly over all C classes.

    Example:
        >>> import torch
        >>> loss = CrossEntropy()
        >>> loss(torch.zeros(2, 4), torch.eye(4)[:2])  # log 4
        tensor(1.3863)
    """

    class_weight: Tensor | None

    def __init__(self, class_weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar; with ``known``, 0/1 (B, 1, *S), of these voxels only."""
        losses = functional.cross_entropy(
            logits, target, weight=self.class_weight, reduction="none", label_smoothing=self.label_smoothing
        )
        if self.class_weight is None:
            return mean_of_known(losses, None if known is None else known[:, 0])
        # with one-hot targets torch would divide by the number of positions, which makes the weights a learning rate
        weight = target.movedim(1, -1) @ self.class_weight
        if known is not None:
            losses, weight = losses * known[:, 0], weight * known[:, 0]
        return losses.sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
