"""Tversky loss of MONAI (Salehi et al. 2017, https://arxiv.org/abs/1706.05721), with a weight per class."""

from __future__ import annotations

from monai.losses import TverskyLoss
from torch import Tensor, nn

from heldout.tasks.losses.dice import SMOOTH


class Tversky(nn.Module):
    """Mean over classes of ``1 - (TP + 1) / (TP + alpha FP + beta FN + 1)``; the background does not count.

    Args:
        softmax: Classes exclude each other and the first channel is the background.
        alpha: Weight of false positives.
        beta: Weight of false negatives; above alpha it favors sensitivity.
        batch: Sum over the whole batch, not over each sample.
        class_weight: Weights (C,), relative to the mean of those that count.
    """

    def __init__(
        self, softmax: bool, alpha: float, beta: float, batch: bool = True, class_weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.loss = TverskyLoss(
            include_background=not softmax,
            softmax=softmax,
            sigmoid=not softmax,
            alpha=alpha,
            beta=beta,
            batch=batch,
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH,
            reduction="none",
        )
        weight = None if class_weight is None else class_weight[int(softmax) :]
        self.register_buffer("class_weight", None if weight is None else weight / weight.mean())

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar."""
        losses = self.loss(logits, target)
        if self.class_weight is not None:
            # (C,) or (B, C): MONAI leaves out the axes that it sums over
            losses = losses * self.class_weight
        return losses.mean()
