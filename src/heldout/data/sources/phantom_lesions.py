"""Synthetic brains with small lesions, written in the layout of ATLAS v2 and read by its source."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.sources.atlas import MASK, Atlas
from heldout.data.sources.phantom import Synthetic

_HEAD = (140.0, 176.0, 132.0)  # mm from side to side, back to front and bottom to top
_ORIENTATIONS = ("RAS", "LPS", "LAS")
_HIDDEN = 2  # patients without a mask, as those of the folder Testing


class PhantomLesions(Atlas, Synthetic):
    """Skull-stripped brains as FLAIR shows them: dark ventricles, gray cortex, bright lesions of up to 2 cm.

    Most lesions lie around the ventricles, one to a dozen per patient; bright blood vessels at the surface look alike
    but are none. One patient in eight is healthy. The files keep the name ``T1w`` that the layout asks for.

    Options: ``patients``, ``size`` (slices of the volume; the voxels are cubes that fit) and ``seed``.
    """

    defaults: ClassVar[dict[str, Any]] = {"patients": 32, "size": 72, "seed": 0}
    minimum: ClassVar[dict[str, int]] = {"patients": 8, "size": 32, "seed": 0}

    def _write(self, folder: Path, settings: Mapping[str, int]) -> None:
        for patient in range(settings["patients"] + _HIDDEN):
            hidden = patient >= settings["patients"]
            rng = np.random.default_rng([settings["seed"], patient])
            subject = f"sub-r{patient % 3 + 1:03d}s{patient + 1:03d}"
            part = "Testing" if hidden else "Training"
            place = folder / part / f"R{patient % 3 + 1:03d}" / subject / "ses-1" / "anat"
            place.mkdir(parents=True)
            image, mask = _draw(rng, settings["size"], healthy=patient % 8 == 7)
            name = f"{subject}_ses-1_space-MNI152NLin2009aSym"
            for ending, volume in ((f"{name}_T1w", image), (f"{name}{MASK}", mask))[: 1 if hidden else 2]:
                data = gzip.compress(volume.to_bytes(), compresslevel=4, mtime=0)
                (place / f"{ending}.nii.gz").write_bytes(data)


def _draw(rng: np.random.Generator, slices: int, *, healthy: bool) -> tuple[Any, Any]:
    """A volume (int16) and its lesion mask (uint8), as NIfTI images that share an affine."""
    import nibabel
    from scipy.ndimage import gaussian_filter

    spacing = 1.1 * _HEAD[2] / slices
    shape = tuple(round(1.1 * length / spacing) for length in _HEAD)
    axes = [(np.arange(n) - (n - 1) / 2) * spacing for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)

    def texture(millimeters: float) -> np.ndarray:
        noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), millimeters / spacing)
        return noise / noise.std()

    radii = np.array(_HEAD) / 2 * rng.uniform(0.88, 0.98, 3)
    distance = np.sqrt((((grid - rng.uniform(-4, 4, 3)[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0))
    distance += 0.03 * texture(5)
    brain = distance < 1
    fold, shell = np.abs(texture(4)), distance > 0.7
    image = np.where((distance > 0.9) | (shell & (fold < 0.9)), 1.13, 0.95) + 0.03 * texture(3)
    image[shell & (fold < 0.16)] = 0.45  # fluid between the folds of the cortex
    side, front, up = grid
    ventricle = np.full(shape, np.inf, np.float32)
    for sign in (-1, 1):
        bent = sign * side - 9 - 0.08 * np.abs(front)
        one = np.sqrt((bent / 7) ** 2 + ((front + 4) / 34) ** 2 + ((up - 6 + front**2 / 220) / 10) ** 2)
        ventricle = np.minimum(ventricle, one * rng.uniform(0.85, 1.2))
    image[ventricle < 1] = 0.35
    for _ in range(rng.integers(4, 9)):  # vessels and artifacts: bright, but at the surface
        image[_ball(grid, _place(rng, grid, (distance > 0.92) & brain), rng.uniform(2, 4))] = 1.55
    mask = np.zeros(shape, np.uint8)
    white = (distance < 0.82) & (ventricle > 1)
    near = white & (ventricle < 1.7)
    for _ in range(0 if healthy else rng.integers(1, 17)):
        place = _place(rng, grid, near if rng.random() < 0.65 else white)
        radius = rng.uniform(1.5, 9.0) * rng.uniform(0.4, 1)
        lesion = _ball(grid, place, radius, 0.3 * texture(4), rng.uniform(0.6, 1.5, 3)) & white
        image[lesion], mask[lesion] = rng.uniform(1.25, 1.65), 1
    image = np.where(brain, gaussian_filter(image, 0.6), 0)  # voxels hold more than one tissue at their borders
    image *= 1 + np.tensordot(rng.uniform(-0.0015, 0.0015, 3), grid, 1)  # the coil's sensitivity
    image = np.where(brain, np.maximum(image + 0.04 * rng.standard_normal(shape), 0.02), 0)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    codes = nibabel.orientations.axcodes2ornt(_ORIENTATIONS[rng.integers(len(_ORIENTATIONS))])
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), codes)
    scale = rng.uniform(200, 900)  # MRI has no common intensity scale
    volumes = ((image * scale).round().astype(np.int16), mask)
    return tuple(nibabel.Nifti1Image(volume, affine).as_reoriented(turn) for volume in volumes)


def _place(rng: np.random.Generator, grid: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Coordinates in mm of one of the allowed voxels."""
    spots = np.flatnonzero(allowed)
    return grid.reshape(3, -1)[:, spots[rng.integers(len(spots))]]


def _ball(
    grid: np.ndarray,
    center: np.ndarray,
    radius: float,
    ripple: np.ndarray | float = 0.0,
    stretch: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Voxels within ``radius`` mm of a point, stretched and with a rippled surface; always the point's own voxel."""
    away = (grid - center[:, None, None, None]) / np.broadcast_to(stretch, 3)[:, None, None, None]
    distance = np.sqrt((away**2).sum(0))
    return (distance < radius * (1 + ripple)) | (distance == 0)
