"""Arrays to few bytes and back, without loss."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from heldout.data.records import PackedArray
from heldout.errors import UserError

_EFFORT = 5  # of JPEG XL: 7 takes three times as long and saves one per cent
_LARGEST = 1 << 31  # bytes of an array: more is not a case of a dataset, but a damaged description


def encode(array: np.ndarray) -> tuple[bytes, PackedArray]:
    """Compress an array.

    Images of one or three channels of bytes become JPEG XL (ISO/IEC 18181), two fifths the size of what general
    compressors make of X-rays; everything else becomes a Blosc2 frame with zstd.

    Args:
        array: Such as (C, *S), uint8 or float16.

    Returns:
        The bytes, and what :func:`decode` needs besides: codec, shape and type.
    """
    array = np.ascontiguousarray(array)
    shape, dtype = array.shape, array.dtype.str
    if array.ndim == 3 and array.dtype == np.uint8 and len(array) in (1, 3) and min(array.shape) > 0:
        import imagecodecs

        channels_last = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
        data = imagecodecs.jpegxl_encode(np.ascontiguousarray(channels_last), lossless=True, effort=_EFFORT)
        return bytes(data), PackedArray(codec="jpegxl", shape=shape, dtype=dtype)
    import blosc2

    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 9, "nthreads": 1}
    return blosc2.asarray(array, cparams=settings).to_cframe(), PackedArray(codec="blosc2", shape=shape, dtype=dtype)


def decode(data: bytes, about: PackedArray, where: str) -> np.ndarray:
    """Inverse of :func:`encode`.

    Args:
        data: The bytes.
        about: What :func:`encode` gave beside them.
        where: What the array is, for messages.

    Raises:
        UserError: the bytes are damaged or encode another array; known before anything of its size is allocated.
    """
    try:
        shape, dtype = about.shape, np.dtype(about.dtype or np.uint8)
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > _LARGEST:
            raise ValueError(f"an array of {shape}")
        if about.codec == "empty":
            array = np.zeros(shape, dtype)
        elif about.codec == "jpegxl":
            import imagecodecs

            array = imagecodecs.jpegxl_decode(
                data, out=np.empty((*shape[1:], *shape[:1]) if shape[0] > 1 else shape[1:], dtype)
            )
            array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        else:
            import blosc2

            frame = blosc2.ndarray_from_cframe(data)
            array = frame[...] if (frame.shape, frame.dtype) == (shape, dtype) else np.empty(0)
    except Exception as error:  # every decoder has its own kinds
        raise UserError(f"{where} is damaged ({error}): make the pack again") from None
    if (array.shape, array.dtype) != (shape, dtype):
        raise UserError(f"{where} is damaged (it has the shape {array.shape}): make the pack again")
    return np.ascontiguousarray(array)


def array_hash(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes; type and shape are told beside it."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
