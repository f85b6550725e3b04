"""What every reader returns, and the error for a file that cannot be trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heldout.errors import UserError

_FLAT = 1e-6  # voxel volume as a share of the product of its edges, below which the axes lie in a plane


class BadFile(UserError):  # noqa: N818 - the name says what is bad
    """A file that cannot be trusted: its message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Image:
    """An image or a volume as its file holds it.

    Attributes:
        array: Values (C, H, W) of an image, or (C, X, Y, Z) of a volume in the file's own voxel order.
        affine: Voxel indices to RAS+ millimeters (4, 4); None for images.
        lost: What a damaged image lacks: (before, after) pixels of each spatial axis that could not be decoded
            and are not part of ``array``; None for a whole one. ``np.pad(mask, image.lost)`` restores its grid.
        note: What had to be assumed, for the report on the dataset; "" where everything is stated.
    """

    array: np.ndarray
    affine: np.ndarray | None = None
    lost: tuple[tuple[int, int], ...] | None = None
    note: str = ""

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Spatial shape of the whole image, lost pixels included."""
        shape = self.array.shape[1:]
        if self.lost is None:
            return shape
        return tuple(n + before + after for n, (before, after) in zip(shape, self.lost, strict=True))


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The first ``count`` bytes of a file, or all of them.

    Raises:
        BadFile: it cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            return handle.read(count)
    except OSError as error:
        raise unreadable(path, error) from None


def file_state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change (ns) of a file; of a folder, the sum and the latest of its files.

    Raises:
        BadFile: it does not exist or cannot be looked at.
    """
    try:
        stat = path.stat()
        if not path.is_dir():
            return stat.st_size, stat.st_mtime_ns
        stats = [entry.stat() for entry in os.scandir(path)]
    except OSError as error:
        raise unreadable(path, error) from None
    return sum(one.st_size for one in stats), max([stat.st_mtime_ns, *(one.st_mtime_ns for one in stats)])


def unreadable(path: Path, error: OSError) -> BadFile:
    """What is said of a file or folder that the system does not hand out."""
    what = "it" if path.is_dir() else "the file"
    return BadFile(f"{path} cannot be read ({error.strerror}): restore {what} or its permissions")


def check_labels(where: object, array: np.ndarray) -> None:
    """Refuse a label map with a value that is not a label.

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
