"""Intensity normalization and storage type of prepared arrays."""

from __future__ import annotations

import numpy as np

from heldout.data.recipe import Recipe

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in PIL and OpenCV


def to_float(array: np.ndarray) -> np.ndarray:
    """Prepared numbers as float32: uint8 means 0 ... 1 in steps of 1/255, float16 for itself.

    Example:
        >>> import numpy as np
        >>> to_float(np.array([0, 51, 255], np.uint8)).round(3).tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    return array.astype(np.float32)


def convert_channels(array: np.ndarray, channels: int) -> np.ndarray | None:
    """Gray to copies, RGB to gray by luma, equal counts as they are; None where there is no conversion.

    Args:
        array: (C, *S).
        channels: Wanted number of channels.
    """
    if len(array) == channels:
        return array
    if len(array) == 1:
        return np.repeat(array, channels, axis=0)
    if len(array) == 3 and channels == 1 and array.ndim == 3:
        return np.tensordot(LUMA, array.astype(np.float32), axes=1)[None]
    return None


def normalize(array: np.ndarray, stored: np.dtype, recipe: Recipe) -> np.ndarray:
    """Scale every channel on its own, with statistics of its nonzero voxels.

    ``zscore`` gives mean 0 and deviation 1; ``percentile`` maps the two percentiles to 0 and 1; ``window`` maps the
    window to 0 and 1; ``unit`` maps the range of uint8, or the case's own range where the file has another type.
    With ``windows`` a single channel becomes as many as there are windows, zeros mapped as every other value.

    Args:
        array: (C, *S) float32.
        stored: Type of the file's own numbers.
        recipe: The method and its settings.

    Returns:
        (C, *S) float32; all but ``zscore`` lie in 0 ... 1.
    """
    if recipe.windows:
        return np.concatenate([_between(array, *_ends(window)) for window in recipe.windows])
    return np.stack([_normalize_channel(channel, stored, recipe) for channel in array])


def pack(array: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Store (C, *S): uint8 in steps of 1/255 for images, float16 for volumes and z-scores. See :func:`to_float`."""
    if array.ndim == 3 and recipe.normalize != "zscore":
        return np.rint(array * 255).astype(np.uint8)
    return array.astype(np.float16)


def _normalize_channel(channel: np.ndarray, stored: np.dtype, recipe: Recipe) -> np.ndarray:
    inside = channel[channel != 0]
    if not len(inside):
        return np.zeros_like(channel)
    if recipe.normalize == "zscore":
        deviation = float(inside.std(dtype=np.float64))
        return (channel - np.float32(inside.mean(dtype=np.float64))) / np.float32(deviation or 1.0)
    if recipe.normalize == "percentile":
        low, high = np.percentile(inside, recipe.percentiles)
    elif recipe.normalize == "window":
        low, high = _ends(recipe.window)
    elif stored == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = min(float(channel.min()), 0.0), float(channel.max())
    if high <= low:  # one single value inside: it is the brightest there is
        low, high = 0.0, float(high) or 1.0
    return _between(channel, low, high)


def _ends(window: tuple[float, float]) -> tuple[float, float]:
    center, width = window
    return center - width / 2, center + width / 2


def _between(array: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((array - np.float32(low)) / np.float32(high - low), 0, 1)
