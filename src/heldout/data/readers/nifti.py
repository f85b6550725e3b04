"""NIfTI volumes, checked when they are read: header, length, checksum, affine, values."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from heldout.data.image import BadFile, Image, check_labels, invertible, read_bytes
from heldout.data.memory import require_memory

MAX_BYTES = 2**33
_OFF = 0.1  # mm by which sform and qform may differ: the qform has no shear, and both are rounded
_COPIES = 2  # of the voxels: the file's bytes and their values
_SLACK = 2**22  # bytes that may follow the voxels
_HEAD = 544  # the larger of the two headers, with its four extension bytes
_MILLIMETERS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # of a spatial unit of the header; an unknown one counts as mm
_MOST_COMPRESSED = 1032  # deflate cannot shrink data further than this


def read(path: Path) -> Image:
    """Read a volume with its affine.

    Args:
        path: A NIfTI-1 or NIfTI-2 file, compressed with gzip or not.

    Returns:
        (C, X, Y, Z) in the file's own voxel order; whole numbers keep their type, others become float32. A fourth
        axis, and a fifth that holds vectors, become channels.

    Raises:
        BadFile: the file is missing, truncated, fails its checksum, claims more than it holds, has no usable affine,
            or holds NaN or infinite values.
    """
    image = _load(path)
    array = _values(path, image)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
        bad = int(array.size - np.isfinite(array).sum())
        if bad:
            raise BadFile(f"{path} holds {bad} NaN or infinite voxels: replace them, or set it aside with --skip-bad")
    array = array.reshape((*array.shape[:3], -1))
    return Image(np.moveaxis(array, -1, 0), _in_millimeters(path, image.header), note=_note(image.header))


def read_mask(path: Path) -> np.ndarray:
    """Read a label map (1, X, Y, Z) as uint8; labels may be stored as floats.

    Raises:
        BadFile: as :func:`read`; or values that are not whole numbers from 0 to 255, or several volumes.
    """
    array = read(path).array
    if len(array) > 1:
        raise BadFile(f"{path} holds {len(array)} volumes: a mask is one label map")
    check_labels(path, array)
    return array.astype(np.uint8)


def read_affine(path: Path) -> np.ndarray:
    """Affine (4, 4) in mm by the header alone; errors as :func:`read`, save for what only the voxels show."""
    return _in_millimeters(path, read_header(path)[0])


def read_header(path: Path) -> tuple[Any, Any]:
    """Header of a file, compressed or not whatever its name says, and the nibabel class of its image.

    Raises:
        BadFile: the file is missing or its header is damaged.
    """
    head = read_bytes(path, 2**16)
    return _header(path, _inflate(path, head, _HEAD) if head.startswith(b"\x1f\x8b") else head[:_HEAD])


def _load(path: Path) -> Any:
    """Parse a file whose header and stream agree."""
    raw = read_bytes(path)
    zipped = raw.startswith(b"\x1f\x8b")
    header, kind = _header(path, _inflate(path, raw, _HEAD) if zipped else raw[:_HEAD])
    expected = _expected_bytes(path, header)
    if zipped and expected > len(raw) * _MOST_COMPRESSED:
        raise BadFile(f"{path} claims {expected} bytes of voxels, more than its {len(raw)} bytes can hold: restore it")
    if expected <= len(raw) * _MOST_COMPRESSED:  # what is truncated is refused below
        require_memory(path, _COPIES * expected)
    data = _inflate(path, raw, expected + _SLACK) if zipped else raw
    if len(data) == expected + _SLACK:
        raise BadFile(f"{path} holds more data than its header claims: restore it from its source")
    if len(data) < expected:
        raise BadFile(f"{path} is truncated: {expected - len(data)} of {expected} bytes are missing; restore it")
    try:
        return kind.from_stream(io.BytesIO(data))
    except (HeaderDataError, WrapStructError, ValueError, OSError) as error:
        raise BadFile(
            f"{path} has a damaged NIfTI header ({' '.join(str(error).split())}): restore it from its source"
        ) from None


def _inflate(path: Path, raw: bytes, limit: int) -> bytes:
    """At most ``limit`` bytes of a gzip stream; one that is shorter is read to its end, where its checksum is."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return stream.read(limit)
    except EOFError:
        raise BadFile(f"{path} is truncated: its gzip stream ends early; restore it from its source") from None
    except (zlib.error, OSError) as error:
        raise BadFile(f"{path} is damaged ({' '.join(str(error).split())}): restore it from its source") from None


