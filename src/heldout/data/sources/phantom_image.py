"""How a phantom looks: a textured ellipse with darker holes, and bright lesions in it."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np

# Radius ranges of small (1) and large (2) lesions by spatial axes, as shares of the image's side.
_RADII = {2: {1: (0.028, 0.04), 2: (0.09, 0.125)}, 3: {1: (0.05, 0.065), 2: (0.12, 0.15)}}
_ORIENTATIONS = ("RAS", "LPS", "PIR", "SAL")


def _draw(
    grid: np.ndarray, side: float, rng: np.random.Generator, shape: np.random.Generator, sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities 0 ... 1 and label map of one image.

    Args:
        grid: Coordinates in mm from the middle, (D, *S).
        side: Side of the image in mm.
        rng: Draws what differs between the images of a patient.
        shape: Draws what they share.
        sizes: Lesion classes to show, of 1 (small) and 2 (large).
    """
    from scipy.ndimage import gaussian_filter

    dimensions = len(grid)
    center = shape.uniform(-0.07, 0.07, dimensions) * side + rng.uniform(-0.02, 0.02, dimensions) * side
    radii = shape.uniform(0.33, 0.45, dimensions) * side
    turn, _ = np.linalg.qr(np.eye(dimensions) + 0.35 * shape.standard_normal((dimensions, dimensions)))
    local = np.tensordot(turn, grid - _column(center, grid), axes=1) / _column(radii, grid)
    distance = np.sqrt((local**2).sum(0))

    def texture(scale: float) -> np.ndarray:
        noise = gaussian_filter(rng.standard_normal(grid.shape[1:]), scale * grid.shape[1])
        return (noise - noise.mean()) / noise.std()

    inside = distance < 1
    image = np.where(inside, 0.38 + 0.05 * texture(0.08) + 0.025 * texture(0.015), 0.04)
    image[(distance > 0.92) & inside] += 0.12
    for _ in range(3):
        hole = shape.uniform(-0.5, 0.5, dimensions)
        image[((local - _column(hole, grid)) ** 2).sum(0) < shape.uniform(0.01, 0.03)] -= 0.15

    mask = np.zeros(grid.shape[1:], np.uint8)
    for size in sorted(sizes, reverse=True):
        low, high = _RADII[dimensions][size]
        for _ in range(rng.integers(1, 4) if size == 1 else 1):
            radius = rng.uniform(low, high) * side
            place = _free_place(rng, local, mask, grid, radius)
            ripple = 1 + 0.12 * texture(0.03)
            lesion = np.sqrt(((grid - _column(place, grid)) ** 2).sum(0)) < radius * ripple
            image[lesion] = (0.72 + 0.05 * texture(0.02))[lesion]
            mask[lesion] = size
    image = image * (1 + 0.1 * grid[0] / side) + 0.025 * rng.standard_normal(image.shape)
    return np.clip(image, 0, 1), mask


def _free_place(
    rng: np.random.Generator, local: np.ndarray, mask: np.ndarray, grid: np.ndarray, radius: float
) -> np.ndarray:
    """Coordinates of a voxel well inside the head and away from the lesions drawn before."""
    allowed = (local**2).sum(0) < 0.5
    far = allowed.copy()
    for spot in np.argwhere(mask)[::7]:
        far &= ((grid - _column(grid[(slice(None), *spot)], grid)) ** 2).sum(0) > (2.5 * radius) ** 2
    spots = np.argwhere(far if far.any() else allowed)
    return grid[(slice(None), *spots[rng.integers(len(spots))])]


def _column(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    return np.asarray(values).reshape(-1, *[1] * (grid.ndim - 1))


class Phantom2d:
    """Images and masks as PNG files."""

    ending = ".png"

    def __init__(self, size: int) -> None:
        """Take ``size`` pixels per side."""
        axis = np.arange(size) - (size - 1) / 2
        self._grid, self._side = np.stack(np.meshgrid(axis, axis, indexing="ij")), float(size)

    def draw(
        self, rng: np.random.Generator, shape: np.random.Generator, sizes: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """An image and its label map, both uint8 (H, W)."""
        image, mask = _draw(self._grid, self._side, rng, shape, sizes)
        return (image * 255).round().astype(np.uint8), mask

    def encode(self, content: np.ndarray) -> bytes:
        """Bytes of a PNG file."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(content).save(buffer, "PNG")
        return buffer.getvalue()

    def values(self, content: np.ndarray) -> np.ndarray:
        """The array itself."""
        return content


class Phantom3d:
    """Oblique volumes of 2 x 2 x 4 mm in various orientations, as compressed NIfTI files."""

    ending = ".nii.gz"
    _spacing = (2.0, 2.0, 4.0)

    def __init__(self, size: int) -> None:
        """Take ``size`` voxels in the plane and half as many slices."""
        axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip((size, size, size // 2), self._spacing, strict=True)]
        self._grid, self._side = np.stack(np.meshgrid(*axes, indexing="ij")), size * self._spacing[0]

    def draw(self, rng: np.random.Generator, shape: np.random.Generator, sizes: tuple[int, ...]) -> tuple[Any, Any]:
        """A volume (int16) and its label map (uint8), as NIfTI images that share an affine."""
        import nibabel

        image, mask = _draw(self._grid, self._side, rng, shape, sizes)
        angle = rng.uniform(-0.2, 0.2)
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = rotation * self._spacing
        affine[:3, 3] = rng.uniform(-60, 60, 3)
        codes = _ORIENTATIONS[rng.integers(len(_ORIENTATIONS))]
        turn = nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
        )
        scale = rng.uniform(600, 1400)  # MRI has no common intensity scale
        volumes = ((image * scale).round().astype(np.int16), mask)
        return tuple(nibabel.Nifti1Image(volume, affine).as_reoriented(turn) for volume in volumes)

    def encode(self, content: Any) -> bytes:
        """Bytes of a compressed NIfTI file, the same on every day."""
        return gzip.compress(content.to_bytes(), compresslevel=4, mtime=0)

    def values(self, content: Any) -> np.ndarray:
        """Voxels of a volume."""
        return np.asarray(content.dataobj)
