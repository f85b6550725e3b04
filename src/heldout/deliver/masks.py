"""Masks as files: NIfTI on the volume's own grid, PNG at the image's own size."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from heldout.errors import UserError


def mask_files(
    stem: str,
    mask: np.ndarray,
    classes: tuple[str, ...],
    *,
    affine: np.ndarray | None = None,
    like: Path | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Encode a case's mask as one file, or as one per class where classes may overlap.

    Args:
        stem: File name without its ending.
        mask: Array (M, *spatial) uint8: a label map (M = 1), or one binary channel per class.
        classes: Names of the foreground classes.
        affine: (4, 4) voxel to mm, of a volume.
        like: The volume's own NIfTI file, whose header (units, codes of its transforms) is kept.

    Yields:
        File name and content. NIfTI masks hold label values. PNG masks hold 0 and 255 where there is one class or
        a file per class, and label values (0, 1, 2, ...) where one file holds several.
    """
    overlapping = len(mask) > 1
    for channel, array in enumerate(mask):
        name = f"{stem}_{classes[channel]}" if overlapping else stem
        if array.ndim == 3:
            yield f"{name}.nii.gz", gzip.compress(nifti_bytes(array, affine, like), compresslevel=6, mtime=0)
        else:
            yield f"{name}.png", png_bytes(array * 255 if overlapping or len(classes) == 1 else array)


def check_names(stems: Iterable[str], classes: Sequence[str], *, overlapping: bool, uncertainty: bool = False) -> None:
    """Refuse cases and classes whose files would have the same name.

    Args:
        stems: File names of all cases without ending.
        classes: Names of the foreground classes.
        overlapping: There is a file for every class.
        uncertainty: There is a map of the uncertainty too.

    Raises:
        UserError: two files would have one name; names it.

    Example:
        >>> check_names(["a", "a_left"], ["lung", "left_lung"], overlapping=True)
        Traceback (most recent call last):
            ...
        heldout.errors.UserError: two masks would both be called a_left_lung: rename a case or a class
    """
    endings = [f"_{name}" for name in classes] if overlapping else [""]
    names = [stem + ending for stem in stems for ending in [*endings, *(["_uncertainty"] if uncertainty else [])]]
    if twice := next((name for name, count in Counter(names).items() if count > 1), ""):
        raise UserError(f"two masks would both be called {twice}: rename a case or a class")


def uncertainty_file(
    stem: str,
    entropy: np.ndarray,
    outcomes: int,
    *,
    affine: np.ndarray | None = None,
    like: Path | None = None,
) -> tuple[str, bytes]:
    """Encode an entropy (*spatial) in nats as ``<stem>_uncertainty``, 0 ... 255 for 0 ... log(outcomes).

    Args:
        stem: File name of the case's mask without its ending.
        entropy: Of every voxel.
        outcomes: Outcomes that a voxel can have, the background included.
        affine: As in :func:`mask_files`.
        like: As in :func:`mask_files`.

    Returns:
        File name and content.
    """
    levels = np.rint(255 * np.clip(entropy / np.log(outcomes), 0, 1)).astype(np.uint8)
    name = f"{stem}_uncertainty"
    if levels.ndim == 3:
        return f"{name}.nii.gz", gzip.compress(nifti_bytes(levels, affine, like), compresslevel=6, mtime=0)
    return f"{name}.png", png_bytes(levels)


def nifti_bytes(array: np.ndarray, affine: np.ndarray | None, like: Path | None = None) -> bytes:
    """Encode a label map (X, Y, Z) as an uncompressed NIfTI file on the grid of ``like``.

    Raises:
        UserError: ``like`` has another shape than the mask.
    """
    import nibabel

    if like is None:
        image = nibabel.Nifti1Image(array.astype(np.uint8), np.eye(4) if affine is None else affine)
        image.header.set_xyzt_units("mm")
        return image.to_bytes()
    from heldout.data.readers.nifti import read_header

    header, kind = read_header(like)  # by content: a file may be compressed or not under either ending
    shape = header.get_data_shape()[:3]
    if shape != array.shape:
        raise UserError(f"{like} has shape {shape} but its mask {array.shape}: the file changed during the prediction")
    # The header itself is kept: both transforms with their codes, so that every viewer agrees with the input.
    header.set_data_dtype(np.uint8)
    header.set_data_shape(array.shape)
    for name in ("cal_min", "cal_max", "toffset"):
        header[name] = 0
    return kind(array.astype(np.uint8), None, header).to_bytes()


def png_bytes(array: np.ndarray) -> bytes:
    """Encode an array (H, W) uint8 as PNG."""
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(array, dtype=np.uint8))[1].tobytes()
