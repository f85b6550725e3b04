"""Mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and cutmix (Yun et al. 2019, 1905.04899) of a batch."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heldout.tasks.losses.presence import presence_target


def mix(
    batch: dict[str, Tensor], generator: torch.Generator, mixup: float, cutmix: float, exclusive: bool
) -> dict[str, Any]:
    """Mix every sample of a batch with another one of it, all in the same share.

    Args:
        batch: image, label, and perhaps mask.
        generator: Of the CPU; takes one draw.
        mixup: Alpha of mixup; 0 is none.
        cutmix: Alpha of cutmix; 0 is none. With both, a coin decides for each batch.
        exclusive: The classes exclude each other.

    Returns:
        The batch. Mixup, and cutmix of labels, add ``"other"`` and ``"share"``; cutmix of masks gives one mask, and the
        label of what it shows.
    """
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    image = batch["image"]
    order = torch.from_numpy(random.permutation(len(image))).to(image.device)
    other = {name: value[order] for name, value in batch.items() if name != "image"}
    if mixup and (not cutmix or random.random() < 0.5):
        share = float(random.beta(mixup, mixup))
        return {**batch, "image": share * image + (1 - share) * image[order], "other": other, "share": share}
    box = _box(image.shape[2:], float(random.beta(cutmix, cutmix)), random)
    mixed: dict[str, Any] = {**batch, "image": _pasted(image, image[order], box)}
    if "mask" in batch:
        mixed["mask"] = _pasted(batch["mask"], other["mask"], box)
        return {**mixed, "label": presence_target(mixed, batch["label"].shape[1], exclusive, patches=True)}
    pasted = np.prod([part.stop - part.start for part in box]) / np.prod(image.shape[2:])
    return {**mixed, "other": other, "share": 1 - float(pasted)}


Box = list[slice]


def _box(size: torch.Size, share: float, random: np.random.Generator) -> Box:
    """A box around a random center, of a share of the volume where it does not leave the image."""
    sides = [length * (1 - share) ** (1 / len(size)) for length in size]
    centers = [random.uniform(0, length) for length in size]
    return [
        slice(max(0, round(center - side / 2)), min(length, round(center + side / 2)))
        for center, side, length in zip(centers, sides, size, strict=True)
    ]


def _pasted(first: Tensor, second: Tensor, box: Box) -> Tensor:
    first = first.clone()
    place: tuple[EllipsisType | slice, ...] = (..., *box)
    first[place] = second[place]
    return first
