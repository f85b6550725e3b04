"""Sliding windows with Gaussian weights, bit for bit those of MONAI, whose import takes longer than a few cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice, product

import torch
from torch import Tensor

from heldout.data.patches import window_starts

SIGMA = 0.125  # of the window
MIN_WEIGHT = 1e-3  # weight of a window's corner
MOST_VOXELS = 1 << 20  # of a batch on a CPU, which is no faster with more and needs their memory
FREE = 0.5  # share of a device's free memory that maps may take

Place = tuple[slice, ...]


def slide(
    image: Tensor,
    window: Sequence[int],
    batch_size: int,
    predict: Callable[[Tensor], Tensor],
    *,
    overlap: float,
    device: torch.device | None = None,
    on_device: bool | None = None,
) -> Tensor:
    """Predict windows that cover an image, and put them together by their weighted mean.

    Args:
        image: (1, C, *S), along every axis at least as large as the window.
        window: Voxels of a window along every axis.
        batch_size: Windows per batch at most.
        predict: Windows (B, C, *window) to values (B, K, *window).
        overlap: Share of a window that the next one covers too, 0 ... 1 exclusive.
        device: Where windows are predicted; None is where the image is.
        on_device: Whether values are put together there; None where they fit, and otherwise in the memory of the host,
            where the windows of one place along the first axis arrive together.

    Returns:
        Values (1, K, *S), where they were put together.
    """
    device = image.device if device is None else device
    size = image.shape[2:]
    places = list(product(*(_places(n, length, overlap) for n, length in zip(size, window, strict=True))))
    weight = _weights(window, device).to(image.dtype)
    batch_size = _batch_size(window, batch_size, device)

    def values_of(chosen: Sequence[Place]) -> Tensor:
        parts = [image[:, :, *place] for place in chosen]
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        return predict(joined.to(device, non_blocking=True))

    first = values_of(places[:batch_size])
    channels = first.shape[1]
    parts = _first_then(first, places, batch_size, values_of)
    del first  # of the next batch's memory
    if fits(channels + 1, size, device) if on_device is None else on_device:
        return _together(parts, weight, channels, size)
    return _by_slabs(parts, weight, channels, size, window)


def count_passes(
    size: Sequence[int], window: Sequence[int], batch_size: int, *, overlap: float, device: torch.device
) -> int:
    """How often :func:`slide` calls ``predict``."""
    counts = (len(_places(n, length, overlap)) for n, length in zip(size, window, strict=True))
    return math.ceil(math.prod(counts) / _batch_size(window, batch_size, device))


def _batch_size(window: Sequence[int], most: int, device: torch.device) -> int:
    return max(1, min(most, MOST_VOXELS // math.prod(window))) if device.type == "cpu" else most


def _places(size: int, window: int, overlap: float) -> list[slice]:
    return [slice(start, start + window) for start in window_starts(size, window, overlap)]


def _first_then(
    first: Tensor, places: Sequence[Place], batch_size: int, values_of: Callable[[Sequence[Place]], Tensor]
) -> Iterator[tuple[Place, Tensor]]:
    """Every place with its values (K, *window), those of the first batch being known."""
    rest = iter(places)
    values: Tensor | None = first
    while chosen := list(islice(rest, batch_size)):
        if values is None:
            values = values_of(chosen)
        yield from zip(chosen, values, strict=True)
        values = None


def _together(parts: Iterator[tuple[Place, Tensor]], weight: Tensor, channels: int, size: Sequence[int]) -> Tensor:
    """Weighted mean of windows, added where they are."""
    total, count = weight.new_zeros(1, channels, *size), weight.new_zeros(1, 1, *size)
    for place, value in parts:
        at: tuple[int | slice, ...] = (0, slice(None), *place)
        total[at] += value * weight
        count[at] += weight
    return total.div_(count)


def _by_slabs(
    parts: Iterator[tuple[Place, Tensor]], weight: Tensor, channels: int, size: Sequence[int], window: Sequence[int]
) -> Tensor:
    """Weighted mean of windows in the memory of the host; a slab as thick as a window is added on the device."""
    total, count = torch.zeros(1, channels, *size), torch.zeros(1, 1, *size)
    for along, slab in groupby(parts, key=lambda part: part[0][0]):
        values, weights = (weight.new_zeros(n, window[0], *size[1:]) for n in (channels, 1))
        for place, value in slab:
            at = (slice(None), slice(None), *place[1:])
            values[at] += value * weight
            weights[at] += weight
        total[0, :, along] += values.cpu()
        count[0, :, along] += weights.cpu()
    return total.div_(count)


def fits(channels: int, size: Sequence[int], device: torch.device) -> bool:
    """Whether maps of some channels find room on a device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what it freed
    return 4 * channels * math.prod(size) <= FREE * free


def _weights(window: Sequence[int], device: torch.device) -> Tensor:
    """Weights (*window): a Gaussian about the center."""
    weight = torch.ones((), device=device)
    for length in window:
        x = torch.arange(-(length - 1) / 2, (length - 1) / 2 + 1, dtype=torch.float, device=device)
        weight = weight.unsqueeze(-1) * torch.exp(x**2 / (-2 * (length * SIGMA) ** 2))
    return weight.clamp(min=max(weight.min().item(), MIN_WEIGHT))
