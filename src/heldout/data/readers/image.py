"""PNG, JPEG, TIFF and GIF images: as displayed, without alpha, one channel where they are gray."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow

from heldout.data.image import BadFile, Image, check_labels, read_bytes
from heldout.data.readers import jpeg

_ORIENTATION = 0x0112
_GRAY16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_GRAY = ("1", "L", "LA", "La")
_PALETTE = ("P", "PA")
_KEPT = (*_GRAY16, *_PALETTE, "F")  # modes whose values Pillow keeps at any depth
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


def read(path: Path, *, salvage: bool = False) -> Image:
    """Read an image as a viewer shows it: rotated as its EXIF data say, its palette applied.

    Args:
        path: A PNG, JPEG, TIFF or GIF file under any name.
        salvage: Return the rows of a truncated JPEG that were stored, and in ``lost`` what is missing, instead of
            refusing the file. Meant for prediction: training on such files would teach the damage.

    Returns:
        (1, H, W) where red, green and blue agree everywhere, else (3, H, W); uint8 or uint16, or float32 of a TIFF
        of floats.

    Raises:
        BadFile: the file is missing, damaged, or holds no single finite image.
    """
    data = read_bytes(path)
    if not data.startswith(b"\xff\xd8"):
        return Image(_channels_first(path, _decode(path, data)))
    pillow, stored = jpeg.decode(path, data)
    missing = pillow.height - stored
    if missing and not salvage:
        raise BadFile(
            f"{path} is truncated: {missing} of its {pillow.height} rows are missing; restore it from its source, "
            f"or set it aside with --skip-bad"
        )
    if not stored:
        raise BadFile(f"{path} is truncated: none of its {pillow.height} rows is left; restore it from its source")
    orientation = _orientation(pillow)
    array = _channels_first(path, _orient(_pixels(path, pillow)[:stored], orientation))
    return Image(array, lost=_lost(pillow.height, stored, orientation) if missing else None)


def read_mask(path: Path, *, binary: bool = True) -> np.ndarray:
    """Read a label map (1, H, W) as uint8; palette indices as labels; 0/255 becomes 0/1 if ``binary``.

    Raises:
        BadFile: the file is damaged, holds colors, or values above 255.
    """
    data = read_bytes(path)
    array = read(path).array if data.startswith(b"\xff\xd8") else _channels_first(path, _decode(path, data, mask=True))
    if len(array) > 1:
        raise BadFile(f"{path} is a color image: store the mask as gray values, one per class")
    check_labels(path, array)
    values = np.unique(array)
    scale = _scale_of_few_bits(data)
    if scale > 1 and not (binary and np.isin(values, (0, 255)).all()):
        return (array // scale).astype(np.uint8)
    if np.isin(values, (0, 255)).all():
        return (array > 0 if binary else array).astype(np.uint8)
    if data.startswith(b"\xff\xd8"):
        raise BadFile(f"{path} is a JPEG, which blurs label values: store the mask as PNG")
    return array.astype(np.uint8)


def displayed_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as displayed, from its header alone.

    Raises:
        BadFile: the file is missing or its header is damaged.
    """
    try:
        with jpeg.open_checked(path, path, ("JPEG", "PNG", "TIFF", "GIF")) as pillow:
            width, height = pillow.size
            turned = pillow.format != "TIFF" and _orientation(pillow) >= 5
    except BadFile:
        raise
    except jpeg.DECODER_ERRORS as error:
        raise BadFile(f"{path} cannot be opened as an image ({error}): restore it from its source") from None
    return (width, height) if turned else (height, width)


def _decode(path: Path, data: bytes, *, mask: bool = False) -> np.ndarray:
    """Decode a PNG, TIFF or GIF to (H, W) or (H, W, 3) as displayed."""
    if data.startswith(b"\x89PNG"):
        _check_png(path, data)
    try:
        with jpeg.open_checked(path, io.BytesIO(data), ("PNG", "TIFF", "GIF")) as pillow, _without_warnings():
            pages = 1 if pillow.format == "PNG" else getattr(pillow, "n_frames", 1)
            if pages > 1:
                raise BadFile(f"{path} holds {pages} pages: split it into one file per image, or into a NIfTI volume")
            narrowed = pillow.mode not in _KEPT and _bits(pillow, data) > 8
            pillow.load()
            orientation = _orientation(pillow)
            if not narrowed:
                indices = mask and pillow.mode in _PALETTE
                if mask and pillow.mode in ("LA", "RGBA"):
                    _check_alpha(path, pillow)
                return _orient(_indices(pillow) if indices else _pixels(path, pillow), orientation)
    except BadFile:
        raise
    except Pillow.UnidentifiedImageError:
        raise BadFile(
            f"{path} stores its pixels in a way that is not read, or its header is damaged: save it again as PNG or "
            f"TIFF of 8 or 16 bits"
        ) from None
    except jpeg.DECODER_ERRORS as error:
        raise BadFile(f"{path} cannot be decoded ({error}): restore it from its source") from None
    # Pillow cuts colors of 16 bits to 8; OpenCV keeps them, and rotates the image by itself.
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if array is None:
        raise BadFile(f"{path} cannot be decoded: restore it from its source")
    return array[..., ::-1]


