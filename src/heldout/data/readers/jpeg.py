"""How much of a JPEG was really stored.

A decoder fills what a truncated file lacks with mid-gray (libjpeg's blocks of zero coefficients), so a padded image
looks fine to a program and odd to a network. Here the pixels that exist are told apart from the filling by decoding
again with other bytes where the data end: pixels that were stored do not notice.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from heldout.data.image import BadFile

# What Pillow raises for damaged files, by experience with random damage.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    Pillow.DecompressionBombError,
)
MAX_PIXELS = 2**26  # 8192 x 8192: in color, with the copies that decoding makes, below 1 GB
_END = b"\xff\xd9"
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ONE_PASS = frozenset({0xC0, 0xC1})
# Two fillings of other bits, with restart markers for images that use them.
_FILLINGS = tuple(
    b"".join(bytes([byte]) * 64 + b"\xff" + bytes([0xD0 + n % 8]) for n in range(64)) for byte in (0x00, 0x5A)
)


def decode(path: Path, data: bytes) -> tuple[Pillow.Image, int]:
    """Decode a JPEG.

    Args:
        path: For messages.
        data: The file's bytes.

    Returns:
        The image, not yet rotated, and how many of its rows, from the top, were stored. What a decoder adds below
        them is not data.

    Raises:
        BadFile: the file is damaged in a way that does not say which rows are left.
    """
    end, one_pass, complete = _scans(data)
    if end is None:
        raise BadFile(f"{path} is truncated before its first row of pixels: restore it from its source")
    if not one_pass and not complete:
        raise BadFile(f"{path} is a truncated progressive JPEG: no row of it is complete, restore it from its source")
    if not one_pass:
        return _open(path, data), _open(path, data).height
    body = data[:end].rstrip(b"\xff")
    opened = _open(path, body + _END)
    if complete and not _ends_gray(opened):
        return opened, opened.height
    pixels = np.asarray(opened)
    stored = min(_equal_rows(pixels, np.asarray(_open(path, body + filling + _END))) for filling in _FILLINGS)
    return opened, stored


def _scans(data: bytes) -> tuple[int | None, bool, bool]:
    """Walk the markers: end of the last scan's data (or None), whether one pass holds everything, whether it ended."""
    position, scans, progressive, end = 2, 0, False, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == _END[1]:
            return end, scans == 1 and not progressive, True
        progressive |= marker in _START_OF_FRAME and marker not in _ONE_PASS
        position += 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
        if marker == 0xDA:
            scans += 1
            following = _NEXT_MARKER.search(data, position)
            if following is None:
                return len(data) if position < len(data) else None, scans == 1 and not progressive, False
            end = position = following.start()
    complete = data[position : position + 2] == _END
    return end, scans == 1 and not progressive, complete


def open_checked(path: Path, source: Path | io.BytesIO, formats: tuple[str, ...]) -> Pillow.Image:
    """Open an image without decoding it, and check its size before memory is taken for its pixels.

    Raises:
        BadFile: it has more than ``MAX_PIXELS`` pixels, or lacks the data of a tag.
    """
    size = None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            opened = Pillow.open(source, formats=formats)
            size = opened.size
        except Pillow.DecompressionBombError:
            pass
    lost = next((str(one.message) for one in seen if "Skipping tag" in str(one.message)), "")
    if lost:
        raise BadFile(f"{path} is damaged ({lost}): restore it from its source")
    if size is None or size[0] * size[1] > MAX_PIXELS:
        if size is not None:
            opened.close()
        raise BadFile(
            f"{path} has {' x '.join(map(str, size)) if size else 'too many'} pixels, more than the {MAX_PIXELS} "
            f"allowed: scale it down, or cut it into tiles"
        )
    return opened


def _open(path: Path, data: bytes) -> Pillow.Image:
    try:
        opened = open_checked(path, io.BytesIO(data), ("JPEG",))
        opened.load()
    except BadFile:
        raise
    except DECODER_ERRORS as error:
        raise BadFile(f"{path} cannot be decoded ({error}): restore it from its source") from None
    return opened


def _ends_gray(opened: Pillow.Image) -> bool:
    """Whether the last block is the flat mid-gray of missing data."""
    width, height = opened.size
    corner = np.asarray(opened.crop((max(width - 8, 0), max(height - 8, 0), width, height)), np.int16)
    return bool((np.abs(corner - 128) <= 1).all())


def _equal_rows(first: np.ndarray, second: np.ndarray) -> int:
    """Number of rows before the first that differs."""
    differs = (first != second).reshape(len(first), -1).any(axis=1)
    return int(differs.argmax()) if differs.any() else len(first)
