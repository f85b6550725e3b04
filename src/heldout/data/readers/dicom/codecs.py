"""Decoding of one compressed frame (PS3.5 annex A.4).

The decoders of imagecodecs let other threads run meanwhile, which those that pydicom finds do not; where imagecodecs
is not installed, pydicom's take over.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from heldout.data.image import BadFile
from heldout.data.readers.dicom.header import RLE
from heldout.data.readers.dicom.slices import Pixels
from heldout.data.readers.dicom.tags import named
from heldout.signals import Terminated

_BASE = "1.2.840.10008.1.2."
JPEG = tuple(_BASE + end for end in ("4.50", "4.51", "4.57", "4.70"))
JPEG_LS = tuple(_BASE + end for end in ("4.80", "4.81"))
JPEG_2000 = tuple(_BASE + end for end in ("4.90", "4.91", "4.201", "4.202", "4.203"))
COMPRESSED = (*JPEG, *JPEG_LS, *JPEG_2000, RLE)
_LONGEST_RUN = 128  # bytes
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def decode(name: str, syntax: str, data: bytes, pixels: Pixels) -> np.ndarray:
    """Decode one frame.

    Args:
        name: File and frame, for messages.
        syntax: Transfer syntax UID.
        data: The frame's code stream.
        pixels: How the header describes it.

    Returns:
        (rows, columns) or (rows, columns, samples) of ``pixels.dtype``; YBR colors become RGB where the code stream
        itself transforms colors.

    Raises:
        BadFile: the code stream is damaged, of an unknown kind, or of another size than the header says.
    """
    precision, signed = pixels.stored, pixels.signed
    if syntax != RLE:
        precision, signed = _check_size(name, data, pixels)
    problems = []
    for decoder in _decoders(syntax):
        try:
            array = np.asarray(decoder(data, pixels, precision))
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
            continue
        wanted = (pixels.rows, pixels.columns, pixels.samples)[: 2 + (pixels.samples > 1)]
        if array.size == np.prod(wanted):
            return _as_stored(array.reshape(wanted), pixels, precision, signed)
        problems.append(f"it gives {array.shape} instead of {wanted}")
    text = " ".join(problems[0].split())[:160] if problems else "no decoder is installed"
    raise BadFile(f"{name} has {named('PixelData')} that cannot be decoded ({text}): restore it from its source")


def _as_stored(array: np.ndarray, pixels: Pixels, precision: int, signed: bool) -> np.ndarray:
    """Bring decoded samples to the type that the header names; two's complement of ``precision`` bits is extended."""
    if not pixels.signed or signed or array.dtype.kind == "i":
        return array.astype(pixels.dtype, copy=False)
    spare = pixels.allocated - precision
    return (array.astype(pixels.dtype) << spare) >> spare


@functools.lru_cache(maxsize=32)
def _decoders(syntax: str) -> tuple[Callable[[bytes, Pixels, int], Any], ...]:
    """Decoders of a syntax, the fastest first."""
    return _own(syntax) or (functools.partial(_pydicom, syntax),)


def _own(syntax: str) -> tuple[Callable[[bytes, Pixels, int], Any], ...]:
    try:
        import imagecodecs as library
    except ImportError:
        return ()
    if syntax in JPEG_2000:
        return (_plain(library.jpeg2k_decode, numthreads=1),)
    if syntax in JPEG_LS:
        return (_plain(library.jpegls_decode),)
    if syntax in JPEG:
        # libjpeg-turbo; the decoders made for lossless JPEG alone crash on damaged code streams.
        return (functools.partial(_jpeg, library.jpeg8_decode),)
    return (functools.partial(_rle, library.packbits_decode),)


def _plain(function: Callable[..., Any], **options: Any) -> Callable[[bytes, Pixels, int], Any]:
    """A decoder that needs to know no more than the code stream says."""
    return lambda data, *_: function(data, **options)


