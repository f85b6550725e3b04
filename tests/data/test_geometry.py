import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from heldout.config import BaseConfig
from heldout.data.geometry import Geometry, orient, orientation
from heldout.data.image import BadFile, Image
from heldout.data.prepare import prepare_image, prepare_mask, restore, to_float

ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def affine_of(axes, signs, voxel_size=(1.0, 1.0, 1.0)):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for file_axis, (world_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world_axis, file_axis] = sign * voxel_size[file_axis]
    return affine


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_orientation_agrees_with_nibabel_and_comes_back_bitwise(axes, signs):
    import nibabel as nib

    array = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    affine = affine_of(axes, signs)
    expected = nib.as_closest_canonical(nib.Nifti1Image(array[0], affine)).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(orient(array, *orientation(affine, 3))[0], expected)
    _, geometry = prepare_image(Image(array, affine), BaseConfig())
    np.testing.assert_array_equal(restore(expected[None], geometry), array)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 17)] * 3),
    which=st.sampled_from(ORIENTATIONS),
    crop=st.sampled_from(["none", "nonzero"]),
    seed=st.integers(0, 1000),
)
def test_masks_come_back_exactly_where_nothing_is_resampled(shape, which, crop, seed):
    generator = np.random.default_rng(seed)
    array = np.zeros((1, *shape), np.float32)
    array[:, 1:] = generator.random((1, shape[0] - 1, *shape[1:])) + 1
    mask = (generator.random((1, *shape)) > 0.7).astype(np.uint8) * (array != 0)
    config = BaseConfig(crop=crop, image_size=(20, 20, 20))
    prepared, geometry = prepare_image(Image(array, affine_of(*which)), config)
    prepared_mask = prepare_mask(mask.astype(np.uint8), geometry)
    assert prepared.shape == prepared_mask.shape == (1, 20, 20, 20)
    np.testing.assert_array_equal(restore(prepared_mask.astype(np.float32), geometry), mask)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    resize=st.sampled_from(["stretch", "letterbox"]),
    lost=st.none() | st.just(((0, 5), (2, 0))),
)
def test_images_always_come_back_in_their_own_shape(shape, size, resize, lost):
    image = Image(np.ones((3, *shape), np.uint8), None, lost)
    prepared, geometry = prepare_image(image, BaseConfig(image_size=size, resize=resize, channels=3))
    assert prepared.shape == (3, *size)
    assert TypeAdapter(Geometry).validate_json(TypeAdapter(Geometry).dump_json(geometry), strict=True) == geometry
    back = restore(np.ones((2, *size), np.float32), geometry)
    assert back.shape == (2, *image.full_shape)
    assert np.allclose(back.sum(), 2 * shape[0] * shape[1], rtol=1e-4)


def test_lost_pixels_of_a_damaged_image_get_no_probability():
    image = Image(np.full((1, 10, 8), 9, np.uint8), None, ((0, 6), (0, 0)))
    _, geometry = prepare_image(image, BaseConfig(image_size=(20, 16), resize="stretch"))
    back = restore(np.ones((1, 20, 16), np.float32), geometry)
    assert back.shape == (1, 16, 8)
    assert (back[:, :10] == 1).all()
    assert (back[:, 10:] == 0).all()
    mask = np.zeros((1, 16, 8), np.uint8)
    mask[:, 12:] = 1
    assert not prepare_mask(mask, geometry).any()


def test_spacing_changes_the_grid_and_a_blob_comes_back():
    x, y, z = np.meshgrid(*[np.arange(n) for n in (40, 30, 12)], indexing="ij")
    mask = ((x - 20) ** 2 + (y - 14) ** 2 + (3 * (z - 6)) ** 2 < 81).astype(np.uint8)[None]
    affine = affine_of((1, 0, 2), (-1, 1, 1), voxel_size=(1.0, 1.0, 3.0))
    image = Image(mask * np.float32(100) + 1, affine)
    prepared, geometry = prepare_image(image, BaseConfig(spacing=(1.0, 1.0, 1.0)))
    assert prepared.shape == (1, 30, 40, 36)
    assert prepared.dtype == np.float16
    back = restore(prepare_mask(mask, geometry).astype(np.float32), geometry) > 0.5
    dice = 2 * (back & (mask > 0)).sum() / (back.sum() + mask.sum())
    assert dice > 0.97


def test_volumes_are_never_enlarged_by_letterbox_because_their_voxel_size_means_something():
    image = Image(np.random.default_rng(0).random((1, 10, 20, 30)), np.eye(4))
    _, geometry = prepare_image(image, BaseConfig(image_size=(32, 32, 32)))
    assert geometry.resized == (10, 20, 30)
    _, geometry = prepare_image(image, BaseConfig(image_size=(15, 15, 15)))
    assert geometry.resized == (5, 10, 15)


def test_a_volume_without_voxel_size_cannot_have_a_spacing():
    with pytest.raises(BadFile, match="spacing = None"):
        prepare_image(Image(np.ones((1, 4, 4, 4))), BaseConfig(spacing=(1.0, 1.0, 1.0)))


def test_gray_and_rgb_are_converted_and_other_channels_refused():
    gray = Image(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    copies, _ = prepare_image(gray, BaseConfig(channels=3, normalize="unit"))
    np.testing.assert_array_equal(copies, np.repeat(gray.array, 3, axis=0))
    rgb = Image(np.stack([np.full((8, 8), value, np.uint8) for value in (255, 0, 0)]))
    luma, _ = prepare_image(rgb, BaseConfig(channels=1, normalize="unit"))
    assert (luma == 76).all()
    with pytest.raises(BadFile, match="channels = 3"):
        prepare_image(Image(np.ones((2, 8, 8))), BaseConfig(channels=3))


@pytest.mark.parametrize("shape", [(1, 12, 9), (1, 7, 8, 9)])
@pytest.mark.parametrize("method", ["zscore", "percentile", "window", "unit"])
def test_normalization(shape, method):
    array = np.random.default_rng(1).normal(100, 30, shape).astype(np.float32).clip(1)
    array[:, :2] = 0
    config = BaseConfig(normalize=method, window=(100.0, 50.0))
    values = to_float(prepare_image(Image(array), config)[0])
    inside = values[array != 0]
    if method == "zscore":
        assert abs(inside.mean()) < 1e-2
        assert abs(inside.std() - 1) < 1e-2
    else:
        assert values.min() == 0
        assert values.max() == 1
        low, high = {
            "percentile": np.percentile(array[array != 0], (1, 99)),
            "window": (75, 125),
            "unit": (0, array.max()),
        }[method]
        np.testing.assert_allclose(values, ((array - low) / (high - low)).clip(0, 1), atol=3e-3)
