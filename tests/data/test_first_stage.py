"""A first stage's map on the second stage's grid, and the window that holds most of it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heldout.data.first_stage import FirstStageMap, fullest
from heldout.data.image import BadFile, Image
from heldout.data.transform import prepare_image
from tests.data.toy import toy_config


@given(st.data())
def test_the_fullest_window_holds_as_much_as_any(data):
    values = data.draw(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
    shape = tuple(data.draw(st.integers(1, length)) for length in values.shape)
    starts = list(product(*(range(length - size + 1) for length, size in zip(values.shape, shape, strict=True))))

    def held(start):
        return int(values[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))].sum())

    found = fullest(values, shape)
    best = [start for start in starts if held(start) == max(map(held, starts))]
    assert found in best


def test_of_two_findings_in_opposite_corners_the_window_holds_one():
    values = np.zeros((9, 9), int)
    values[0, 0] = values[8, 8] = 200
    assert fullest(values, (3, 3)) == (0, 0)


def test_one_finding_lies_in_the_middle_of_its_window_and_none_gives_the_middle():
    values = np.zeros((21, 31), int)
    assert fullest(values, (11, 11)) == (5, 10)
    values[9:12, 14:17] = 200
    assert fullest(values, (11, 11)) == (5, 10)
    values[:] = 0
    values[1, 29] = 1
    assert fullest(values, (11, 11)) in {(0, 20), (1, 20)}


@pytest.mark.parametrize("affine", [None, np.diag([-1.0, 1, 2, 1])[[2, 0, 1, 3]]], ids=["2D", "turned volume"])
def test_a_map_goes_the_way_of_its_image(affine):
    shape = (24, 20) if affine is None else (12, 10, 8)
    array = np.random.default_rng(0).integers(1, 256, (1, *shape)).astype(np.uint8)
    array[0].flat[0] = 255
    config = toy_config(normalize="unit", image_size=(16, 16) if affine is None else (8, 8, 8))
    first_map = FirstStageMap(np.concatenate([array, 255 - array]), "channel", 0.5)
    prepared, _ = prepare_image(Image(array, affine), config, first_map)
    assert len(prepared) == 3
    step = 1 if affine is None else 1 / 255
    np.testing.assert_allclose(prepared[1].astype(float), prepared[0].astype(float), atol=step)
    alone, _ = prepare_image(Image(array, affine), config)
    np.testing.assert_array_equal(prepared[:1], alone)


def test_a_crop_shows_the_finding_at_twice_the_size():
    array = np.zeros((1, 40, 60), np.uint8)
    array[0, 5:11, 44:50] = 255
    config = toy_config(normalize="unit", image_size=(20, 30))
    cropped, geometry = prepare_image(Image(array), config, FirstStageMap(array, "crop", 0.5))
    whole, _ = prepare_image(Image(array), config)
    assert geometry.cropped == (20, 30)
    assert (cropped > 127).sum() == 36
    assert (whole > 127).sum() <= 16


def test_a_truncated_image_takes_the_part_of_the_map_that_it_has():
    array = np.random.default_rng(0).integers(1, 256, (1, 10, 20)).astype(np.uint8)
    array[0, 0, 0] = 255
    full = np.concatenate([array, np.zeros_like(array)], axis=1)
    config = toy_config(normalize="unit", image_size=None)
    prepared, _ = prepare_image(Image(array, lost=((0, 10), (0, 0))), config, FirstStageMap(full, "channel", 0.5))
    np.testing.assert_array_equal(prepared[1], prepared[0])


def test_a_map_of_another_grid_is_refused():
    array = np.ones((1, 10, 20), np.uint8)
    with pytest.raises(BadFile, match=r"map of the first stage has the shape \(10, 10\), the image \(10, 20\)"):
        prepare_image(Image(array), toy_config(), FirstStageMap(array[..., :10], "channel", 0.5))
