"""What every reader returns, and the error for a file that cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.errors import UserError

_FLAT = 1e-6  # voxel volume as a share of the product of its edges, below which the axes lie in a plane


class BadFile(UserError):  # noqa: N818 - the name says what is bad
    """A file that cannot be trusted: its message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Image:
    """A picture or a volume as its file holds it.

    Attributes:
        array: Values (C, H, W) of a picture, or (C, X, Y, Z) of a volume in the file's own voxel order.
        affine: Voxel indices to RAS+ millimeters (4, 4); None for pictures.
        lost: What a damaged picture lacks: (before, after) pixels of each spatial axis that could not be decoded
            and are not part of ``array``; None for a whole one. ``np.pad(mask, image.lost)`` restores its grid.
    """

    array: np.ndarray
    affine: np.ndarray | None = None
    lost: tuple[tuple[int, int], ...] | None = None

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Spatial shape of the whole picture, lost pixels included."""
        shape = self.array.shape[1:]
        if self.lost is None:
            return shape
        return tuple(n + before + after for n, (before, after) in zip(shape, self.lost, strict=True))


def check_labels(where: object, array: np.ndarray) -> None:
    """Refuse a label map with a value that is no label.

    Args:
        where: File, or item of a file, for the message.
        array: The values, finite.

    Raises:
        BadFile: a value is not a whole number from 0 to 255; the message names it.
    """
    odd = array[(array < 0) | (array > 255) | (array != np.rint(array))]
    if odd.size:
        raise BadFile(
            f"{where} holds the label value {odd.flat[0]:g}: store class numbers, whole numbers from 0 to 255"
        )


def invertible(affine: np.ndarray) -> bool:
    """Whether an affine (4, 4) spans a space, at any size of voxels."""
    if not np.isfinite(affine).all():
        return False
    edges = float(np.prod(np.linalg.norm(affine[:3, :3], axis=0)))
    return abs(float(np.linalg.det(affine[:3, :3]))) > _FLAT * edges
