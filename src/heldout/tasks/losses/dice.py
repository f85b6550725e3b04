"""Soft Dice loss of MONAI (Milletari et al. 2016, https://arxiv.org/abs/1606.04797)."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

# One voxel added above and below: an empty mask with an empty prediction is perfect, false positives on it still cost.
SMOOTH = 1.0


class Dice(nn.Module):
    """Mean over classes of ``1 - (2 sum(p t) + 1) / (sum p + sum t + 1)``; the background does not count.

    Args:
        softmax: Classes exclude each other and the first channel is the background.
        batch: Sum over the whole batch, not over each sample.
        class_weight: Weights (C,), relative to the mean of those that count.
    """

    def __init__(self, softmax: bool, batch: bool = True, class_weight: Tensor | None = None) -> None:
        super().__init__()
        weight = None if class_weight is None else class_weight[int(softmax) :]
        self.loss = DiceLoss(
            include_background=not softmax,
            softmax=softmax,
            sigmoid=not softmax,
            batch=batch,
            weight=None if weight is None else weight / weight.mean(),
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar."""
        return self.loss(logits, target)


class PositiveDice(nn.Module):
    """Mean of ``1 - (2 sum(p t) + 1) / (sum p + sum t + 1)`` over the samples and classes whose mask is not empty.

    It is the loss of a score that averages the Dice of positive images. Empty masks are left to the cross-entropy; a
    batch without any mask has a loss of 0. The background of exclusive classes does not count.

    Args:
        softmax: Classes exclude each other and the first channel is the background.
        class_weight: Weights (C,), relative to the mean of those that count.
    """

    def __init__(self, softmax: bool, class_weight: Tensor | None = None) -> None:
        super().__init__()
        self.softmax = softmax
        weight = None if class_weight is None else class_weight[int(softmax) :]
        self.register_buffer("class_weight", None if weight is None else weight / weight.mean())

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar."""
        probability = logits.softmax(dim=1)[:, 1:] if self.softmax else logits.sigmoid()
        truth = (target[:, 1:] if self.softmax else target).flatten(2)
        probability = probability.flatten(2)
        shared, voxels = (probability * truth).sum(dim=2), truth.sum(dim=2)  # (B, K)
        losses = 1 - (2 * shared + SMOOTH) / (probability.sum(dim=2) + voxels + SMOOTH)
        weight = (voxels > 0).to(losses)
        if self.class_weight is not None:
            weight = weight * self.class_weight
        return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
