"""Augmentation on one thread: images with albumentations and torchvision, volumes in batches on the training device."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from record import Measurement, record

from heldout.tasks import Segment2D, Segment3D
from heldout.tasks.augment.image import augment_sample

SIZES = {"gray": (1, 384, 384), "color": (3, 256, 256)}
VOLUME = (2, 1, 40, 56, 40)
SECONDS = 1.5


def milliseconds(step: Callable[[int], object]) -> float:
    """Processor time of a call: the mean over some seconds of it, after a few calls to warm up."""
    for number in range(5):
        step(number)
    count, begun = 0, time.process_time()
    while time.process_time() - begun < SECONDS:
        step(count)
        count += 1
    return 1000 * (time.process_time() - begun) / count


def main() -> None:
    """Measure, and write ``benchmarks/results/augment``."""
    torch.set_num_threads(1)
    random, found = np.random.default_rng(0), []
    for name, shape in SIZES.items():
        image = random.integers(0, 256, shape).astype(np.uint8)
        mask = (random.random((1, *shape[1:])) > 0.9).astype(np.uint8)
        for strength in ("light", "strong"):
            for library in ("albumentations", "torchvision"):
                fields = {"augment": strength, "augment_library": library, "channels": shape[0]}
                augment = Segment2D.create(overrides=fields).build_augment()
                took = milliseconds(lambda seed, a=augment, i=image, m=mask: augment_sample(a, i, m, seed))
                size = "x".join(map(str, shape[1:]))
                found.append(Measurement(f"{library}, {strength}, {name} image of {size} with mask", took, "ms"))
    volume, label = torch.randn(VOLUME), torch.zeros((VOLUME[0], 1, *VOLUME[2:]), dtype=torch.uint8)
    for strength in ("light", "strong", "nnunet"):
        augment = Segment3D.create(overrides={"augment": strength}).build_augment()
        took = milliseconds(lambda seed, a=augment: a(volume, label, torch.Generator().manual_seed(seed)))
        found.append(Measurement(f"3D, {strength}, a volume of 40x56x40", took / VOLUME[0], "ms"))
    record("augment", found, "processor time on one thread; albumentations and torchvision draw alike, not equally")


if __name__ == "__main__":
    main()
