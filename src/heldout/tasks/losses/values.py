"""Losses of numbers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ValueLoss(nn.Module):
    """Mean of a loss of predicted minus true numbers, each times its target's weight.

    Args:
        name: ``l1``, ``mse``, or ``smooth_l1``, which is the square below one and linear above (Huber 1964); ``auto``
            is ``smooth_l1``.
        weight: (K,), such as the reciprocal deviation of every target; None is 1.

    Example:
        >>> import torch
        >>> ValueLoss("l1", torch.tensor([0.5]))(torch.tensor([[10.0]]), torch.tensor([[14.0]]))
        tensor(2.)
    """

    weight: Tensor | None

    def __init__(self, name: str, weight: Tensor | None = None) -> None:
        super().__init__()
        self.function = {"l1": functional.l1_loss, "mse": functional.mse_loss}.get(name, functional.smooth_l1_loss)
        self.register_buffer("weight", weight)

    def forward(self, values: Tensor, target: Tensor) -> Tensor:
        """Numbers (B, K) to a scalar."""
        weight = 1.0 if self.weight is None else self.weight.to(values)
        return self.function(values * weight, target * weight)
