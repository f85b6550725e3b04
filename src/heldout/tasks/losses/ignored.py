"""What losses see of voxels that the truth leaves open: nothing that has a gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from heldout.metrics.ignored import IGNORED

SURE = 30.0  # a logit whose loss is 0 in float32


def hide_logits(logits: Tensor, mask: Tensor, softmax: bool) -> Tensor:
    """Replace logits of ignored voxels by a background that the network is sure of, without gradient.

    Args:
        logits: (B, C, *S).
        mask: (B, M, *S), with 255 where it is ignored.
        softmax: The channels exclude each other and the first is the background.
    """
    ignored = mask == IGNORED
    if not bool(ignored.any()):
        return logits
    sure = torch.full_like(logits[:1, :, *[slice(1)] * (logits.ndim - 2)], -SURE)
    if softmax:
        sure[:, 0] = SURE
    return torch.where(ignored, sure, logits)


def mean_of_known(losses: Tensor, known: Tensor | None) -> Tensor:
    """Mean of losses (B, C, *S), of known voxels alone where these are given."""
    if known is None:
        return losses.mean()
    share = known.expand_as(losses)
    return (losses * share).sum() / share.sum().clamp(min=1)


def takes_known(loss: Callable[..., Tensor]) -> bool:
    """Whether a loss has a parameter ``known``, for which voxels count."""
    return "known" in inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
