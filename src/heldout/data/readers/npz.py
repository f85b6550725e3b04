"""Items of NumPy archives, addressed as ``file.npz#key:index``."""

from __future__ import annotations

import functools
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from heldout.data.image import BadFile, Image, check_labels, file_state
from heldout.data.memory import require_memory
from heldout.data.readers import split_reference

MAX_BYTES = 2**34
_ERRORS = (  # what the libraries raise for damaged archives, by experience with random damage
    *(OSError, ValueError, LookupError, EOFError, RuntimeError, TypeError, OverflowError, struct.error),
    *(zipfile.BadZipFile, zlib.error, SyntaxError),
)
_FREE = 2**30  # bytes that an array may inflate to however short it is
_MOST_INFLATED = 500  # times its own size that it may inflate to beyond


def read(reference: Path | str, *, dimensions: int = 3) -> Image:
    """Read one item of an array whose first axis counts the cases.

    Args:
        reference: ``file.npz#key:index``.
        dimensions: Spatial axes; an item may have one axis more, its channels, which come last in the file.

    Returns:
        (C, *spatial); volumes have the identity as affine, for an array file knows no millimeters.

    Raises:
        BadFile: the file, the key or the item does not exist, is damaged, or has other axes.
    """
    file, key, index = split_reference(reference)
    array = load(file, key)
    if index >= len(array):
        raise BadFile(f"{file} has {len(array)} items under {key}, none is number {index}: index the dataset again")
    item = array[index]
    if item.ndim not in (dimensions, dimensions + 1) or not item.size:
        raise BadFile(f"{reference} has shape {item.shape}: {dimensions} spatial axes are needed, then channels")
    if item.dtype.kind not in "biuf" or not np.isfinite(item).all():
        raise BadFile(f"{reference} holds values that are not finite numbers: repair the archive")
    item = item[None] if item.ndim == dimensions else np.moveaxis(item, -1, 0)
    item = item.astype({"b": np.uint8, "f": np.float32}.get(item.dtype.kind, item.dtype))
    return Image(item, np.eye(4) if dimensions == 3 else None)


def read_mask(reference: Path | str, *, dimensions: int = 3) -> np.ndarray:
    """Read one item as a label map (1, *spatial), uint8.

    Raises:
        BadFile: as :func:`read`; or values that are not whole numbers from 0 to 255.
    """
    array = read(reference, dimensions=dimensions).array
    if len(array) > 1:
        raise BadFile(f"{reference} has {len(array)} channels: a mask is one label map")
    check_labels(reference, array)
    return array.astype(np.uint8)


def load(file: Path, key: str) -> np.ndarray:
    """One array of an archive, read-only; kept in memory, for an archive cannot be opened in the middle.

    Raises:
        BadFile: the file or the key does not exist or is damaged, or the array is not of numbers.
    """
    return _load(file, key, file_state(file))


def keys(file: Path) -> list[str]:
    """Names of the arrays in an archive.

    Raises:
        BadFile: the file does not exist or is not an archive.
    """
    file_state(file)
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _ERRORS as error:
        raise BadFile(
            f"{file} is not a NumPy archive or is damaged ({' '.join(str(error).split())}): restore it from its source"
        ) from None


def shape(file: Path, key: str) -> tuple[int, ...]:
    """Shape of an array, from its header alone.

    Raises:
        BadFile: the file or the key does not exist or is damaged.
    """
    file_state(file)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as handle:
            return _header(handle)[0]
    except _ERRORS as error:
        raise BadFile(
            f"{file} is damaged under {key} ({' '.join(str(error).split())}): restore it from its source"
        ) from None


def _header(handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array by the beginning of its file."""
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(handle)
    return shape, dtype


@functools.lru_cache(maxsize=4)
def _load(file: Path, key: str, state: tuple[int, int]) -> np.ndarray:  # noqa: ARG001 - a changed file is read anew
    if key not in keys(file):
        raise BadFile(f"{file} has no array {key}: it has {', '.join(keys(file)) or 'none'}")
    try:
        with zipfile.ZipFile(file) as archive:
            member = archive.getinfo(f"{key}.npy")
            with archive.open(member) as handle:
                shape, dtype = _header(handle)
            claimed = max(member.file_size, math.prod(shape) * dtype.itemsize)
            if claimed > MAX_BYTES or claimed > max(_FREE, _MOST_INFLATED * member.compress_size):
                raise BadFile(f"{file} claims {claimed >> 20} MiB under {key}: restore it, or split the archive")
            require_memory(file, claimed)
        with np.load(file, allow_pickle=False) as arrays:
            array = arrays[key]
    except _ERRORS as error:
        raise BadFile(
            f"{file} is damaged under {key} ({' '.join(str(error).split())}): restore it from its source"
        ) from None
    array.setflags(write=False)
    return array
