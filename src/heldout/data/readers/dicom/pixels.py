"""From slices to one array: read or decoded in parallel, rescaled slice by slice (PS3.3 C.7.6.3, C.11.1)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np

from heldout.data.image import BadFile
from heldout.data.memory import require_memory
from heldout.data.parallel import cores
from heldout.data.readers.dicom.blobs import MAX_BYTES
from heldout.data.readers.dicom.codecs import COMPRESSED, decode
from heldout.data.readers.dicom.fragments import frames_of
from heldout.data.readers.dicom.header import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Header, inflate
from heldout.data.readers.dicom.slices import Pixels, Slice
from heldout.data.readers.dicom.tags import named

_NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
_SLACK = 1 << 16  # bytes that may follow the pixels of a deflated object


def load(slices: Sequence[Slice], workers: int | None = None) -> np.ndarray:
    """Values of all slices, rescaled.

    Args:
        slices: Of one shape, in their order.
        workers: Threads; None takes the processor's cores. The result does not depend on it.

    Returns:
        (samples, n, rows, columns); the smallest of int16, uint16 and int32 (for 8 bits uint8) that any value of the
        headers' bits and rescale can have, float32 where a slope or an intercept is not a whole number.

    Raises:
        BadFile: pixels are truncated, cannot be decoded or are not numbers, or there are too many.
    """
    first = slices[0].pixels
    dtype = value_type(slices)
    shape = (len(slices), first.rows, first.columns, first.samples)
    total = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if total > MAX_BYTES:
        raise BadFile(
            f"{slices[0].header.name} and its series have {len(slices)} slices of {first.rows} x {first.columns}, "
            f"{total >> 30} GiB: more than the {MAX_BYTES >> 30} GiB allowed; leave some out"
        )
    require_memory(f"{slices[0].header.name} and its series", total)
    out = np.empty(shape, dtype)
    jobs = _jobs(slices, out)
    threads = min(workers or cores(), len(jobs))
    if threads <= 1:
        for job in jobs:
            job()
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(job) for job in jobs]:
                    future.result()
            except BadFile:
                pool.shutdown(cancel_futures=True)
                raise
    return np.moveaxis(out, -1, 0)


def load_slice(one: Slice) -> np.ndarray:
    """Values (samples, rows, columns) of one slice, as :func:`load` gives them."""
    return load([one], 1)[:, 0]


def stored_bytes(one: Slice) -> bytes:
    """Bytes of a slice as its file holds them, by which copies are told from different images."""
    if one.header.syntax in COMPRESSED:
        return frames_of(one.header, one.frames)[one.frame]
    frame = np.empty(one.pixels.frame_bytes, np.uint8)
    _read_native(one, frame)
    return frame.tobytes()


def value_type(slices: Sequence[Slice]) -> np.dtype:
    """Type that holds every value which the headers allow."""
    low, high = 0.0, 0.0
    for one in slices:
        slope, intercept = one.rescale
        if one.pixels.real or slope != int(slope) or intercept != int(intercept):
            return np.dtype(np.float32)
        ends = [limit * slope + intercept for limit in one.pixels.limits]
        low, high = min(low, *ends), max(high, *ends)
    for kind in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def _jobs(slices: Sequence[Slice], out: np.ndarray) -> list[Callable[[], None]]:
    """One piece of work per slice; the frames of a compressed multi-frame object are split up once."""
    jobs: list[Callable[[], None]] = []
    order = sorted(range(len(slices)), key=lambda n: (slices[n].header.name, slices[n].frame))
    for _, same in groupby(order, key=lambda n: slices[n].header.name):
        numbers = list(same)
        one = slices[numbers[0]]
        codes = _split(one) if one.frames > 1 else None
        for n in numbers:
            jobs.append(functools.partial(_fill, slices[n], out[n], codes[slices[n].frame] if codes else None))
    return jobs


def _split(one: Slice) -> list[bytes] | None:
    """All frames of a compressed or deflated object, which cannot be opened in the middle."""
    if one.header.syntax in COMPRESSED:
        return frames_of(one.header, one.frames)
    if not one.header.start:
        return None
    start, width = one.header.pixel_data[1], one.pixels.frame_bytes
    data = inflated(one.header, start + one.frames * width)
    return [data[start + n * width : start + (n + 1) * width] for n in range(one.frames)]


def _fill(one: Slice, target: np.ndarray, code: bytes | None) -> None:
    """Put the values of a slice into ``target`` (rows, columns, samples)."""
    pixels, syntax = one.pixels, one.header.syntax
    if syntax in COMPRESSED:
        code = code if code is not None else frames_of(one.header, 1)[0]
        stored = decode(one.name, syntax, code, pixels).reshape(target.shape)
    elif syntax in _NATIVE:
        if pixels.photometric == "YBR_FULL_422":
            raise BadFile(f"{one.name} stores YBR_FULL_422 without compression, which is not read: convert it to RGB")
        direct = target.dtype.itemsize == pixels.dtype.itemsize and target.dtype.kind in "iu"
        stored = target.view(pixels.dtype) if direct else np.empty(target.shape, pixels.dtype)
        _read_native(one, stored.reshape(-1).view(np.uint8), code)
        if syntax == BIG_ENDIAN and pixels.allocated > 8:
            stored.byteswap(inplace=True)
        if pixels.planar and pixels.samples > 1:
            stored[...] = np.moveaxis(stored.reshape(pixels.samples, *target.shape[:2]).copy(), 0, -1)
    else:
        raise BadFile(
            f"{one.name} has {named('TransferSyntaxUID')} = {syntax}, which is not read: convert it, for instance "
            f"to explicit VR little endian"
        )
    _write(one, _used_bits(stored, pixels), target)


def _used_bits(stored: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Samples without the content of their unused bits, such as overlays of old scanners; signs are extended."""
    low, high = pixels.limits
    if pixels.real or pixels.stored == pixels.allocated:
        return stored
    shift = pixels.high + 1 - pixels.stored
    if not shift and stored.max() <= high and (not pixels.signed or stored.min() >= low):
        return stored
    above = pixels.allocated - pixels.stored - shift
    return (stored << above) >> (above + shift)


