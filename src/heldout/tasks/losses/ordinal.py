"""Cross-entropy of grades: classes that exclude each other and have an order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Ordinal(nn.Module):
    """Mean cross-entropy of "at least this grade", for every grade but the lowest.

    The probabilities stay those of a softmax. A prediction far from the true grade costs more than one beside it, as
    the logarithmic relative of the ranked probability score (Epstein 1969).

    Example:
        >>> loss = Ordinal()
        >>> sure = 9.0 * torch.eye(4)
        >>> bool(loss(sure[[1]], torch.eye(4)[[0]]) < loss(sure[[3]], torch.eye(4)[[0]]))
        True
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and one-hot targets (B, K), grades in rising order, to a scalar."""
        log_p = functional.log_softmax(logits, 1)
        at_least = [torch.logsumexp(log_p[:, grade:], 1) for grade in range(1, logits.shape[1])]
        below = [torch.logsumexp(log_p[:, :grade], 1) for grade in range(1, logits.shape[1])]
        reached = target.flip(1).cumsum(1).flip(1)[:, 1:]
        return -(reached * torch.stack(at_least, 1) + (1 - reached) * torch.stack(below, 1)).mean()
