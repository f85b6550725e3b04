"""Augmentation on one thread: images with albumentations and torchvision, volumes in batches on the training device.

``pip install --no-deps batchgeneratorsv2 batchgenerators fft-conv-pytorch`` measures nnU-Net's library beside it.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from record import Measurement, record

from heldout.predict.allocator import keep_freed_memory
from heldout.tasks import Segment2D, Segment3D
from heldout.tasks.augment.image import augment_sample

SIZES = {"gray": (1, 384, 384), "color": (3, 256, 256)}
VOLUME = (2, 1, 40, 56, 40)
PATCHES = (VOLUME, (1, 1, 96, 96, 96))
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


def theirs(shape: tuple[int, ...]) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """The transforms that nnU-Net 2.8 trains volumes with, of its library batchgeneratorsv2, for one sample."""
    from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    each = {"synchronize_channels": False, "p_per_channel": 1}
    quarter, power = BGContrast((0.75, 1.25)), BGContrast((0.7, 1.5))
    chances: list[tuple[BasicTransform, float]] = [
        (GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
        (
            GaussianBlurTransform(
                blur_sigma=(0.5, 1.0),
                synchronize_channels=False,
                synchronize_axes=False,
                p_per_channel=0.5,
                benchmark=True,
            ),
            0.2,
        ),
        (MultiplicativeBrightnessTransform(multiplier_range=quarter, **each), 0.15),
        (ContrastTransform(contrast_range=quarter, preserve_range=True, **each), 0.15),
        (
            SimulateLowResolutionTransform(
                scale=(0.5, 1),
                synchronize_channels=False,
                synchronize_axes=True,
                ignore_axes=None,
                allowed_channels=None,
                p_per_channel=0.5,
            ),
            0.25,
        ),
        (GammaTransform(gamma=power, p_invert_image=1, p_retain_stats=1, **each), 0.1),
        (GammaTransform(gamma=power, p_invert_image=0, p_retain_stats=1, **each), 0.3),
    ]
    spatial = SpatialTransform(
        shape[2:],
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=0,
        p_rotation=0.2,
        rotation=(-math.radians(30), math.radians(30)),
        p_scaling=0.2,
        scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1,
        bg_style_seg_sampling=False,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    changes = [RandomTransform(transform, apply_probability=chance) for transform, chance in chances]
    whole = ComposeTransforms([spatial, *changes, MirrorTransform(allowed_axes=(0, 1, 2))])
    return lambda image, label: whole(image=image.clone(), segmentation=label.clone())


def beside_nnunet() -> list[Measurement]:
    """Volumes with the same transforms by both; ours alone where batchgeneratorsv2 is not installed."""
    found, installed = [], importlib.util.find_spec("batchgeneratorsv2") is not None
    for shape in PATCHES:
        size = "x".join(map(str, shape[2:]))
        volume, label = torch.randn(shape), torch.zeros((shape[0], 1, *shape[2:]), dtype=torch.uint8)
        augment = Segment3D.create(overrides={"augment": "nnunet"}).build_augment()
        ours = milliseconds(lambda seed, a=augment, v=volume, m=label: a(v, m, torch.Generator().manual_seed(seed)))
        ours /= shape[0]
        found.append(Measurement(f"3D, nnunet, a volume of {size}", ours, "ms"))
        if installed:
            transform, mask = theirs(shape), label[0].to(torch.int16)
            took = milliseconds(lambda _, t=transform, v=volume[0], m=mask: t(v, m))
            found.append(Measurement(f"3D, batchgeneratorsv2, same transforms, a volume of {size}", took, "ms"))
            what = f"3D, times faster than batchgeneratorsv2, {size}"
            found.append(Measurement(what, took / ours, "x", 1.5, at_least=True))
    return found


def main() -> None:
    """Measure, and write ``benchmarks/results/augment``."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does, here for both
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
    for strength in ("light", "strong"):
        augment = Segment3D.create(overrides={"augment": strength}).build_augment()
        took = milliseconds(lambda seed, a=augment: a(volume, label, torch.Generator().manual_seed(seed)))
        found.append(Measurement(f"3D, {strength}, a volume of 40x56x40", took / VOLUME[0], "ms"))
    found += beside_nnunet()
    record(
        "augment",
        found,
        "processor time on one thread; albumentations and torchvision draw alike, not equally; memory is kept",
    )


if __name__ == "__main__":
    main()
