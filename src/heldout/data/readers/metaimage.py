"""MetaImage volumes (``.mhd`` with a file of voxels beside it, or ``.mha``), checked when they are read.

Reference: https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from heldout.data.image import BadFile, Image, check_labels, invertible, read_bytes
from heldout.data.memory import require_memory

MAX_BYTES = 2**33
_HEAD = 2**16  # bytes in which the header must end
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_LAST = "ElementDataFile"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # of a file's millimeters to those of RAS+, and back
_DAMAGED = "restore it from its source"


@dataclass(frozen=True)
class MetaImageHeader:
    """What a file says of its voxels.

    Attributes:
        path: The file.
        fields: Texts by their names.
        shape: (X, Y, Z).
        channels: Values per voxel.
        dtype: Of the values, with their byte order.
        start: Bytes of the header.
    """

    path: Path
    fields: dict[str, str]
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype
    start: int

    @property
    def bytes(self) -> int:
        """Length of the voxels, not compressed."""
        return math.prod(self.shape) * self.channels * self.dtype.itemsize

    def is_true(self, name: str) -> bool:
        """Whether a field says so."""
        return self.fields.get(name, "False").casefold() == "true"

    def numbers(self, name: str, count: int, default: float) -> np.ndarray:
        """Numbers of a field, or defaults where it is not there.

        Raises:
            BadFile: there are not so many, or they are not finite.
        """
        words = self.fields.get(name, " ".join([str(default)] * count)).split()
        try:
            found = np.array([float(word) for word in words])
        except ValueError:
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise BadFile(f"{self.path} has {name} = {self.fields.get(name)!r}: it must be {count} numbers; {_DAMAGED}")
        return found


def read(path: Path) -> Image:
    """Read a volume with its affine.

    Returns:
        (C, X, Y, Z) in the file's own voxel order; whole numbers keep their type, others become float32.

    Raises:
        BadFile: the file or its voxels are missing, truncated or damaged, claim too much, or are not finite.
    """
    header = read_header(path)
    require_memory(path, 2 * header.bytes)
    values = np.frombuffer(_voxels(header), header.dtype, math.prod(header.shape) * header.channels)
    array = values.reshape((*header.shape[::-1], header.channels)).transpose(3, 2, 1, 0)
    array = array.astype(np.float32 if header.dtype.kind == "f" else header.dtype.newbyteorder("="))
    if header.dtype.kind == "f" and (bad := int(array.size - np.isfinite(array).sum())):
        raise BadFile(f"{path} holds {bad} NaN or infinite voxels: replace them, or set it aside with --skip-bad")
    return Image(np.ascontiguousarray(array), affine_of(header))


def read_mask(path: Path) -> np.ndarray:
    """Read a label map (1, X, Y, Z) as uint8.

    Raises:
        BadFile: as :func:`read`; or values that are not whole numbers from 0 to 255, or several per voxel.
    """
    array = read(path).array
    if len(array) > 1:
        raise BadFile(f"{path} holds {len(array)} values per voxel: a mask is one label map")
    check_labels(path, array)
    return array.astype(np.uint8)


def read_header(path: Path) -> MetaImageHeader:
    """Read the header alone.

    Raises:
        BadFile: the file is missing, or its header is damaged or claims what is not read.
    """
    head = read_bytes(path, _HEAD)
    fields, start = dict[str, str](), 0
    while _LAST not in fields:
        end = head.find(b"\n", start)
        name, equals, value = head[start : end if end >= 0 else len(head)].decode("latin-1").partition("=")
        if not equals or (end < 0 and name.strip() != _LAST):
            raise BadFile(f"{path} has a damaged MetaImage header, without {_LAST}: {_DAMAGED}")
        fields[name.strip()] = value.strip()
        start = end + 1 if end >= 0 else len(head)
    kind, axes = fields.get("ElementType", ""), fields.get("NDims", "")
    if kind not in _TYPES:
        raise BadFile(f"{path} stores {kind or 'no ElementType'}: convert it to one of {', '.join(_TYPES)}")
    sides = fields.get("DimSize", "").split()
    if axes != "3" or len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
        raise BadFile(f"{path} has NDims = {axes!r} and DimSize = {fields.get('DimSize')!r}: a volume has three axes")
    channels = fields.get("ElementNumberOfChannels", "1")
    if not channels.isdigit() or not int(channels):
        raise BadFile(f"{path} has ElementNumberOfChannels = {channels!r}: {_DAMAGED}")
    large = any(fields.get(name, "").casefold() == "true" for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    dtype = np.dtype((">" if large else "<") + _TYPES[kind])
    header = MetaImageHeader(path, fields, (int(sides[0]), int(sides[1]), int(sides[2])), int(channels), dtype, start)
    if header.bytes > MAX_BYTES:
        raise BadFile(
            f"{path} claims {header.bytes / 2**30:.0f} GiB of voxels: more than the {MAX_BYTES >> 30} GiB allowed"
        )
    if fields.get("BinaryData", "True").casefold() == "false":
        raise BadFile(f"{path} stores its voxels as text: convert it")
    return header


def read_affine(path: Path) -> np.ndarray:
    """Affine (4, 4) by the header alone, voxel indices to RAS+ millimeters; errors as :func:`read_header`."""
    return affine_of(read_header(path))


def affine_of(header: MetaImageHeader) -> np.ndarray:
    """Affine (4, 4) of a header: its rows of TransformMatrix are the directions of the axes.

    Raises:
        BadFile: it spans no space.
    """
    names = header.fields
    turn = next((name for name in ("TransformMatrix", "Rotation", "Orientation") if name in names), "TransformMatrix")
    place = next((name for name in ("Offset", "Position", "Origin") if name in names), "Offset")
    axes = header.numbers(turn, 9, 0).reshape(3, 3) if turn in names else np.eye(3)
    spacing = "ElementSpacing" if "ElementSpacing" in names else "ElementSize"
    affine = np.eye(4)
    affine[:3, :3] = axes.T * header.numbers(spacing, 3, 1)
    affine[:3, 3] = header.numbers(place, 3, 0)
    if not invertible(affine):
        raise BadFile(f"{header.path} has axes or voxel sizes that span no space: repair its header")
    return _LPS @ affine


def voxel_file(header: MetaImageHeader) -> Path:
    """The file that holds the voxels, which may be that of the header.

    Raises:
        BadFile: there is one for each slice, or it lies elsewhere.
    """
    path, name = header.path, header.fields[_LAST]
    if name.upper().startswith("LIST") or "%" in name:
        raise BadFile(f"{path} has a file for each slice ({_LAST} = {name}): convert it to one file")
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts:
        raise BadFile(f"{path} names voxels outside of its folder ({name}): put the file beside it")
    return path if name.upper() == "LOCAL" else path.parent / place


def _voxels(header: MetaImageHeader) -> bytes:
    """The voxels of a file, as they are in memory."""
    path, source = header.path, voxel_file(header)
    local = source == path
    packed = header.is_true("CompressedData")
    if not local and not source.is_file():
        raise BadFile(f"{path} lacks its voxels, {source.name}: put the file beside it")
    data = read_bytes(source)[header.start if local else 0 :]
    if packed:
        try:
            data = zlib.decompressobj().decompress(data, header.bytes + 1)
        except zlib.error as error:
            raise BadFile(f"{source} is damaged ({error}): {_DAMAGED}") from None
    skipped = header.fields.get("HeaderSize", "0")
    if skipped not in ("0", "-1"):
        data = data[int(skipped) :] if skipped.isdigit() else data
    if skipped == "-1":
        data = data[max(0, len(data) - header.bytes) :]
    if len(data) != header.bytes:
        what = "is truncated" if len(data) < header.bytes else "holds more than its header claims"
        raise BadFile(f"{source} {what}: {len(data)} of {header.bytes} bytes; {_DAMAGED}")
    return data
