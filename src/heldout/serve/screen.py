"""Images in 8 bits, for the screen."""

from __future__ import annotations

import gzip

import cv2
import numpy as np

from heldout.data.geometry import orient, orientation
from heldout.data.image import Image
from heldout.data.normalize import LUMA
from heldout.deliver.masks import nifti_bytes, png_bytes

_THUMBNAIL = 96  # pixels of the longer side


def preview(image: Image) -> bytes:
    """A PNG file of an image, or a NIfTI file (gzip) of a volume, on its own grid."""
    shown = _in_bytes(image.array)
    return png_bytes(shown) if shown.ndim == 2 else gzip.compress(nifti_bytes(shown, image.affine), 1)


def thumbnail(image: Image) -> bytes:
    """A small PNG file, of a volume its middle axial slice: the front at the top, the patient's right on the left."""
    array = image.array
    if array.ndim == 4:
        axes, flips = orientation(image.affine, 3)
        turned = orient(array, axes, flips)
        array = turned[:, ::-1, ::-1, turned.shape[3] // 2].transpose(0, 2, 1)
    shown = _in_bytes(array)
    scale = _THUMBNAIL / max(shown.shape)
    if scale < 1:
        size = tuple(max(1, round(scale * length)) for length in shown.shape[::-1])
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return png_bytes(np.ascontiguousarray(shown))


def _in_bytes(array: np.ndarray) -> np.ndarray:
    """An image (C, *S) as (*S) uint8: as it is, or between its 0.5th and 99.5th percentile."""
    gray = array[0] if len(array) != 3 else np.tensordot(LUMA, array.astype(np.float32), axes=1)
    if array.dtype != np.uint8:
        low, high = np.percentile(gray, (0.5, 99.5))
        gray = np.clip((gray - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.rint(gray).astype(np.uint8)
