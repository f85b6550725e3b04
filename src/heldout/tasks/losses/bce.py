"""Binary cross-entropy of each class."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.losses.ignored import mean_of_known


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Shape values (C,) so that they multiply a tensor (B, C, *S)."""
    return values.to(like).view(1, -1, *[1] * (like.ndim - 2))


class BinaryCrossEntropy(nn.Module):
    """Mean over all classes and positions of ``-w (v t log p + (1 - t) log(1 - p))``.

    Args:
        class_weight: w (C,), relative to the mean of the weights.
        positive_weight: v (C,).
        label_smoothing: Targets become ``t (1 - s) + s / 2``.

    Example:
        >>> import torch
        >>> loss = BinaryCrossEntropy(positive_weight=torch.tensor([3.0]))
        >>> loss(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]))  # 2 log 2
        tensor(1.3863)
    """

    class_weight: Tensor | None
    positive_weight: Tensor | None

    def __init__(
        self,
        class_weight: Tensor | None = None,
        positive_weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weight", None if class_weight is None else class_weight / class_weight.mean())
        self.register_buffer("positive_weight", positive_weight)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits and 0/1 targets (B, C, *S) to a scalar; with ``known``, 0/1 (B, 1 or C, *S), of these voxels only."""
        target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        weight = None if self.class_weight is None else per_channel(self.class_weight, logits)
        positive = None if self.positive_weight is None else per_channel(self.positive_weight, logits)
        losses = functional.binary_cross_entropy_with_logits(
            logits, target, weight=weight, pos_weight=positive, reduction="mean" if known is None else "none"
        )
        return losses if known is None else mean_of_known(losses, known)
