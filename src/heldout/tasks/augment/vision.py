"""Image augmentation with torchvision, which is maintained: the transforms of :mod:`heldout.tasks.augment.image`.

One sample at a time, in the loading processes. All draws come from a numpy generator, so that equal seeds give equal
results in every process.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


class VisionAugment:
    """Flips, an affine transform, and changes of intensity.

    Args:
        strength: As the field ``augment``.
        flips: Axes to flip: ``v`` the rows, ``h`` the columns.
        bounded: Images are uint8 or 0 ... 1; otherwise they are z-scores.
        channels: How many of the first channels are intensities; others move along and keep their values.
    """

    def __init__(
        self, strength: Literal["light", "strong", "appearance"], flips: str, bounded: bool, channels: int
    ) -> None:
        self.wide, self.strong = strength == "strong", strength != "light"
        self.flips = flips
        self.bounded = bounded
        self.channels = channels

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Augment an image (C, H, W), and a mask (M, H, W) with it."""
        pixels = torch.from_numpy(np.ascontiguousarray(image))
        pixels = pixels if pixels.dtype == torch.uint8 else pixels.float()
        label = None if mask is None else torch.from_numpy(np.ascontiguousarray(mask))
        for letter, axis in (("v", -2), ("h", -1)):
            if letter in self.flips and generator.random() < 0.5:
                pixels = pixels.flip(axis)
                label = None if label is None else label.flip(axis)
        pixels, label = self._move(pixels, label, generator)
        changed = (
            self._bounded(pixels[: self.channels], generator)
            if self.bounded
            else self._scores(pixels[: self.channels], generator)
        )
        pixels = torch.cat([changed, pixels[self.channels :]])
        return pixels.numpy(), None if label is None else label.numpy()

    def _move(
        self, pixels: Tensor, label: Tensor | None, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        happens = generator.random() < (0.8 if self.wide else 0.6)
        angle = generator.uniform(-30, 30) if self.wide else generator.uniform(-12, 12)
        low, high = (0.75, 1.3) if self.wide else (0.9, 1.1)
        scale = generator.uniform(low, 1) if generator.random() < 0.5 else generator.uniform(1, high)
        shift = 0.1 if self.wide else 0.05
        height, width = pixels.shape[-2:]
        translate = [generator.uniform(-shift, shift) * width, generator.uniform(-shift, shift) * height]
        shear = [generator.uniform(-8, 8), generator.uniform(-8, 8)] if self.wide else [0.0, 0.0]
        if not happens:
            return pixels, label
        options = {"angle": angle, "translate": translate, "scale": scale, "shear": shear}
        pixels = functional.affine(pixels, **options, interpolation=InterpolationMode.BILINEAR)
        if label is not None:
            label = functional.affine(label, **options, interpolation=InterpolationMode.NEAREST)
        return pixels, label

    def _bounded(self, pixels: Tensor, generator: np.random.Generator) -> Tensor:
        limit = 0.25 if self.strong else 0.15
        contrast, brightness = 1 + generator.uniform(-limit, limit), generator.uniform(-limit, limit)
        top = 255 if pixels.dtype == torch.uint8 else 1
        if generator.random() < (0.7 if self.strong else 0.5):
            pixels = _of_type(pixels.float() * contrast + brightness * top, pixels)
        if not self.strong:
            return pixels
        if generator.random() < 0.4:
            pixels = _of_type((pixels.float() / top).clamp(0, 1) ** generator.uniform(0.7, 1.4) * top, pixels)
        if generator.random() < 0.15:
            pixels = functional.gaussian_blur(pixels, [7, 7], [generator.uniform(0.3, 1.5)] * 2)
        if generator.random() < 0.3:
            noise = generator.standard_normal(pixels.shape, np.float32) * np.float32(generator.uniform(0.01, 0.06))
            pixels = _of_type(pixels.float() + torch.from_numpy(noise) * top, pixels)
        if generator.random() < 0.3:
            pixels = pixels.clone()
            for _ in range(generator.integers(1, 5)):
                sides = [max(1, int(generator.uniform(0.05, 0.2) * length)) for length in pixels.shape[-2:]]
                first = [
                    int(generator.integers(0, n - side + 1)) for n, side in zip(pixels.shape[-2:], sides, strict=True)
                ]
                pixels[:, first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]] = 0
        return pixels

    def _scores(self, pixels: Tensor, generator: np.random.Generator) -> Tensor:
        limit, noise = (0.25, 0.15) if self.strong else (0.1, 0.0)
        gain, shift = 1 + generator.uniform(-limit, limit), generator.uniform(-limit, limit)
        if generator.random() < 0.5:
            pixels = pixels * gain + shift
            if noise:
                drawn = generator.standard_normal(pixels.shape, np.float32) * np.float32(generator.uniform(0, noise))
                pixels = pixels + torch.from_numpy(drawn)
        return pixels


def _of_type(values: Tensor, like: Tensor) -> Tensor:
    """Values as the type of an image: bytes are rounded, other numbers stay within 0 ... 1."""
    if like.dtype == torch.uint8:
        return values.round().clamp(0, 255).to(torch.uint8)
    return values.clamp(0, 1)
