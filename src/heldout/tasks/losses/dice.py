"""Soft Dice loss of MONAI (Milletari et al. 2016, https://arxiv.org/abs/1606.04797), alone or with cross-entropy."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn

# One voxel added above and below: an empty mask with an empty prediction is perfect, false positives on it still cost.
SMOOTH = 1.0


def foreground_weight(class_weight: Tensor | None, softmax: bool) -> Tensor | None:
    """Weights of the channels that count, relative to their mean: with ``softmax`` the first is the background."""
    if class_weight is None:
        return None
    weight = class_weight[int(softmax) :]
    return weight / weight.mean()


class Dice(nn.Module):
    """Mean over classes of ``1 - (2 sum(p t) + 1) / (sum p + sum t + 1)``; the background does not count.

    Args:
        softmax: Classes exclude each other and the first channel is the background.
        batch: Sum over the whole batch, not over each sample.
        class_weight: Weights (C,), relative to the mean of those that count.

    Example:
        >>> import torch
        >>> mask = (torch.arange(16).view(1, 1, 4, 4) < 8).float()
        >>> loss = Dice(softmax=False)
        >>> round(float(loss(40 * mask - 20, mask)), 3), round(float(loss(20 - 40 * mask, mask)), 3)
        (0.0, 0.941)
    """

    def __init__(self, softmax: bool, batch: bool = True, class_weight: Tensor | None = None) -> None:
        super().__init__()
        self.loss = DiceLoss(
            include_background=not softmax,
            softmax=softmax,
            sigmoid=not softmax,
            batch=batch,
            weight=foreground_weight(class_weight, softmax),
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

    Example:
        >>> import torch
        >>> logits, mask = torch.full((2, 1, 2, 2), 9.0), torch.ones(2, 1, 2, 2)
        >>> mask[1] = 0  # the false positives of this sample are left to the cross-entropy
        >>> round(float(PositiveDice(softmax=False)(logits, mask)), 3)
        0.0
    """

    class_weight: Tensor | None

    def __init__(self, softmax: bool, class_weight: Tensor | None = None) -> None:
        super().__init__()
        self.softmax = softmax
        self.register_buffer("class_weight", foreground_weight(class_weight, softmax))

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


class DiceCE(nn.Module):
    """Mean of Dice, weighted by ``dice_weight``, and of the cross-entropy, weighted by 1: the loss of nnU-Net."""

    def __init__(self, dice: nn.Module, cross_entropy: nn.Module, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.dice = dice
        self.cross_entropy = cross_entropy
        self.dice_weight = dice_weight

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar; ``known`` as of the cross-entropy."""
        total = self.dice_weight * self.dice(logits, target) + self.cross_entropy(logits, target, known)
        return total / (1 + self.dice_weight)
