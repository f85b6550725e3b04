"""Focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002), with a weight per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.losses.bce import per_channel
from heldout.tasks.losses.ignored import mean_of_known


class Focal(nn.Module):
    """Cross-entropy times ``(1 - q)^gamma``, where q is the probability given to the truth.

    MONAI's version knows either a weight per class or one for positives, not both, and sums weights differently for
    softmax and sigmoid.

    Args:
        softmax: Classes exclude each other.
        gamma: 0 is plain cross-entropy.
        class_weight: Weights (C,); for sigmoid relative to their mean, for softmax of the true class.
        positive_weight: Weight (C,) of positives, sigmoid only.

    Example:
        >>> import torch
        >>> logits, target = torch.tensor([[2.0], [-2.0]]), torch.tensor([[1.0], [1.0]])
        >>> focal, plain = Focal(softmax=False)(logits, target), Focal(softmax=False, gamma=0.0)(logits, target)
        >>> round(float(focal), 3), round(float(plain), 3)
        (0.826, 1.127)
    """

    class_weight: Tensor | None
    positive_weight: Tensor | None

    def __init__(
        self,
        softmax: bool,
        gamma: float = 2.0,
        class_weight: Tensor | None = None,
        positive_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.softmax = softmax
        self.gamma = gamma
        self.register_buffer("class_weight", class_weight)
        self.register_buffer("positive_weight", positive_weight)

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits and 0/1 targets (B, C, *S) to a scalar; with ``known``, 0/1 (B, 1 or C, *S), of these voxels only."""
        weight = torch.ones_like(target) if self.class_weight is None else per_channel(self.class_weight, logits)
        if self.softmax:
            log_truth = (functional.log_softmax(logits, dim=1) * target).sum(dim=1, keepdim=True)
            weight = (weight * target).sum(dim=1, keepdim=True)
        else:
            log_truth = functional.logsigmoid(torch.where(target > 0, logits, -logits))
            # the mean weight is 1 whatever share of positives a batch has, as in the binary cross-entropy
            weight = (weight / weight.mean()).expand_as(target)
        # -expm1(log q) is 1 - q without loss of digits where q is nearly 1
        losses = -((-torch.expm1(log_truth)) ** self.gamma) * log_truth
        if self.softmax:
            weight = weight if known is None else weight * known
            return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        if self.positive_weight is not None:
            losses = losses * torch.where(target > 0, per_channel(self.positive_weight, logits), 1.0)
        return mean_of_known(weight * losses, known)
