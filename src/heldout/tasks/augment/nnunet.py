"""The intensity transforms of nnU-Net for volumes, in batches on the training device.

Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z, in the ranges of nnU-Net 2: noise, blur,
brightness, contrast, simulated low resolution, and gamma, also of the inverted image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv3d, interpolate, pad

from heldout.tasks.augment.volume import VolumeAugment

REACH = 4.0  # standard deviations that a blurring kernel reaches


class NnunetAugment(VolumeAugment):
    """Flips, rotation and scaling of :class:`VolumeAugment`, and the intensity transforms of nnU-Net.

    Args:
        flips: Axes to flip.
        spacing: Size of a voxel in mm.
        channels: How many of the first channels are intensities.
    """

    def __init__(self, flips: str, spacing: Sequence[float] | None = None, channels: int | None = None) -> None:
        super().__init__(
            flips, rotation=30.0, scale=1.4, spacing=spacing, channels=channels, affine_probability=1 - 0.8 * 0.8
        )

    def _intensity(self, image: Tensor, generator: torch.Generator) -> Tensor:
        count = len(image)

        def draw(low: float, high: float) -> list[float]:
            return (low + (high - low) * torch.rand(count, generator=generator)).tolist()

        noise, sigmas, brightness, contrast = draw(0, 0.1), draw(0.5, 1.0), draw(0.75, 1.25), draw(0.75, 1.25)
        zooms, inverted, gammas = draw(0.5, 1.0), draw(0.7, 1.5), draw(0.7, 1.5)
        happens = torch.rand(count, 7, generator=generator) < torch.tensor([0.1, 0.2, 0.15, 0.15, 0.25, 0.1, 0.3])
        channels = torch.rand(count, 2, image.shape[1], generator=generator) < 0.5
        seeds = torch.randint(2**62, (count,), generator=generator).tolist()
        changed = []
        for i, (sample, wanted) in enumerate(zip(image.split(1), happens.tolist(), strict=True)):
            if wanted[0]:
                sample = with_noise(sample, noise[i], seeds[i])
            if wanted[1]:
                sample = _of_channels(sample, channels[i, 0], blurred, sigmas[i])
            if wanted[2]:
                sample = sample * brightness[i]
            if wanted[3]:
                sample = with_contrast(sample, contrast[i])
            if wanted[4]:
                sample = _of_channels(sample, channels[i, 1], coarse, zooms[i])
            if wanted[5]:
                sample = -with_gamma(-sample, inverted[i])
            if wanted[6]:
                sample = with_gamma(sample, gammas[i])
            changed.append(sample)
        return torch.cat(changed)


def _of_channels(image: Tensor, chosen: Tensor, change: Callable[[Tensor, float], Tensor], by: float) -> Tensor:
    """Change some channels of an image (1, C, X, Y, Z)."""
    wanted = chosen.nonzero().flatten().to(image.device)
    return image.index_copy(1, wanted, change(image[:, wanted], by)) if len(wanted) else image


def with_noise(image: Tensor, variance: float, seed: int) -> Tensor:
    """Add Gaussian noise, whose variance is in units of the image's own."""
    source = torch.Generator(image.device).manual_seed(seed)
    noise = torch.randn(image.shape, generator=source, device=image.device, dtype=image.dtype)
    return image + variance**0.5 * image.std() * noise


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur (1, C, X, Y, Z) with a Gaussian of ``sigma`` voxels; the edge is continued."""
    reach = round(REACH * sigma)
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    volumes = image.transpose(0, 1)  # channels as samples
    for axis in range(3):
        shape, sides = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis], sides[2 * (2 - axis)], sides[2 * (2 - axis) + 1] = -1, reach, reach
        volumes = conv3d(pad(volumes, sides, mode="replicate"), kernel.view(shape))
    return volumes.transpose(0, 1)


def with_contrast(image: Tensor, factor: float) -> Tensor:
    """Move values away from their channel's mean or towards it, within the range that they had."""
    axes = (2, 3, 4)
    mean = image.mean(dim=axes, keepdim=True)
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    return ((image - mean) * factor + mean).clamp(low, high)


def coarse(image: Tensor, zoom: float) -> Tensor:
    """Simulate a lower resolution: fewer voxels, each the nearest of the old ones, enlarged again linearly."""
    size = image.shape[2:]
    smaller = interpolate(image, [max(1, round(zoom * length)) for length in size], mode="nearest")
    return interpolate(smaller, list(size), mode="trilinear", align_corners=False)


def with_gamma(image: Tensor, gamma: float) -> Tensor:
    """Raise each channel, between its ends, to a power; mean and deviation stay what they were."""
    axes = (2, 3, 4)
    low = image.amin(dim=axes, keepdim=True)
    span = (image.amax(dim=axes, keepdim=True) - low).clamp(min=1e-7)
    mean, std = image.mean(dim=axes, keepdim=True), image.std(dim=axes, keepdim=True)
    changed = ((image - low) / span).pow(gamma) * span + low
    moved = changed - changed.mean(dim=axes, keepdim=True)
    return moved / moved.std(dim=axes, keepdim=True).clamp(min=1e-7) * std + mean