def _write(one: Slice, stored: np.ndarray, target: np.ndarray) -> None:
    """Rescale stored samples into ``target``, whose memory they may share; MONOCHROME1 is mirrored."""
    pixels, (slope, intercept) = one.pixels, one.rescale
    if pixels.photometric == "YBR_FULL" and one.header.syntax in _NATIVE:
        from pydicom.pixels import convert_color_space

        stored = convert_color_space(stored, "YBR_FULL", "RGB")
    if pixels.photometric == "MONOCHROME1":
        # The smallest stored value is shown white: mirror the range, as PS3.3 C.7.6.3.1.2 has it shown.
        intercept, slope = intercept + slope * sum(pixels.limits), -slope
    if target.dtype.kind == "f":
        np.multiply(stored, np.float32(slope), out=target, casting="unsafe")
        target += np.float32(intercept)
        if pixels.real and not np.isfinite(target).all():
            raise BadFile(f"{one.name} holds NaN or infinite pixels: replace them, or leave it out")
        return
    same = np.may_share_memory(stored, target)
    values = target if same else stored.astype(target.dtype)
    # Whole numbers wrap around as two's complement does, so only the result has to fit, and it does.
    if slope != 1:
        values *= np.int64(slope).astype(target.dtype)
    if intercept:
        values += np.int64(intercept).astype(target.dtype)
    if not same:
        target[...] = values


def _read_native(one: Slice, target: np.ndarray, frame: bytes | None = None) -> None:
    """Fill ``target`` (uint8) with the bytes of an uncompressed frame, which are read unless they are given."""
    header = one.header
    offset = header.pixel_data[1] + one.frame * one.pixels.frame_bytes
    if header.start and frame is None:
        frame = inflated(header, offset + len(target))[offset : offset + len(target)]
    if frame is not None:
        target[: len(frame)] = np.frombuffer(frame, np.uint8)
        found = len(frame)
    else:
        found = header.blob.read_into(offset, target.data)
    if found < len(target):
        raise BadFile(
            f"{one.name} is truncated: {len(target) - found} of {len(target)} bytes of its {named('PixelData')} are "
            f"missing; restore it from its source"
        )


def inflated(header: Header, needed: int) -> bytes:
    """The data set of a deflated object, up to ``needed`` bytes."""
    return inflate(header.blob, header.blob.read(header.start, header.size), needed + _SLACK)
