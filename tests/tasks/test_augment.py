"""Augmentation: every sample its own draw, equal for equal seeds, and masks that move with their image."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid, grid_sample

from heldout.errors import UserError
from heldout.tasks import Segment2D, Segment3D
from heldout.tasks.augment import nnunet
from heldout.tasks.augment.image import augment_sample
from heldout.tasks.augment.volume import VolumeAugment, nearest, rotations, transform_grid

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (3, 48, 40)).astype(np.uint8)
MASK = RANDOM.choice(np.array([0, 1, 2], np.uint8), (1, 48, 40))


@pytest.fixture(params=["light", "strong", "appearance"])
def strength(request):
    return request.param


def image_augment(**fields):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # albumentations only warns about arguments that it ignores
        return Segment2D.create(overrides=fields).build_augment()


def volume_augment(**fields) -> VolumeAugment:
    return Segment3D.create(overrides=fields).build_augment()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("normalize", ["percentile", "zscore"])
def test_image_draws_are_distinct_across_seeds_and_reproducible(strength, normalize):
    image = IMAGE if normalize == "percentile" else RANDOM.standard_normal((3, 48, 40)).astype(np.float16)
    augment = image_augment(augment=strength, normalize=normalize)
    first = [augment_sample(augment, image, MASK, seed) for seed in range(16)]
    again = [augment_sample(augment, image, MASK, seed) for seed in reversed(range(16))][::-1]
    for (image_a, mask_a), (image_b, mask_b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image_a, image_b)
        np.testing.assert_array_equal(mask_a, mask_b)
        assert image_a.shape == IMAGE.shape
        assert mask_a.shape == MASK.shape
        assert set(np.unique(mask_a)) <= {0, 1, 2}
    # light draws often do no more than flip, and there are only four ways to do that
    assert len({result.tobytes() for result, _ in first}) >= (9 if strength == "light" else 12)


def test_maps_of_a_first_stage_move_with_the_image_and_keep_their_values(strength):
    maps = np.where(MASK > 0, 200, 0).astype(np.uint8)
    augment = image_augment(augment=strength)
    for seed in range(8):
        both, moved = augment_sample(augment, np.concatenate([IMAGE, maps]), MASK, seed, len(IMAGE))
        np.testing.assert_array_equal(both[len(IMAGE) :], np.where(moved > 0, 200, 0))
        np.testing.assert_array_equal(both[: len(IMAGE)], augment_sample(augment, IMAGE, MASK, seed)[0])


def test_maps_of_a_first_stage_keep_their_values_in_volumes():
    mask = (torch.rand(6, 1, 10, 12, 8, generator=generator(1)) > 0.5).to(torch.uint8)
    image = torch.cat([torch.randn(6, 1, 10, 12, 8, generator=generator(2)), mask.float()], dim=1)
    augment = VolumeAugment("x", rotation=0.0, scale=1.0, probability=1.0, channels=1)
    changed, moved = augment(image, mask, generator(0))
    torch.testing.assert_close(changed[:, 1:], moved.float())
    assert not torch.equal(changed[:, :1].sort().values, image[:, :1].sort().values)


def test_another_transform_of_the_same_experiment_draws_the_same():
    results = [augment_sample(image_augment(augment="strong"), IMAGE, MASK, 5) for _ in range(2)]
    np.testing.assert_array_equal(results[0][0], results[1][0])


def test_z_scores_are_not_clipped():
    image = 3 * RANDOM.standard_normal((1, 48, 40)).astype(np.float32)
    augment = image_augment(augment="strong", normalize="zscore")
    assert all(augment_sample(augment, image, None, seed)[0].min() < -1 for seed in range(8))


def test_image_and_mask_move_together():
    spot = np.zeros((1, 64, 64), np.uint8)
    spot[:, 10:22, 30:44] = 1
    augment = image_augment(augment="strong")
    for seed in range(12):
        image, mask = augment_sample(augment, spot * 255, spot, seed)
        inside, outside = image[mask == 1], image[mask == 0]
        if inside.size > 20:
            assert np.median(inside) > np.median(outside)


@pytest.mark.parametrize("normalize", ["percentile", "zscore"])
def test_appearance_moves_images_as_light_does_and_changes_intensities_beyond_it(normalize):
    scale = 255 if normalize == "percentile" else 1
    # inside the mask an image of one value shows what the intensities alone went through
    image = np.full((1, 48, 40), 0.5 * scale, np.uint8 if scale == 255 else np.float32)
    # brightness and contrast of light at their ends; of z-scores, gain and shift
    low, high = (0.5 * 0.85 - 0.15, 0.5 * 1.15 + 0.15) if scale == 255 else (0.5 * 0.9 - 0.1, 0.5 * 1.1 + 0.1)
    transforms = {name: image_augment(augment=name, normalize=normalize) for name in ("light", "appearance")}
    beyond = {"light": 0, "appearance": 0}
    for seed in range(40):
        found = {name: augment_sample(augment, image, MASK, seed) for name, augment in transforms.items()}
        np.testing.assert_array_equal(found["appearance"][1], found["light"][1])
        for name, (changed, _) in found.items():
            middle = float(np.median(changed[0, 18:30, 14:26])) / scale
            beyond[name] += not low - 0.01 <= middle <= high + 0.01
    assert beyond["light"] == 0
    assert beyond["appearance"] >= 4


def test_flips_can_be_limited():
    rows = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[:, None], 32, axis=1)[None]
    augment = image_augment(flips="h")
    for seed in range(12):
        image, _ = augment_sample(augment, rows, None, seed)
        assert image[0, 26, 16] > image[0, 6, 16]


def test_no_augmentation_is_none():
    assert image_augment(augment="none") is None
    assert volume_augment(augment="none") is None


def volumes(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.rand(1, 1, 12, 10, 8, generator=generator(0)).expand(count, -1, -1, -1, -1)
    return image, (image > 0.7).to(torch.uint8) * 2


def test_volume_draws_are_distinct_in_a_batch_and_reproducible(strength):
    image, mask = volumes()
    augment = volume_augment(augment=strength)
    changed, moved = augment(image, mask, generator(1))
    again, _ = augment(image, mask, generator(1))
    other, _ = augment(image, mask, generator(2))
    assert torch.equal(changed, again)
    assert not torch.equal(changed, other)
    assert len({sample.numpy().tobytes() for sample in changed}) >= 6
    assert changed.shape == image.shape
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 2}
    assert torch.isfinite(changed).all()


def test_appearance_moves_volumes_as_light_does_and_changes_intensities_as_strong_does():
    image, mask = volumes(64)
    found = {
        name: volume_augment(augment=name, flips="y")(image, mask, generator(1))
        for name in ("light", "strong", "appearance")
    }
    assert torch.equal(found["appearance"][1], found["light"][1])
    # where strong neither turns nor scales, light does not either, and only intensities are left to differ
    flipped = VolumeAugment("y", probability=0.0)(image, mask, generator(1))[1]
    resting = (found["strong"][1] == flipped).flatten(1).all(dim=1)
    assert 0 < resting.sum() < len(image)
    torch.testing.assert_close(found["appearance"][0][resting], found["strong"][0][resting], rtol=0, atol=0)
    assert not torch.equal(found["appearance"][0][resting], found["light"][0][resting])
    assert not torch.equal(found["appearance"][1], found["strong"][1])


def test_volume_draws_leave_the_global_random_numbers_alone():
    image, mask = volumes()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    volume_augment(augment="strong")(image, mask, generator(1))
    assert torch.equal(torch.rand(1), expected)


def test_volume_and_mask_move_together():
    mask = torch.zeros(12, 1, 16, 18, 14, dtype=torch.uint8)
    mask[:, :, 3:9, 4:12, 5:9] = 1
    augment = VolumeAugment(probability=1.0, gamma=1.0, brightness=0.0, contrast=0.0, noise=0.0)
    image, moved = augment(mask.float(), mask, generator(0))
    agreement = ((image > 0.5) == (moved == 1)).float().mean()
    assert agreement > 0.98
    assert not torch.equal(moved, mask)


def extents(volume: torch.Tensor) -> list[int]:
    occupied = volume[0, 0] > 0.5
    return [int(occupied.any(dim=others).sum()) for others in ((1, 2), (0, 2), (0, 1))]


def test_a_quarter_turn_through_thick_slices_keeps_millimeters():
    box = torch.zeros(1, 1, 9, 32, 8)
    box[0, 0, 2:7, 12:20, 2:6] = 1  # 5 x 8 x 16 mm
    grid = transform_grid(torch.tensor([[torch.pi / 2, 0.0, 0.0]]), torch.ones(1), box.shape[2:], (1.0, 1.0, 4.0))
    assert extents(nearest(box, grid)) == [5, 16, 2]


def test_scales_above_one_enlarge():
    box = torch.zeros(1, 1, 16, 16, 16)
    box[0, 0, 6:10, 6:10, 6:10] = 1
    grid = transform_grid(torch.zeros(1, 3), torch.tensor([2.0]), box.shape[2:], (1.0, 1.0, 1.0))
    assert extents(nearest(box, grid)) == [8, 8, 8]


def test_the_grid_and_the_nearest_voxels_are_those_of_torch():
    random, shape, spacing = generator(0), (9, 14, 11), torch.tensor([1.0, 2.0, 1.5])
    angles, scales = torch.rand(3, 3, generator=random) - 0.5, 0.7 + torch.rand(3, generator=random)
    grid = transform_grid(angles, scales, shape, spacing.tolist())
    size = torch.tensor(shape) * spacing
    matrices = rotations(angles) / scales.view(-1, 1, 1) * size.view(1, 1, 3) / size.view(1, 3, 1)
    theta = torch.cat([matrices.flip(1, 2), torch.zeros(3, 3, 1)], dim=2)
    torch.testing.assert_close(grid, affine_grid(theta, [3, 1, *shape], align_corners=False))
    mask = torch.randint(0, 5, (3, 2, *shape), generator=random, dtype=torch.uint8)
    expected = grid_sample(mask.float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    assert torch.equal(nearest(mask, grid), expected.to(torch.uint8))


def test_only_named_axes_are_flipped():
    image = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(16, 1, 6, 4, 4)
    augment = VolumeAugment("yz", probability=0.0)
    assert torch.equal(augment(image, None, generator(0))[0], image)
    flipped = VolumeAugment("x", probability=0.0)(image, None, generator(0))[0]
    assert {tuple(sample[0, :, 0, 0].tolist()) for sample in flipped} == {(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0)}


def test_intensity_changes_leave_a_constant_volume_finite():
    image = torch.full((8, 2, 6, 6, 6), 0.5)
    changed, _ = volume_augment(augment="strong", flips="")(image, None, generator(0))
    assert torch.isfinite(changed).all()


@pytest.mark.parametrize("normalize", ["percentile", "zscore"])
def test_torchvision_is_another_library_behind_the_same_field(strength, normalize):
    image = IMAGE if normalize == "percentile" else RANDOM.standard_normal(IMAGE.shape).astype(np.float16)
    maps = np.where(MASK > 0, 200, 0).astype(np.uint8)
    fields = {"augment": strength, "normalize": normalize, "augment_library": "torchvision", "channels": len(IMAGE)}
    augment = image_augment(**fields)
    first, again = ([augment_sample(augment, image, MASK, seed) for seed in range(16)] for _ in range(2))
    for (image_a, mask_a), (image_b, mask_b) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image_a, image_b)
        np.testing.assert_array_equal(mask_a, mask_b)
        assert (image_a.shape, mask_a.shape) == (IMAGE.shape, MASK.shape)
        assert (image_a.dtype == np.uint8) == (normalize == "percentile")
        assert set(np.unique(mask_a)) <= {0, 1, 2}
    assert len({result.tobytes() for result, _ in first}) >= 9
    if normalize == "percentile":
        for seed in range(8):
            both, moved = augment_sample(augment, np.concatenate([IMAGE, maps]), MASK, seed)
            assert ((both[len(IMAGE) :] > 100) == (moved > 0)).mean() > 0.9  # interpolated here, nearest there


def test_volumes_are_augmented_as_nnunet_does():
    augment = volume_augment(augment="nnunet", flips="")
    image = torch.randn(24, 2, 12, 10, 8, generator=generator(1)).cumsum(dim=2)
    mask = (image[:, :1] > 0).to(torch.uint8)
    changed, moved = augment(image, mask, generator(0))
    again, _ = augment(image, mask, generator(0))
    assert torch.equal(changed, again)
    assert changed.shape == image.shape
    assert torch.isfinite(changed).all()
    assert set(moved.unique().tolist()) <= {0, 1}
    same = [torch.equal(a, b) for a, b in zip(changed, image, strict=True)]
    assert 0 < sum(same) < 18  # every transform is rare, and some samples meet none


def test_the_transforms_of_nnunet_do_what_their_names_say():
    image = torch.randn(1, 2, 16, 14, 12, generator=generator(0))
    smooth = nnunet.blurred(image, 1.0)
    assert float(smooth.std()) < 0.5 * float(image.std())
    constant = torch.full((1, 1, 8, 8, 8), 3.0)
    torch.testing.assert_close(nnunet.blurred(constant, 0.7), constant)
    bent = nnunet.with_gamma(image, 1.4)
    torch.testing.assert_close(bent.mean(dim=(2, 3, 4)), image.mean(dim=(2, 3, 4)), atol=1e-5, rtol=0)
    torch.testing.assert_close(bent.std(dim=(2, 3, 4)), image.std(dim=(2, 3, 4)))
    assert float(bent.flatten(2).gather(2, image.flatten(2).argsort(dim=2)).diff(dim=2).min()) > -1e-6
    steep = nnunet.with_contrast(image, 1.2)
    assert float(steep.max()) <= float(image.max())
    assert torch.equal(nnunet.coarse(image, 1.0), image)
    low = nnunet.coarse(image, 0.5)
    assert float((low - image).abs().mean()) > 0.1


def test_the_augmentation_of_nnunet_is_for_volumes():
    with pytest.raises(UserError, match="augment = 'nnunet' is for volumes: set augment = 'strong'"):
        image_augment(augment="nnunet")
