"""Image augmentation with albumentations: one sample at a time, its draws fixed by a seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

# albumentations asks the network for a newer version of itself otherwise
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812 - the library's own convention

OwnAugment = Callable[[np.ndarray, np.ndarray | None, np.random.Generator], tuple[np.ndarray, np.ndarray | None]]
MAPS = "maps"  # of a first stage, beside the image


class IntensityJitter(A.ImageOnlyTransform):
    """Random gain, shift and noise for z-scores: albumentations' own would clip float images to 0 ... 1.

    Args:
        gain: The image is multiplied by ``1 +- gain``.
        shift: Standard deviations added or taken away.
        noise: Standard deviation of the noise is up to this.
        p: Probability.
    """

    def __init__(self, gain: float = 0.1, shift: float = 0.1, noise: float = 0.0, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.gain = gain
        self.shift = shift
        self.noise = noise

    def get_params(self) -> dict[str, Any]:
        """Draw the numbers of one sample."""
        return {
            "gain": 1 + self.py_random.uniform(-self.gain, self.gain),
            "shift": self.py_random.uniform(-self.shift, self.shift),
            "noise": self.py_random.uniform(0, self.noise),
        }

    def apply(self, img: np.ndarray, gain: float, shift: float, noise: float, **params: Any) -> np.ndarray:  # noqa: ARG002
        """Change one image (H, W, C) of z-scores."""
        changed = img * np.float32(gain) + np.float32(shift)
        if noise:
            changed += np.float32(noise) * self.random_generator.standard_normal(img.shape, dtype=np.float32)
        return changed


def build_image_augment(strength: Literal["light", "strong", "appearance"], flips: str, bounded: bool) -> A.Compose:
    """Make the augmentation of 2D tasks.

    Args:
        strength: How much of it; ``appearance`` moves as ``light`` does, and changes intensities as ``strong`` does.
        flips: Axes to flip: ``v`` the rows, ``h`` the columns.
        bounded: Images are uint8 or 0 ... 1; otherwise they are z-scores.
    """
    wide, strong = strength == "strong", strength != "light"  # what masks follow, and what they do not
    geometry: list[A.BasicTransform] = [
        *([A.VerticalFlip(p=0.5)] if "v" in flips else []),
        *([A.HorizontalFlip(p=0.5)] if "h" in flips else []),
        A.Affine(
            scale=(0.75, 1.3) if wide else (0.9, 1.1),
            rotate=(-30, 30) if wide else (-12, 12),
            translate_percent=(-0.1, 0.1) if wide else (-0.05, 0.05),
            shear=(-8, 8) if wide else (0, 0),
            balanced_scale=True,
            p=0.8 if wide else 0.6,
        ),
    ]
    if not bounded:
        jitter = IntensityJitter(0.25, 0.25, 0.15) if strong else IntensityJitter()
        return A.Compose([*geometry, jitter], additional_targets={MAPS: "mask"})
    intensity: list[A.BasicTransform] = [
        A.RandomBrightnessContrast(0.25 if strong else 0.15, 0.25 if strong else 0.15, p=0.7 if strong else 0.5)
    ]
    if strong:
        intensity += [
            A.RandomGamma((70, 140), p=0.4),
            A.GaussianBlur(sigma_limit=(0.3, 1.5), p=0.15),
            A.GaussNoise(std_range=(0.01, 0.06), p=0.3),
            A.CoarseDropout((1, 4), (0.05, 0.2), (0.05, 0.2), p=0.3),
        ]
    return A.Compose([*geometry, *intensity], additional_targets={MAPS: "mask"})


def augment_sample(
    transform: A.Compose | OwnAugment,
    image: np.ndarray,
    mask: np.ndarray | None,
    seed: int,
    channels: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Augment one sample; equal seeds give equal results in every process.

    Args:
        transform: What ``Task.build_augment`` made: of albumentations, or a function of image (C, H, W), mask
            (M, H, W) or None, and a numpy generator to both, of the same shapes. A function is shown all channels.
        image: (C, H, W), uint8 or float; other floats become float32.
        mask: (M, H, W) uint8, or None.
        seed: Fixes every draw of this sample.
        channels: How many of the first channels are intensities; maps of a first stage follow, which move with the
            image and keep their values. None is all.

    Returns:
        Image and mask of the same shapes, contiguous.
    """
    if not isinstance(transform, A.Compose):
        changed, moved = transform(image, mask, np.random.default_rng(seed))
        return np.ascontiguousarray(changed), None if moved is None else np.ascontiguousarray(moved)
    transform.set_random_seed(seed)
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32, copy=False)
    arrays = {"image": np.ascontiguousarray(pixels[..., :channels])}
    if arrays["image"].shape != pixels.shape:
        arrays[MAPS] = np.ascontiguousarray(pixels[..., channels:])
    if mask is not None:
        arrays["mask"] = np.ascontiguousarray(mask.transpose(1, 2, 0))
    given = {name: array.transpose(2, 0, 1) for name, array in transform(**arrays).items()}
    shown = [given[name] for name in ("image", MAPS) if name in given]
    return np.ascontiguousarray(np.concatenate(shown)), (None if mask is None else np.ascontiguousarray(given["mask"]))
