"""Sliding windows with Gaussian weights, bit for bit those of MONAI, whose import takes longer than a few cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from heldout.data.patches import window_starts

SIGMA = 0.125  # of the window
MIN_WEIGHT = 1e-3  # weight of a window's corner


def slide(
    image: Tensor, window: Sequence[int], batch_size: int, predict: Callable[[Tensor], Tensor], *, overlap: float
) -> Tensor:
    """Predict windows that cover an image, and put them together by their weighted mean.

    Args:
        image: (1, C, *S), along every axis at least as large as the window.
        window: Voxels of a window along every axis.
        batch_size: Windows per batch.
        predict: Windows (B, C, *window) to values (B, K, *window).
        overlap: Share of a window that the next one covers too, 0 ... 1 exclusive.

    Returns:
        Values (1, K, *S).
    """
    size = image.shape[2:]
    places = list(product(*(_places(n, length, overlap) for n, length in zip(size, window, strict=True))))
    weight = _weights(window, image.device).to(image.dtype)
    total: Tensor | None = None
    count = image.new_zeros(1, 1, *size)
    for first in range(0, len(places), batch_size):
        chosen = places[first : first + batch_size]
        parts = [image[:, :, *place] for place in chosen]
        values = predict(torch.cat(parts) if batch_size > 1 else parts[0])
        if total is None:
            total = image.new_zeros(1, values.shape[1], *size)
        for place, value in zip(chosen, values, strict=True):
            at: tuple[int | slice, ...] = (0, slice(None), *place)
            total[at] += value * weight
            count[at] += weight
    assert total is not None, "there is one window at least"
    return total / count


def _places(size: int, window: int, overlap: float) -> list[slice]:
    return [slice(start, start + window) for start in window_starts(size, window, overlap)]


def _weights(window: Sequence[int], device: torch.device) -> Tensor:
    """Weights (*window): a Gaussian about the center."""
    weight = torch.ones((), device=device)
    for length in window:
        x = torch.arange(-(length - 1) / 2, (length - 1) / 2 + 1, dtype=torch.float, device=device)
        weight = weight.unsqueeze(-1) * torch.exp(x**2 / (-2 * (length * SIGMA) ** 2))
    return weight.clamp(min=max(weight.min().item(), MIN_WEIGHT))
