"""Soft Dice loss of MONAI (Milletari et al. 2016, https://arxiv.org/abs/1606.04797)."""

from __future__ import annotations

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