def _header(path: Path, head: bytes) -> tuple[Any, Any]:
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise BadFile(f"{path} is a header without voxels (.hdr/.img pair): convert the pair to one .nii.gz file")
    kind = nibabel.Nifti2Image if head[4:8] == b"n+2\0" else nibabel.Nifti1Image
    size = kind.header_class.sizeof_hdr
    try:
        header = kind.header_class(head[:size], check=False)
        header.get_data_dtype()
    except (HeaderDataError, WrapStructError, ValueError, KeyError) as error:
        raise BadFile(
            f"{path} has a damaged NIfTI header ({' '.join(str(error).split())}): restore it from its source"
        ) from None
    return header, kind


def _expected_bytes(path: Path, header: Any) -> int:
    """Length that the header claims for the file, after checking shape, type and spacing."""
    dims = [int(n) for n in header["dim"]]
    if not 3 <= dims[0] <= 5 or min(dims[1 : dims[0] + 1]) < 1:
        raise BadFile(f"{path} has the axes {dims[1 : max(dims[0], 0) + 1]}: a volume needs 3, or 4 with channels")
    if dims[0] == 5 and dims[4] != 1:
        raise BadFile(f"{path} has the axes {dims[1:6]}: split the time points into one file each")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise BadFile(f"{path} stores {dtype} voxels: convert it to whole numbers or floats")
    spacing = np.asarray(header["pixdim"][1:4], np.float64)
    if not np.isfinite(spacing).all() or (spacing == 0).any():
        raise BadFile(f"{path} has the voxel size {spacing.tolist()} mm: repair its header")
    count = 1
    for size in dims[1 : dims[0] + 1]:
        count *= size
    offset = float(header["vox_offset"])
    expected = count * dtype.itemsize + int(offset if np.isfinite(offset) and offset > 0 else header.sizeof_hdr)
    if expected > MAX_BYTES:
        raise BadFile(
            f"{path} claims {expected / 2**30:.0f} GiB of voxels: more than the {MAX_BYTES >> 30} GiB allowed"
        )
    return expected


def _in_millimeters(path: Path, header: Any) -> np.ndarray:
    """Affine (4, 4) of a header, whatever its spatial unit."""
    unit = _unit(header)
    if unit not in _MILLIMETERS:
        raise BadFile(f"{path} has the unknown spatial unit {unit}: set xyzt_units of its header to 2 (mm)")
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= _MILLIMETERS[unit]
    return affine


def _note(header: Any) -> str:
    """What has to be assumed of a header, for the report on the dataset."""
    notes = []
    if not _unit(header):
        notes.append("the header states no spatial unit (xyzt_units 0), millimeters are assumed")
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        with contextlib.suppress(HeaderDataError, ValueError):
            if not np.allclose(header.get_sform(), header.get_qform(), rtol=1e-3, atol=_OFF):
                notes.append("sform and qform of the header disagree, the sform is taken")
    return "; ".join(notes)


def _unit(header: Any) -> int:
    """Code of the spatial unit; 0 where none is stated."""
    return int(header["xyzt_units"]) & 7


def _values(path: Path, image: Any) -> np.ndarray:
    affine = image.affine
    if affine is None or not invertible(affine):
        raise BadFile(f"{path} has an affine that is not invertible: repair its header")
    array = np.asanyarray(image.dataobj)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
