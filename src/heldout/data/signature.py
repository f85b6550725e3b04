"""Content hashes of pixels, and small signatures by which near-duplicates are recognized."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from heldout.data.copies import LocalFeatures, local_features
from heldout.data.geometry import orient, orientation
from heldout.data.image import Image
from heldout.data.normalize import LUMA
from heldout.data.resample import resample_linear

MINIATURE = {2: (64, 64), 3: (16, 16, 16)}  # on which details are compared
COARSE = {2: (32, 32), 3: (16, 16, 16)}  # on which the overall look is compared
LOW_FREQUENCIES = {2: (8, 8), 3: (4, 4, 4)}  # 64 bits each
BLUR, NEIGHBORHOOD = 1.5, 4.0  # pixels of the miniature
NOISE = 2.0  # of 255: contrast below which there is no detail
SKETCH = 128  # bits
ALIKE = 8  # bits in which sketches of one image may differ: a changed pixel moves at most that, other images 17 or more


@dataclass(frozen=True)
class ImageSignature:
    """What is kept of a case's image to recognize it again.

    Attributes:
        bits: 64-bit perceptual hash: which of the 64 lowest cosine frequencies lie above their median.
        coarse: Gray miniature as a vector of mean 0 and length 1, so that a dot product is a correlation; 0 where
            the miniature is constant.
        detail: The same of its edges and textures, brought to equal contrast everywhere. Two knees of two patients look
            alike from afar, but not in this.
        local: Local features of an image, by which copies are found that were flipped, turned or cut; None of volumes.
    """

    bits: int
    coarse: np.ndarray
    detail: np.ndarray
    local: LocalFeatures | None = None


def content_hash(array: np.ndarray) -> str:
    """SHA-256 of shape and pixel values; a gray image stored with three equal channels equals its one-channel copy."""
    if array.ndim == 3 and len(array) == 3 and (array[0] == array[1]).all() and (array[0] == array[2]).all():
        array = array[:1]
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def signature(image: Image) -> ImageSignature:
    """Signature of an image, or of a volume brought to RAS orientation; channels are mixed to gray."""
    from scipy.fft import dctn

    dimensions, array = image.array.ndim - 1, _gray(image)
    coarse = resample_linear(array, COARSE[dimensions])[0]
    frequencies = dctn(coarse, norm="ortho")[tuple(slice(size) for size in LOW_FREQUENCIES[dimensions])].ravel()
    bits = int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")
    detail = _unit(_detail(resample_linear(array, MINIATURE[dimensions])[0]))
    return ImageSignature(bits, _unit(coarse), detail, local_features(array[0]) if dimensions == 2 else None)


def sketch(image: Image) -> str:
    """A few bits, as hexadecimal digits, by which an image is known after small changes; "" where it has no detail.

    Each bit is the side of a fixed plane on which the details of the miniature lie (Charikar 2002), so that the share
    of bits that differ is the angle between the details of two images.
    """
    details = _detail(resample_linear(_gray(image), MINIATURE[image.array.ndim - 1])[0]).ravel()
    if not np.abs(details).max() > 0:
        return ""
    drawn = np.frombuffer(hashlib.shake_256(b"sketch").digest(SKETCH * len(details) // 8), np.uint8)
    planes = np.unpackbits(drawn).reshape(SKETCH, -1).astype(np.float32) * 2 - 1
    return np.packbits(planes @ details > 0).tobytes().hex()


def any_alike(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a sketch of the first is of an image that the others have, or nearly have."""
    one, other = (
        np.unpackbits(np.array([[*bytes.fromhex(text)] for text in texts if text], np.uint8), axis=-1)
        for texts in (some, others)
    )
    if not one.size or not other.size:
        return False
    agreement = (one.astype(np.float32) * 2 - 1) @ (other.astype(np.float32) * 2 - 1).T
    return bool((SKETCH - agreement).min() <= 2 * ALIKE)


def _gray(image: Image) -> np.ndarray:
    """(1, *S): an image, or a volume brought to RAS orientation, with its channels mixed."""
    dimensions, array = image.array.ndim - 1, image.array
    if len(array) == 3 and dimensions == 2:
        array = np.tensordot(LUMA, array.astype(np.float32), axes=1)[None]
    elif len(array) > 1:
        array = array.mean(0, keepdims=True, dtype=np.float32)
    return orient(array, *orientation(image.affine, dimensions))


def _detail(miniature: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    span = float(miniature.max() - miniature.min()) or 1.0
    edges = (miniature - gaussian_filter(miniature, BLUR)) * np.float32(255 / span)
    return edges / (np.sqrt(gaussian_filter(edges**2, NEIGHBORHOOD)) + np.float32(NOISE))


def _unit(array: np.ndarray) -> np.ndarray:
    vector = array.ravel() - array.mean()
    length = float(np.linalg.norm(vector))
    return (vector / length if length > 1e-6 * max(1.0, float(np.abs(array).max())) else vector * 0).astype(np.float16)
