"""Intensity: from the numbers of a file to the numbers a network reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heldout.config import BaseConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in PIL and OpenCV


def to_float(array: np.ndarray) -> np.ndarray:
    """Prepared numbers as float32: uint8 stands for 0 ... 1 in steps of 1/255, float16 for itself."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    return array.astype(np.float32)


def convert_channels(array: np.ndarray, channels: int) -> np.ndarray | None:
    """Grey to copies, RGB to grey by luma, equal counts as they are; None where there is no honest conversion.

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


def normalize(array: np.ndarray, stored: np.dtype, config: BaseConfig) -> np.ndarray:
    """Scale every channel on its own, with statistics of its nonzero voxels.

    ``zscore`` gives mean 0 and deviation 1; ``percentile`` maps the two percentiles to 0 and 1; ``window`` maps the
    window to 0 and 1; ``unit`` maps the range of uint8, or the case's own range where the file has another type.
    With ``windows`` a single channel becomes as many as there are windows, zeros mapped as every other value.

    Args:
        array: (C, *S) float32.
        stored: Type of the file's own numbers.
        config: Names the method and its settings.

    Returns:
        (C, *S) float32; all but ``zscore`` lie in 0 ... 1.
    """
    if config.windows:
        return np.concatenate([_between(array, *_ends(window)) for window in config.windows])
    return np.stack([_normalise_channel(channel, stored, config) for channel in array])


def pack(array: np.ndarray, config: BaseConfig) -> np.ndarray:
    """Store (C, *S): uint8 in steps of 1/255 for images, float16 for volumes and z-scores. See :func:`to_float`."""
    if array.ndim == 3 and config.normalize != "zscore":
        return np.rint(array * 255).astype(np.uint8)
    return array.astype(np.float16)


def _normalise_channel(channel: np.ndarray, stored: np.dtype, config: BaseConfig) -> np.ndarray:
    inside = channel[channel != 0]
    if not len(inside):
        return np.zeros_like(channel)
    if config.normalize == "zscore":
        deviation = float(inside.std(dtype=np.float64))
        return (channel - np.float32(inside.mean(dtype=np.float64))) / np.float32(deviation or 1.0)
    if config.normalize == "percentile":
        low, high = np.percentile(inside, config.percentiles)
    elif config.normalize == "window":
        low, high = _ends(config.window)
    elif stored == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = min(float(channel.min()), 0.0), float(channel.max())
    if high <= low:  # one single value inside: it is the brightest there is
        low, high = 0.0, float(high) or 1.0
    return _between(channel, low, high)


def _ends(window: tuple[float, float]) -> tuple[float, float]:
    centre, width = window
    return centre - width / 2, centre + width / 2


def _between(array: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((array - np.float32(low)) / np.float32(high - low), 0, 1)