def _bits(pillow: Any, data: bytes) -> int:
    """Bits of a sample, as the file stores it."""
    if pillow.format == "PNG":
        return data[24]  # of IHDR, which comes first
    return max(pillow.tag_v2.get(_BITS_PER_SAMPLE, (1,))) if pillow.format == "TIFF" else 8


def _scale_of_few_bits(data: bytes) -> int:
    """By what a decoder multiplies the samples of a gray PNG or TIFF of 2 or 4 bits; 1 for other files."""
    bits, gray = data[24], data[25] == 0  # of IHDR, which comes first in a PNG
    if not data.startswith(b"\x89PNG"):
        with Pillow.open(io.BytesIO(data)) as pillow:
            bits, gray = _bits(pillow, data), pillow.mode in _GRAY
    return 255 // (2**bits - 1) if gray and bits in (2, 4) else 1


def _check_alpha(path: Path, pillow: Pillow.Image) -> None:
    """Refuse a mask whose one color is shown in some places and transparent in others: alpha is not read."""
    *colors, (low, high) = pillow.getextrema()  # type: ignore[misc]
    if low != high and all(first == last for first, last in colors):  # type: ignore[misc]
        raise BadFile(f"{path} is of one color and holds its mask as transparency: store the mask as gray values")


def _indices(pillow: Pillow.Image) -> np.ndarray:
    """Palette indices (H, W)."""
    return np.asarray(pillow if pillow.mode == "P" else pillow.getchannel("P"))


def _pixels(path: Path, pillow: Any) -> np.ndarray:
    """Values (H, W) or (H, W, 3) of a decoded image, without alpha."""
    if pillow.mode in _GRAY16:
        values = np.asarray(pillow).astype(np.int64)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise BadFile(f"{path} holds values outside 0 ... 65535: store the image with 8 or 16 bits")
        if pillow.format == "TIFF" and pillow.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns 8 bits only
            bits = max(pillow.tag_v2.get(_BITS_PER_SAMPLE, (16,)))
            values = 2 ** min(bits, 16) - 1 - values
        return values.astype(np.uint16)
    if pillow.mode == "F":
        return np.asarray(pillow)
    return np.asarray(pillow.convert("L" if pillow.mode in _GRAY else "RGB"))


def _channels_first(path: Path, array: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) to (1 or 3, H, W), one channel where all three agree."""
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise BadFile(f"{path} holds NaN or infinite values: replace them, or set the file aside with --skip-bad")
    if array.ndim == 3:
        first = array[..., :1]
        array = first[..., 0] if (array == first).all() else array
    return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def _orientation(pillow: Any) -> int:
    """EXIF orientation 1 ... 8; 1 where the EXIF data are damaged, as viewers show it."""
    with _without_warnings(), contextlib.suppress(*jpeg.DECODER_ERRORS):
        found = pillow.getexif().get(_ORIENTATION)
        return found if found in range(1, 9) else 1
    return 1


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of damage to what is not used: EXIF data, further pages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _orient(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored rows and columns into displayed ones, by the EXIF orientation 1 ... 8."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _lost(height: int, stored: int, orientation: int) -> tuple[tuple[int, int], ...]:
    """Where the missing rows of the stored image lie in the displayed one: (before, after) per axis."""
    axis = 1 if orientation >= 5 else 0
    flipped = orientation in ((2, 3, 6, 7) if axis else (3, 4, 7, 8))
    missing = (height - stored, 0) if flipped else (0, height - stored)
    return ((0, 0), missing) if axis else (missing, (0, 0))


def _check_png(path: Path, data: bytes) -> None:
    """Check every chunk against its CRC, which decoders skip for pixel data."""
    position = 8
    while position + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        content_end = position + 8 + length
        if content_end + 4 > len(data):
            break
        if zlib.crc32(data[position + 4 : content_end]) != struct.unpack(">I", data[content_end : content_end + 4])[0]:
            shown = name.decode() if name.isalpha() and name.isascii() else "damaged"
            raise BadFile(f"{path} is damaged: a {shown} chunk fails its checksum; restore the file")
        if name == b"IEND":
            return
        position = content_end + 4
    raise BadFile(f"{path} is truncated: its last chunk is missing; restore it from its source")
