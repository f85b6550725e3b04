"""Tversky loss of MONAI (Salehi et al. 2017, https://arxiv.org/abs/1706.05721), with a weight per class."""

from __future__ import annotations

from monai.losses import TverskyLoss
from torch import Tensor, nn

from heldout.tasks.losses.dice import SMOOTH, foreground_weight

SMALLEST = 1e-4


class Tversky(nn.Module):
    """Mean over classes of ``1 - (TP + 1) / (TP + alpha FP + beta FN + 1)``; the background does not count.

    Args:
        softmax: Classes exclude each other and the first channel is the background.
        alpha: Weight of false positives.
        beta: Weight of false negatives; above alpha it favors sensitivity.
        batch: Sum over the whole batch, not over each sample.
        class_weight: Weights (C,), relative to the mean of those that count.
        power: Of each class's loss: below 1 the focal Tversky loss (Abraham and Khan 2019,
            https://arxiv.org/abs/1810.07842), which dwells on classes that are found in part.

    Example:
        >>> import torch
        >>> mask = (torch.arange(16).view(1, 1, 4, 4) < 8).float()
        >>> missed, added = torch.full_like(mask, -20), torch.full_like(mask, 20)
        >>> loss = Tversky(softmax=False, alpha=0.3, beta=0.7)
        >>> round(float(loss(missed, mask)), 3), round(float(loss(added, mask)), 3)
        (0.848, 0.211)
    """

    class_weight: Tensor | None

    def __init__(
        self,
        softmax: bool,
        alpha: float,
        beta: float,
        batch: bool = True,
        class_weight: Tensor | None = None,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        self.power = power
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
        self.register_buffer("class_weight", foreground_weight(class_weight, softmax))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, C, *S) to a scalar."""
        losses = self.loss(logits, target)
        if self.power != 1:
            losses = losses.clamp(min=SMALLEST) ** self.power  # whose slope at 0 is infinite
        if self.class_weight is not None:
            # (C,) or (B, C): MONAI leaves out the axes that it sums over
            losses = losses * self.class_weight
        return losses.mean()
