"""The second stage: what is tried on tables of components is exactly what full masks give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from heldout.blend.spatial import (
    MILLION,
    Spatial,
    apply_spatial,
    candidate_highs,
    candidate_lows,
    count_components,
    find_components,
    tune_spatial,
)
from heldout.metrics import get_metric

shapes = st.one_of(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 5)] * 3))
maps = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255)))


def brute_force(values, spatial):
    """Component by component, with another library."""
    labels, count = measure.label(values >= spatial.low, connectivity=values.ndim, return_num=True)
    mask = np.zeros(values.shape, bool)
    for number in range(1, count + 1):
        part = labels == number
        if values[part].max() >= spatial.high and part.sum() * MILLION >= spatial.min_size * values.size:
            mask |= part
    if spatial.fill:
        outside = measure.label(np.pad(~mask, 1, constant_values=True), connectivity=1)
        mask = (outside != outside[(0,) * values.ndim])[(slice(1, -1),) * values.ndim]
    return mask


@settings(max_examples=60, deadline=None)
@given(maps, st.integers(1, 255), st.integers(0, 255), st.integers(0, MILLION), st.booleans())
def test_masks_equal_brute_force(values, low, rise, min_size, fill):
    spatial = Spatial(low, min(255, low + rise), min_size, fill)
    np.testing.assert_array_equal(apply_spatial(values, spatial), brute_force(values, spatial))


@settings(max_examples=60, deadline=None)
@given(maps, st.integers(0, 2**31), st.integers(1, 255), st.integers(0, MILLION))
def test_counts_from_components_equal_those_of_the_mask(values, seed, threshold, min_size):
    truth = np.random.default_rng(seed).random(values.shape) < 0.4
    lows = candidate_lows(threshold)
    case = find_components(values, truth, lows)
    for index, low in enumerate(lows):
        for high in candidate_highs(low, threshold):
            spatial = Spatial(low, high, min_size)
            mask = apply_spatial(values, spatial)
            expected = [(mask & truth).sum(), (mask & ~truth).sum(), (~mask & truth).sum()]
            assert count_components([case], index, [spatial])[0, 0].tolist() == expected


def lesion_with_specks(seed):
    """A lesion whose rim is faint, and confident specks of two voxels elsewhere."""
    generator = np.random.default_rng(seed)
    values = np.zeros((48, 48), np.uint8)
    truth = np.zeros((48, 48), bool)
    row, column = generator.integers(4, 14, 2)
    truth[row : row + 12, column : column + 12] = True
    values[truth] = 90
    values[row + 4 : row + 8, column + 4 : column + 8] = 220
    for place in generator.integers(30, 46, (6, 2)):
        values[place[0], place[1] : place[1] + 2] = 200
    return values, truth


def test_tuning_finds_the_lesion_behind_its_rim_and_drops_the_specks():
    metric, lows = get_metric("dice_pos"), candidate_lows(150)
    drawn = [lesion_with_specks(seed) for seed in range(6)]
    plain = np.mean([2 * (v[t] >= 150).sum() / ((v >= 150).sum() + t.sum()) for v, t in drawn])
    value, found = tune_spatial([find_components(*case, lows) for case in drawn], lows, 150, metric)
    assert plain < 0.3
    assert value == pytest.approx(1)
    for values, truth in drawn:
        np.testing.assert_array_equal(apply_spatial(values, found), truth)


def test_nothing_is_changed_where_nothing_helps():
    values = np.zeros((16, 16), np.uint8)
    values[4:8, 4:8] = 200
    lows = candidate_lows(128)
    value, found = tune_spatial([find_components(values, values > 0, lows)], lows, 128, get_metric("dice_pos"))
    assert (value, found) == (1, Spatial(128, 128))


def test_the_score_is_never_below_that_of_the_threshold_alone():
    generator = np.random.default_rng(0)
    metric, lows = get_metric("dice_all"), candidate_lows(100)
    cases = [
        (generator.integers(0, 256, (12, 12)).astype(np.uint8), generator.random((12, 12)) < 0.3) for _ in range(5)
    ]
    components = [find_components(*case, lows) for case in cases]
    plain = count_components(components, 0, [Spatial(100, 100)])[:, 0]
    value, _ = tune_spatial(components, lows, 100, metric)
    assert value >= metric.one_class(plain, np.ones((1, 5)))[0] - 1e-12


def test_a_case_without_the_class_leaves_the_score_undefined():
    case = find_components(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), candidate_lows(100))
    value, found = tune_spatial([case], candidate_lows(100), 100, get_metric("dice_pos"))
    assert np.isnan(value)
    assert found == Spatial(100, 100)
