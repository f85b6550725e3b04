"""Asymmetric loss for several labels (Ridnik et al. 2021, https://arxiv.org/abs/2009.14119)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.losses.bce import per_channel
from heldout.tasks.losses.ignored import mean_of_known


class Asymmetric(nn.Module):
    """Cross-entropy whose easy negatives count less than easy positives, and the easiest of them nothing.

    Args:
        gamma: Focusing parameter of negatives; positives have none.
        margin: Probability below which a negative counts nothing.
        class_weight: Weights (C,), relative to their mean.
        positive_weight: Weight (C,) of positives.

    Example:
        >>> loss = Asymmetric(gamma=2.0)
        >>> easy, hard = torch.tensor([[-4.0]]), torch.tensor([[1.0]])
        >>> float(loss(easy, torch.zeros(1, 1))), round(float(loss(hard, torch.zeros(1, 1))), 3)
        (0.0, 0.53)
    """

    class_weight: Tensor | None
    positive_weight: Tensor | None

    def __init__(
        self,
        gamma: float = 4.0,
        margin: float = 0.05,
        class_weight: Tensor | None = None,
        positive_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.margin = margin
        self.register_buffer("class_weight", None if class_weight is None else class_weight / class_weight.mean())
        self.register_buffer("positive_weight", positive_weight)

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits and 0/1 targets (B, C, *S) to a scalar; with ``known``, 0/1 (B, 1 or C, *S), of these alone."""
        wrong = (logits.sigmoid() - self.margin).clamp(min=0)
        positive = -functional.logsigmoid(logits)
        if self.positive_weight is not None:
            positive = positive * per_channel(self.positive_weight, logits)
        negative = -(wrong**self.gamma) * torch.log1p(-wrong)
        losses = target * positive + (1 - target) * negative
        if self.class_weight is not None:
            losses = losses * per_channel(self.class_weight, logits)
        return mean_of_known(losses, known)
