"""From features of a bag's parts (crops of a volume, stacks of slices) to logits of the whole."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

Pooling = Literal["mean", "noisy_or", "attention"]
ATTENTION_UNITS = 128
TINY = 1e-20  # keeps the logarithm finite where every part is certain that there is nothing


class BagHead(nn.Module):
    """The last layer of a network that reads a case in parts.

    ``mean`` averages the parts' features. ``noisy_or`` scores each part, and the case is positive as soon as one of
    them is. ``attention`` weighs the features by gated attention.

    Args:
        features: Number of features of a part.
        classes: Number K of logits.
        pooling: How the parts become one.
        parts: Number of parts in a bag of training: with ``noisy_or``, what the mean over any other number counts for,
            so that a case cut into more parts is not more probably positive for that alone. None counts them all.
        dropout: Before the last layer.
    """

    def __init__(
        self, features: int, classes: int, pooling: Pooling, parts: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.parts = parts
        self.attention = GatedAttention(features) if pooling == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, parts, D)."""
        if self.pooling == "noisy_or":
            return noisy_or(self.last(self.dropout(features)), self.parts)
        pooled = features.mean(dim=1) if self.attention is None else self.attention(features)
        return self.last(self.dropout(pooled))


class GatedAttention(nn.Module):
    """Mean of a bag's features with learned weights (Ilse et al. 2018, https://arxiv.org/abs/1802.04712, eq. 9)."""

    def __init__(self, features: int, units: int = ATTENTION_UNITS) -> None:
        super().__init__()
        self.content = nn.Linear(features, units)
        self.gate = nn.Linear(features, units)
        self.score = nn.Linear(units, 1, bias=False)  # a bias would cancel in the softmax

    def weights(self, features: Tensor) -> Tensor:
        """Weights (B, parts) of features (B, parts, D); they add up to 1."""
        scores = self.score(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))
        return torch.softmax(scores.float(), dim=1).squeeze(2)

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, D)."""
        return (self.weights(features).to(features.dtype).unsqueeze(2) * features).sum(dim=1)


def noisy_or(logits: Tensor, parts: int | None = None) -> Tensor:
    """Logit of ``1 - prod(1 - p)``: some part is positive (Pearl 1988; for bags, Zhang et al. 2006).

    Computed from sums of softplus in float32, as the product itself would lose everything small.

    Args:
        logits: (B, n, K), one per part.
        parts: How many parts the mean of ``log(1 - p)`` counts for; None is n, the noisy-or itself.

    Returns:
        (B, K) float32.
    """
    with torch.autocast(logits.device.type, enabled=False):
        nothing = softplus(logits.float()).mean(dim=1) * (parts or logits.shape[1])  # -log of the product
        nothing = nothing.clamp(min=TINY)
        return nothing + torch.log(-torch.expm1(-nothing))
