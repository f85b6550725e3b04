"""The way from a file's voxel grid to a prepared array, and the exact way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.data.resample import resample_linear, resample_nearest


@dataclass(frozen=True)
class Geometry:
    """What was done to a case's grid, in this order: orient, crop, resize, pad.

    Attributes:
        original: Spatial shape of the case as its file declares it.
        content_start: First voxel that was really read; not 0 only where a damaged file lost its beginning.
        content: Spatial shape that was really read; smaller than ``original`` where a file is damaged.
        axes: File axis that became each axis of the oriented array.
        flips: Whether each axis of the oriented array was reversed.
        start: First voxel of the crop box, on the oriented grid.
        cropped: Shape of the crop box.
        resized: Shape to which the crop box was resized.
        offset: Position of the resized box in the prepared array.
        prepared: Spatial shape of the prepared array.
    """

    original: tuple[int, ...]
    content_start: tuple[int, ...]
    content: tuple[int, ...]
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    start: tuple[int, ...]
    cropped: tuple[int, ...]
    resized: tuple[int, ...]
    offset: tuple[int, ...]
    prepared: tuple[int, ...]


def orientation(affine: np.ndarray | None, dimensions: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Axis order and flips that bring a volume closest to RAS+ (x to the right, y to the front, z to the top).

    Args:
        affine: (4, 4) voxel to RAS+ in mm; None keeps the file's own order.
        dimensions: Number of spatial axes.

    Returns:
        ``axes`` and ``flips`` as in :class:`Geometry`.

    Example:
        >>> import numpy as np
        >>> orientation(np.diag([-1.0, -1.0, 3.0, 1.0]), 3)
        ((0, 1, 2), (True, True, False))
    """
    if affine is None:
        return tuple(range(dimensions)), (False,) * dimensions
    from nibabel.orientations import io_orientation

    target = io_orientation(affine)
    axes = [int(axis) for axis in np.argsort(target[:, 0])]
    return tuple(axes), tuple(bool(target[axis, 1] < 0) for axis in axes)


def orient(array: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """View of (C, *file grid) in the oriented order."""
    moved = array.transpose(0, *(axis + 1 for axis in axes))
    return moved[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))]


def nonzero_box(array: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start and shape of the smallest box around the nonzero voxels of (C, *S); the whole where there are none."""
    occupied = (array != 0).any(0)
    start, shape = [], []
    for axis in range(occupied.ndim):
        line = np.flatnonzero(occupied.any(tuple(other for other in range(occupied.ndim) if other != axis)))
        start.append(int(line[0]) if len(line) else 0)
        shape.append(int(line[-1] - line[0] + 1) if len(line) else occupied.shape[axis])
    return tuple(start), tuple(shape)


def fit(shape: Sequence[int], image_size: Sequence[int] | None, resize: str) -> tuple[tuple[int, ...], ...]:
    """Place a box of ``shape`` in an array of ``image_size``.

    ``stretch`` fills the array. ``letterbox`` keeps the proportions and centers the box; images are scaled until they
    touch the border, volumes only shrink where they do not fit, because their voxel size carries meaning.

    Returns:
        ``resized``, ``offset`` and ``prepared`` as in :class:`Geometry`.
    """
    shape = tuple(shape)
    if image_size is None:
        return shape, (0,) * len(shape), shape
    size = tuple(image_size)
    if resize == "stretch":
        return size, (0,) * len(size), size
    scale = min(new / old for new, old in zip(size, shape, strict=True))
    if len(shape) == 3:
        scale = min(scale, 1.0)
    resized = tuple(min(new, max(1, round(old * scale))) for new, old in zip(size, shape, strict=True))
    offset = tuple((new - old) // 2 for new, old in zip(size, resized, strict=True))
    return resized, offset, size


def spaced_shape(shape: Sequence[int], voxel_size: Sequence[float], spacing: Sequence[float]) -> tuple[int, ...]:
    """Number of voxels of ``spacing`` mm that fill a box of ``shape`` voxels of ``voxel_size`` mm.

    Example:
        >>> spaced_shape((100, 100, 30), voxel_size=(0.5, 0.5, 5.0), spacing=(1.0, 1.0, 2.5))
        (50, 50, 60)
    """
    return tuple(
        max(1, math.floor(n * old / new + 0.5)) for n, old, new in zip(shape, voxel_size, spacing, strict=True)
    )


def crop(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """View of (C, *content) that holds the crop box, oriented."""
    oriented = orient(array, geometry.axes, geometry.flips)
    return oriented[(slice(None), *_box(geometry.start, geometry.cropped))]


def pad(array: np.ndarray, geometry: Geometry, fill: np.ndarray | float = 0) -> np.ndarray:
    """Put (C, *resized) into (C, *prepared); ``fill`` is one value or one per channel."""
    if geometry.resized == geometry.prepared:
        return np.ascontiguousarray(array)
    out = np.empty((array.shape[0], *geometry.prepared), array.dtype)
    out[:] = np.asarray(fill, array.dtype).reshape(-1, *(1,) * len(geometry.prepared))
    out[(slice(None), *_box(geometry.offset, geometry.resized))] = array
    return out


def prepare_mask(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring a mask (M, *original) onto the prepared grid, by nearest neighbor: (M, *prepared) uint8."""
    content = mask[(slice(None), *_box(geometry.content_start, geometry.content))]
    return pad(resample_nearest(crop(content, geometry), geometry.resized).astype(np.uint8), geometry)


def restore(probability: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Bring probabilities back to the grid of the file.

    Args:
        probability: (K, *prepared) float32.
        geometry: What preparation returned for the case.

    Returns:
        (K, *original) float32, interpolated linearly, 0 outside the crop box and where a file had no pixels.
    """
    inner = probability[(slice(None), *_box(geometry.offset, geometry.resized))]
    out = np.zeros((probability.shape[0], *geometry.original), np.float32)
    content = out[(slice(None), *_box(geometry.content_start, geometry.content))]
    crop(content, geometry)[...] = resample_linear(inner, geometry.cropped)
    return out


def _box(start: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))
