"""One reader per file format; the format is told by a file's content, never by its name.

Importing this package is cheap: a reader and its library are imported when the first file of its kind is read.
"""

from __future__ import annotations

import importlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heldout.data.image import BadFile, Image, read_bytes

__all__ = [
    "BadFile",
    "Image",
    "format_of",
    "header_affine",
    "is_series",
    "open_any",
    "open_mask",
    "open_series",
    "split_reference",
]

COPIES = 9  # of a volume in float32 that its preparation holds at most, measured: file, values, oriented, resampled ...
_FLOAT = 4
_NIFTI_MAGIC_AT = {344: (b"n+1\0", b"ni1\0"), 4: (b"n+2\0", b"ni2\0")}


def format_of(path: Path) -> str | None:
    """Name of a file's format: png, jpeg, gif, tiff, nifti, metaimage, dicom, npz or zip; None for others.

    Raises:
        BadFile: the file cannot be opened.
    """
    head = read_bytes(path, 1024)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith((b"ObjectType", b"NDims", b"Comment")) and b"NDims" in head:
        return "metaimage"
    if head.startswith(b"PK\x03\x04"):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return "npz" if first.endswith(b".npy") or path.suffix == ".npz" else "zip"
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 512)
        except zlib.error:
            return None
    if any(head[at : at + 4] in magic for at, magic in _NIFTI_MAGIC_AT.items()):
        return "nifti"
    return None


def open_any(reference: Path | str, *, dimensions: int | None = None, salvage: bool = False) -> Image:
    """Read an image file, a DICOM folder or zip, or one item ``file.npz#key:index``, whatever its name ends in.

    Args:
        reference: The file, or the item.
        dimensions: Spatial axes expected, 2 or 3; None takes the file's own.
        salvage: Return what is left of a truncated JPEG (see :class:`~heldout.data.image.Image`) instead of refusing.

    Raises:
        BadFile: the file is missing, of another format, damaged, or has other axes.
    """
    if "#" in str(reference):
        return _reader("npz").read(reference, dimensions=dimensions or 3)
    path = Path(reference)
    name = _format_name(path)
    if name == "dicom":
        return open_series([path], dimensions=dimensions, salvage=salvage)
    image = _reader("image").read(path, salvage=salvage) if name == "image" else _reader(name).read(path)
    found = image.array.ndim - 1
    if dimensions not in (None, found):
        raise BadFile(f"{path} has {found} spatial axes, {dimensions} are needed: choose a task for {found}D data")
    return image


def open_mask(reference: Path | str, *, dimensions: int | None = None, binary: bool = True) -> np.ndarray:
    """Read a label map (1, *spatial) as uint8, values as stored save that a 0/255 image becomes 0/1 if ``binary``.

    Raises:
        BadFile: the file is missing, damaged, or holds other values than whole numbers from 0 to 255.
    """
    if "#" in str(reference):
        return _reader("npz").read_mask(reference, dimensions=dimensions or 3)
    path = Path(reference)
    name = _format_name(path)
    return _reader(name).read_mask(path, binary=binary) if name == "image" else _reader(name).read_mask(path)


def header_affine(path: Path) -> np.ndarray | None:
    """Affine (4, 4) of a NIfTI or MetaImage file, voxel indices to RAS+ millimeters, without reading its voxels.

    None for other formats, folders, and items of a file.

    Raises:
        BadFile: the file is missing or its header is damaged.
    """
    if "#" in path.name or path.is_dir():
        return None
    name = format_of(path)
    return _reader(name).read_affine(path) if name in ("nifti", "metaimage") else None


def memory_of(path: Path) -> int:
    """Bytes that reading and preparing an image takes at most, without reading its pixels; 0 where it is not known."""
    if "#" in path.name:
        return 0
    try:
        if path.is_dir():
            return COPIES * sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        if format_of(path) == "metaimage":
            return COPIES * math.prod(_reader("metaimage").read_header(path).shape) * _FLOAT
        if format_of(path) == "nifti":
            header, _ = _reader("nifti").read_header(path)
            return COPIES * math.prod(max(int(size), 1) for size in header["dim"][1:5]) * _FLOAT
        return COPIES * path.stat().st_size
    except (BadFile, OSError):  # said when it is read
        return 0


def beside(path: Path) -> list[Path]:
    """Files that an image is made of besides its own: the voxels that a MetaImage header names."""
    if path.suffix.lower() != ".mhd":
        return []
    reader = _reader("metaimage")
    try:
        voxels = reader.voxel_file(reader.read_header(path))
    except BadFile:  # said when it is read
        return []
    return [voxels] if voxels != path and voxels.is_file() else []


def is_series(path: Path) -> bool:
    """Whether a path is a folder, a DICOM file or a zip archive: what :func:`open_series` reads."""
    if "#" in path.name:
        return False
    return path.is_dir() or (path.is_file() and format_of(path) in ("dicom", "zip"))


def open_series(
    paths: Sequence[Path], *, dimensions: int | None = None, salvage: bool = False, **options: Any
) -> Image:
    """Read the one volume of DICOM files, a folder or a zip archive.

    Args:
        paths: Where it is.
        dimensions: 2 reads the only image.
        salvage: Take the largest of several volumes, and interpolate where slices are missing, instead of refusing.
        options: ``pick``, ``gaps`` and ``tilt`` of :func:`heldout.data.readers.dicom.read_volume`.

    Raises:
        BadFile: the files make no volume.
    """
    reader = _reader("dicom")
    source = paths[0] if len(paths) == 1 else paths
    if dimensions == 2:
        return reader.read(source, dimensions=2)
    if salvage:
        chosen = {name: value for name, value in options.items() if value not in ("only", "refuse")}
        options = {"pick": "largest", "gaps": "resample", **chosen}
    return reader.read_volume(source, **options).image


def split_reference(reference: Path | str) -> tuple[Path, str, int]:
    """``file.npz#key:index`` to (file, key, index).

    Raises:
        BadFile: the text has another form.

    Example:
        >>> split_reference("organs.npz#train_images:7")
        (PosixPath('organs.npz'), 'train_images', 7)
    """
    file, _, item = str(reference).partition("#")
    key, _, index = item.rpartition(":")
    if not key or not index.isdigit():
        raise BadFile(f"{reference} names no array item: write file.npz#key:index")
    return Path(file), key, int(index)


def _format_name(path: Path) -> str:
    name = "dicom" if path.is_dir() else format_of(path)
    if name is None and _is_zipped_twice(path):
        raise BadFile(f"{path} is compressed with gzip twice: unpack it once")
    if name is None or name == "npz":
        raise BadFile(
            f"{path} is not a PNG, JPEG, TIFF, NIfTI, MetaImage or DICOM file, or its start is damaged: restore or "
            "convert it"
        )
    return {"nifti": "nifti", "metaimage": "metaimage", "dicom": "dicom", "zip": "dicom"}.get(name, "image")


def _is_zipped_twice(path: Path) -> bool:
    try:
        return zlib.decompressobj(wbits=31).decompress(read_bytes(path, 1024), 2) == b"\x1f\x8b"
    except zlib.error:
        return False


def _reader(name: str) -> Any:
    return importlib.import_module(f"heldout.data.readers.{name}")
