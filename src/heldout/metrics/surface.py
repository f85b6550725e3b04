"""Distances between the surfaces of two masks, in millimeters."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from heldout.errors import UserError
from heldout.metrics.lesion import bounding_box

SURFACE_COLUMNS = ("hd95", "assd")
_RIGHT_ANGLE = 1e-3  # largest cosine between two axes that counts as one: headers store rounded numbers


def surface_distances(pred: np.ndarray, truth: np.ndarray, spacing: ArrayLike) -> np.ndarray:
    """95 % Hausdorff distance and average symmetric surface distance of one class.

    The surface is made of the mask's voxels that have a face on the outside, the array's border included. HD95 is the
    larger of the two directed 95th percentiles (Taha and Hanbury, BMC Medical Imaging 15, 2015); the average is over
    the surface voxels of both masks.

    Empty masks: where both are empty both distances are 0; where one is, they are the diagonal of the array, which is
    the worst that a prediction on that grid could be.

    Args:
        pred: Predicted mask (*S) bool.
        truth: True mask (*S) bool.
        spacing: Size of a voxel along every axis, in mm; or, where the axes may be oblique, a matrix whose columns are
            the steps from one voxel to the next along every axis, in mm.

    Returns:
        (2,) float64 in mm, in the order of :data:`SURFACE_COLUMNS`.

    Example:
        >>> import numpy as np
        >>> truth, pred = np.zeros((2, 8, 8), bool)
        >>> truth[2:4, 2:4], pred[2:4, 3:5] = True, True
        >>> hd95, assd = surface_distances(pred, truth, spacing=(1.0, 0.5))
        >>> round(float(hd95), 2), round(float(assd), 2)
        (0.5, 0.25)
    """
    if not pred.any() or not truth.any():
        axes = np.asarray(spacing, np.float64)
        axes = np.linalg.norm(axes, axis=0) if axes.ndim == 2 and right_angled(axes) else axes
        diagonal = _diagonal(pred.shape, axes)
        return np.full(2, diagonal if pred.any() or truth.any() else 0.0)
    directed = directed_distances(pred, truth, spacing)
    return np.array([max(np.percentile(one, 95) for one in directed), np.concatenate(directed).mean()])


def directed_distances(pred: np.ndarray, truth: np.ndarray, spacing: ArrayLike) -> list[np.ndarray]:
    """Distance of every surface voxel of one mask from the surface of the other.

    Args:
        pred: Predicted mask (*S) bool, not empty.
        truth: True mask (*S) bool, not empty.
        spacing: As for :func:`surface_distances`.

    Returns:
        (n,) float64 in mm of the n surface voxels of the prediction, and (m,) of the m of the true mask.

    Example:
        >>> import numpy as np
        >>> truth, pred = np.zeros((2, 8), bool)
        >>> truth[2], pred[5] = True, True
        >>> [one.tolist() for one in directed_distances(pred, truth, spacing=(2.0,))]
        [[6.0], [6.0]]
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import cKDTree

    axes = np.asarray(spacing, np.float64)
    if axes.ndim == 2 and right_angled(axes):
        axes = np.linalg.norm(axes, axis=0)
    box = bounding_box(pred | truth)
    surfaces = [_surface(mask[box]) for mask in (pred, truth)]
    if axes.ndim == 1:
        away = [distance_transform_edt(~surface, sampling=axes) for surface in surfaces]
        return [away[1][surfaces[0]], away[0][surfaces[1]]]
    points = [np.argwhere(surface) @ axes.T for surface in surfaces]
    return [cKDTree(points[1 - n]).query(points[n])[0] for n in (0, 1)]


def surface_dice(
    pred: np.ndarray, truth: np.ndarray, spacing: ArrayLike, tolerance: float, *, by_area: bool = False
) -> float:
    """Share of both surfaces that lies within a tolerance of the other one (Nikolov et al., arXiv:1809.04430).

    Args:
        pred: Predicted mask (*S) bool.
        truth: True mask (*S) bool.
        spacing: As for :func:`surface_distances`.
        tolerance: In mm.
        by_area: Weigh every piece of surface by its area, found between voxels (surface Dice of DeepMind); otherwise
            surface voxels are counted alike (normalized surface distance, NSD).

    Returns:
        In 0 ... 1; 1 where both masks are empty, 0 where one is.

    Raises:
        UserError: pieces of surface are to be weighed, and the axes are oblique.

    Example:
        >>> import numpy as np
        >>> truth, pred = np.zeros((2, 8, 8), bool)
        >>> truth[2:5, 2:5], pred[2:5, 3:6] = True, True
        >>> surface_dice(pred, truth, (1.0, 1.0), 0.5), surface_dice(pred, truth, (1.0, 1.0), 1.0)
        (0.5, 1.0)
    """
    if not pred.any() or not truth.any():
        return float(not pred.any() and not truth.any())
    if by_area:
        import torch
        from monai.metrics import compute_surface_dice

        axes = np.asarray(spacing, np.float64)
        if axes.ndim == 2 and not right_angled(axes):
            raise UserError(
                f"surface_dice:{tolerance:g} needs voxels with right angles, and these are sheared: measure "
                f"nsd:{tolerance:g} instead, or resample the volumes"
            )
        steps = np.linalg.norm(axes, axis=0) if axes.ndim == 2 else axes
        pair = [
            torch.from_numpy(np.pad(mask[bounding_box(pred | truth)], 2))[None, None].float() for mask in (pred, truth)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of arguments that MONAI passes to itself
            found = compute_surface_dice(
                pair[0], pair[1], [tolerance], True, spacing=steps.tolist(), use_subvoxels=True
            )
        return float(found)
    away = directed_distances(pred, truth, spacing)
    return float(np.mean(np.concatenate(away) <= tolerance))


def right_angled(axes: np.ndarray) -> bool:
    """Whether the axes of voxels, columns of a matrix, stand at right angles to each other.

    Example:
        >>> import numpy as np
        >>> right_angled(np.diag([1.0, 1.0, 3.0])), right_angled(np.array([[1.0, 0.3], [0.0, 1.0]]))
        (True, False)
    """
    lengths = np.linalg.norm(axes, axis=0)
    cosines = axes.T @ axes / np.outer(lengths, lengths)
    return bool(np.abs(cosines - np.eye(len(cosines))).max() < _RIGHT_ANGLE)


def _diagonal(shape: tuple[int, ...], axes: np.ndarray) -> float:
    """Longest distance between two corners of an array."""
    if axes.ndim == 1:
        return float(np.linalg.norm(np.multiply(shape, axes)))
    corners = np.stack(np.meshgrid(*([-1, 1],) * len(shape)), -1).reshape(-1, len(shape)) * shape
    return float(np.linalg.norm(corners @ axes.T, axis=1).max())


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)