def _jpeg(function: Callable[..., Any], data: bytes, pixels: Pixels, _: int) -> np.ndarray:
    """A JPEG whose colors are what the DICOM header says, not what a decoder guesses."""
    return function(data, colorspace="RGB", outcolorspace="RGB") if pixels.photometric == "RGB" else function(data)


def _rle(unpack: Callable[..., bytes | bytearray], data: bytes, pixels: Pixels, _: int) -> np.ndarray:
    """Run-length segments, one per byte of a sample, the most significant first (PS3.5 annex G)."""
    width, area = pixels.allocated // 8, pixels.rows * pixels.columns
    count, *offsets = struct.unpack_from("<16I", data)
    if count != width * pixels.samples:
        raise ValueError(f"{count} segments instead of {width * pixels.samples}")
    ends = [*offsets[1:count], len(data)]
    out = np.empty((area, pixels.samples, width), np.uint8)
    for number, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        if not 64 <= start < end <= len(data):
            raise ValueError("a segment lies outside the frame")
        # a segment that would give more than a plane and its last run ends in an error, not in memory
        plane = np.frombuffer(unpack(data[start:end], out=np.empty(area + _LONGEST_RUN, np.uint8)), np.uint8)
        if len(plane) < area:
            raise ValueError(f"a segment holds {len(plane)} of {area} bytes")
        out[:, number // width, width - 1 - number % width] = plane[:area]
    return out.reshape(area, -1).view(f"<u{width}")


def _pydicom(syntax: str, data: bytes, pixels: Pixels, precision: int) -> np.ndarray:  # noqa: ARG001
    from pydicom.pixels import get_decoder

    decoder = get_decoder(syntax)
    try:
        options: Any = dict(  # noqa: C408 - the keywords of the decoder
            rows=pixels.rows,
            columns=pixels.columns,
            samples_per_pixel=pixels.samples,
            number_of_frames=1,
            bits_allocated=pixels.allocated,
            bits_stored=pixels.stored,
            pixel_representation=int(pixels.signed),
            photometric_interpretation=pixels.photometric,
            planar_configuration=int(pixels.planar),
            pixel_keyword="PixelData",
        )
        array, _ = decoder.as_array(_encapsulated(data), index=0, **options)
    except BaseException as error:  # a panic of a decoder in Rust is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | Terminated):
            raise
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return array


def _encapsulated(data: bytes) -> bytes:
    from pydicom.encaps import encapsulate

    return encapsulate([bytes(data)], has_bot=False)


def _check_size(name: str, data: bytes, pixels: Pixels) -> tuple[int, bool]:
    """Precision of a code stream, and whether it says that samples are signed.

    Raises:
        BadFile: it has no header, or other rows, columns or samples than the DICOM header: a decoder would believe it.
    """
    found = _jpeg_2000_size(data) if b"\xff\x4f\xff\x51" in data[:256] else _jpeg_size(data)
    if found is None:
        raise BadFile(f"{name} has {named('PixelData')} without a code stream header: restore it from its source")
    rows, columns, samples, precision, signed = found
    if (rows, columns, samples) != (pixels.rows, pixels.columns, pixels.samples) or precision > pixels.allocated:
        raise BadFile(
            f"{name} says {pixels.rows} x {pixels.columns} x {pixels.samples} of {pixels.allocated} bits, but its "
            f"{named('PixelData')} {rows} x {columns} x {samples} of {precision}: restore it from its source"
        )
    return precision, signed


def _jpeg_size(data: bytes) -> tuple[int, int, int, int, bool] | None:
    position = 2
    while data[:2] == b"\xff\xd8" and position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 4)
            return rows, columns, samples, precision, False
        position += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int, int, int, bool] | None:
    start = data[:256].find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 45 > len(data):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    samples, kind = struct.unpack_from(">HB", data, start + 40)
    return bottom - top, right - left, samples, (kind & 0x7F) + 1, bool(kind & 0x80)
