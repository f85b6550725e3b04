"""Resizing of arrays on the pixel-area grid, where the corners of the outermost voxels stay where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resample_linear(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize the spatial axes linearly; shrinking averages over the voxels that fall together.

    Two axes go through OpenCV (area when shrinking, else linear). Three axes use a separable triangle filter, which is
    trilinear interpolation when enlarging; it sums in a fixed order, so that the result does not depend on threads.

    Args:
        array: (C, *S) of any real type.
        shape: New spatial shape.

    Returns:
        (C, *shape) float32.

    Example:
        >>> import numpy as np
        >>> resample_linear(np.arange(4.0).reshape(1, 4, 1, 1), (2, 1, 1)).ravel().tolist()
        [0.625, 2.375]
    """
    out = np.ascontiguousarray(array, dtype=np.float32)
    if out.shape[1:] == tuple(shape):
        return out
    if len(shape) == 2:
        return _resize_image(out, (int(shape[0]), int(shape[1])))
    for axis, size in enumerate(shape, start=1):
        if out.shape[axis] != size:
            out = _resample_axis(out, axis, size)
    return out


def resample_nearest(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize the spatial axes of (C, *S) by taking the voxel in which each new voxel's center lies."""
    for axis, size in enumerate(shape, start=1):
        old = array.shape[axis]
        if old != size:
            array = np.take(array, (2 * np.arange(size) + 1) * old // (2 * size), axis)
    return array


def _resize_image(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    shrinks = shape[0] * shape[1] < array.shape[1] * array.shape[2]
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(channel, shape[::-1], interpolation=mode) for channel in array])


def _resample_axis(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    index, weight = _triangle(array.shape[axis], size)
    column = [1] * array.ndim
    column[axis] = size
    out = np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), np.float32)
    part = np.empty_like(out)
    for tap in range(index.shape[1]):
        if weight[:, tap].any():  # the last tap has none where the array is enlarged
            np.take(array, index[:, tap], axis, out=part, mode="clip")
            part *= weight[:, tap].reshape(column)
            out += part
    return out


def _triangle(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Source positions (new, taps) and weights of a triangle filter whose rows sum to one."""
    scale = old / new
    reach = max(scale, 1.0)
    center = (np.arange(new) + 0.5) * scale - 0.5
    taps = np.arange(int(np.ceil(2 * reach)) + 1)
    position = np.floor(center - reach).astype(int)[:, None] + 1 + taps
    weight = np.clip(1 - np.abs(position - center[:, None]) / reach, 0, None)
    weight /= weight.sum(1, keepdims=True)
    return np.clip(position, 0, old - 1), weight.astype(np.float32)
