"""Volume augmentation: whole batches on the training device, each sample with draws of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from heldout.data.sides import LEFT_RIGHT

AXES = "xyz"


class VolumeAugment(nn.Module):
    """Flips, rotation and scaling, gamma, brightness, contrast and noise for 3D batches.

    All draws come from one explicit generator on the CPU, so that they are the same on every device and nothing else
    that draws random numbers moves them.

    Args:
        flips: Axes to flip, of ``"xyz"``, with probability 0.5 each.
        rotation: Largest angle about each axis, in degrees.
        scale: Largest factor of enlargement; its inverse is the smallest.
        gamma: Largest exponent; its inverse is the smallest. It acts between a sample's minimum and maximum.
        brightness: Largest shift, in standard deviations of the sample.
        contrast: Largest relative change of the distance from the sample's mean.
        noise: Largest standard deviation of Gaussian noise, in standard deviations of the sample.
        probability: Probability of each of these for a sample; flips excepted.
        spacing: Size of a voxel (X, Y, Z) in mm, so that rotation keeps angles; None is isotropic.
        channels: How many of the first channels are intensities; maps of a first stage follow, which keep their values.
            None is all.
        affine_probability: Probability of rotation and scaling for a sample; None is ``probability``.

    Attributes:
        mirrored: Which samples of the last batch were flipped from left to right (along x), (B,) bool; None where none
            can be.
    """

    def __init__(
        self,
        flips: str = AXES,
        rotation: float = 15.0,
        scale: float = 1.15,
        gamma: float = 1.3,
        brightness: float = 0.15,
        contrast: float = 0.15,
        noise: float = 0.1,
        probability: float = 0.3,
        spacing: Sequence[float] | None = None,
        channels: int | None = None,
        affine_probability: float | None = None,
    ) -> None:
        super().__init__()
        self.flips = flips
        self.rotation = rotation
        self.scale = scale
        self.gamma = gamma
        self.brightness = brightness
        self.contrast = contrast
        self.noise = noise
        self.probability = probability
        self.affine_probability = probability if affine_probability is None else affine_probability
        self.spacing = tuple(spacing or (1.0, 1.0, 1.0))
        self.channels = channels
        self.mirrored: Tensor | None = None

    @classmethod
    def preset(
        cls,
        strength: Literal["light", "strong", "appearance"],
        flips: str,
        spacing: Sequence[float] | None = None,
        channels: int | None = None,
    ) -> Self:
        """The augmentation that the field ``augment`` names."""
        light = cls(flips, spacing=spacing, channels=channels)
        if strength == "light":
            return light
        wide = strength == "strong"
        return cls(
            flips,
            rotation=30.0 if wide else light.rotation,
            scale=1.4 if wide else light.scale,
            gamma=1.5,
            brightness=0.3,
            contrast=0.3,
            noise=0.2,
            probability=0.4,
            spacing=spacing,
            channels=channels,
            affine_probability=None if wide else light.affine_probability,
        )

    @torch.no_grad()
    def forward(self, image: Tensor, mask: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Augment a batch.

        Args:
            image: Float (B, C, X, Y, Z).
            mask: Integer (B, M, X, Y, Z), or None.
            generator: A CPU generator; every call takes the same number of draws from it.

        Returns:
            Image and mask of the same shapes and types.
        """
        image, mask = self._flip(image, mask, generator)
        image, mask = self._affine(image, mask, generator)
        changed = self._intensity(image[:, : self.channels], generator)
        maps = image[:, changed.shape[1] :]
        return (torch.cat([changed, maps], dim=1) if maps.shape[1] else changed), mask

    def _draw(self, count: int, low: float, high: float, neutral: float, generator: torch.Generator) -> Tensor:
        """Uniform numbers (count,), replaced by ``neutral`` where this change does not happen."""
        values = low + (high - low) * torch.rand(count, generator=generator)
        happens = torch.rand(count, generator=generator) < self.probability
        return torch.where(happens, values, neutral)

    def _flip(self, image: Tensor, mask: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        turned = {letter: torch.rand(len(image), generator=generator) < 0.5 for letter in self.flips}
        self.mirrored = turned[LEFT_RIGHT].to(image.device) if LEFT_RIGHT in turned else self.mirrored
        # each sample is copied once at most; torch.where would read every axis of all samples
        axes = [[1 + AXES.index(letter) for letter in turned if turned[letter][i]] for i in range(len(image))]

        def flipped(volumes: Tensor) -> Tensor:
            return torch.stack([one.flip(found) if found else one for one, found in zip(volumes, axes, strict=True)])

        return flipped(image), None if mask is None else flipped(mask)

    def _affine(self, image: Tensor, mask: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        count, limit = len(image), math.radians(self.rotation)
        # one coin for rotation and scaling together: resampling is the costly part
        happens = torch.rand(count, generator=generator) < self.affine_probability
        angles = limit * (2 * torch.rand(count, 3, generator=generator) - 1)
        scales = self.scale ** (2 * torch.rand(count, generator=generator) - 1)
        chosen = happens.nonzero().flatten()
        if len(chosen) == 0:
            return image, mask
        grid = transform_grid(angles[chosen], scales[chosen], image.shape[2:], self.spacing).to(image)
        chosen = chosen.to(image.device)
        image = image.index_copy(0, chosen, sample(image[chosen], grid))
        if mask is not None:
            mask = mask.index_copy(0, chosen, nearest(mask[chosen], grid))
        return image, mask

    def _intensity(self, image: Tensor, generator: torch.Generator) -> Tensor:
        count = len(image)
        exponents = self.gamma ** self._draw(count, -1, 1, 0, generator)
        contrast = self._draw(count, 1 - self.contrast, 1 + self.contrast, 1, generator)
        brightness = self._draw(count, -self.brightness, self.brightness, 0, generator)
        noise = self._draw(count, 0, self.noise, 0, generator)
        seed = int(torch.randint(2**62, (), generator=generator))

        def of_sample(values: Tensor) -> Tensor:
            return values.to(image).view(-1, 1, 1, 1, 1)

        low, high = image.amin(dim=(1, 2, 3, 4), keepdim=True), image.amax(dim=(1, 2, 3, 4), keepdim=True)
        span = (high - low).clamp(min=1e-6)
        changed = (((image - low) / span) ** of_sample(exponents)) * span + low
        # without gamma the detour through 0 ... 1 would only cost digits
        image = torch.where(of_sample(exponents) == 1, image, changed)
        mean = image.mean(dim=(1, 2, 3, 4), keepdim=True)
        std = image.std(dim=(1, 2, 3, 4), keepdim=True)
        image = (image - mean) * of_sample(contrast) + mean + of_sample(brightness) * std
        if bool((noise > 0).any()):
            # drawn on the device itself: a whole batch of noise is too much to send there
            source = torch.Generator(image.device).manual_seed(seed)
            image = image + of_sample(noise) * std * torch.randn(
                image.shape, generator=source, device=image.device, dtype=image.dtype
            )
        return image


def transform_grid(angles: Tensor, scales: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
    """Where each voxel of a rotated and enlarged volume comes from, for :func:`sample`.

    Args:
        angles: (n, 3) radians about x, then y, then z, through the center.
        scales: (n,) factors of enlargement.
        shape: Voxels (X, Y, Z).
        spacing: Size of a voxel (X, Y, Z) in mm.

    Returns:
        (n, X, Y, Z, 3).
    """
    matrices = rotations(angles) / scales.view(-1, 1, 1)
    # from normalized coordinates (-1 ... 1 along each axis) to millimeters, rotate, and back
    millimeters = torch.tensor([length * size for length, size in zip(shape, spacing, strict=True)])
    matrices = matrices * millimeters.view(1, 1, 3) / millimeters.view(1, 3, 1)
    along = [matrices[:, :, axis, None] * ((2 * torch.arange(n) + 1) / n - 1) for axis, n in enumerate(shape)]
    x, y, z = along[0][..., None, None], along[1][..., None, :, None], along[2][..., None, None, :]
    # (n, 3, X, Y, Z): a sum over whole planes, faster than `affine_grid`; torch counts coordinates from the last axis
    return ((x + y) + z).flip(1).permute(0, 2, 3, 4, 1)


def rotations(angles: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) about x, then y, then z, for angles (n, 3) in radians."""
    result = torch.eye(3).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3).repeat(len(angles), 1, 1)
        cosine, sine = torch.cos(angles[:, axis]), torch.sin(angles[:, axis])
        turn[:, first, first] = turn[:, second, second] = cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        result = turn @ result
    return result


def sample(volume: Tensor, grid: Tensor) -> Tensor:
    """Read a volume (n, C, X, Y, Z) at a grid, linearly; the edge is continued, as for masks, so that they agree."""
    return grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=False)


def nearest(mask: Tensor, grid: Tensor) -> Tensor:
    """Read a mask (n, M, X, Y, Z) of any type at the nearest voxels of a grid; the edge is continued.

    As ``grid_sample`` would, which takes floats only and is slower.
    """
    index = torch.zeros((), dtype=torch.int64, device=mask.device)
    for axis, length in enumerate(mask.shape[2:]):
        place = ((grid[..., 2 - axis] + 1) * length - 1) / 2  # torch counts coordinates from the last axis
        index = index * length + place.round().clamp(0, length - 1).long()
    return mask.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, mask.shape[1], -1)).view(mask.shape)
