"""Masks of the largest expected Dice: no other threshold of the image is expected to do better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heldout.tasks.expected_dice import expected_dice_mask

MAPS = arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))


def expected_dice(values, mask):
    """Twice the probabilities in the mask, over its voxels and all probabilities."""
    return 2 * values[mask].sum() / (255 * mask.sum() + values.sum())


@given(MAPS, st.integers(0, 255))
def test_no_other_threshold_is_expected_to_do_better(probability, threshold):
    before = (probability >= threshold).astype(np.uint8)
    found = expected_dice_mask(probability, before)
    assert found.dtype == np.uint8
    for values, cut, mask in zip(probability.astype(int), before, found > 0, strict=True):
        if not cut.any() or not values.any():
            assert not mask.any()
            continue
        assert values[mask].min() > values[~mask].max(initial=-1)
        best = max(expected_dice(values, values >= level) for level in range(1, values.max() + 1))
        assert expected_dice(values, mask) == pytest.approx(best)
        assert 1 >= values[mask].min() / 255 >= best / 2 - 1 / 255  # at half the Dice that is reached


def test_a_faint_lesion_is_cut_lower_than_a_confident_one():
    shape = np.array([[0, 0, 10, 60, 100, 60, 10, 0]], np.uint8)
    faint, confident = (expected_dice_mask(values, values > 50)[0].astype(bool) for values in (shape, 2 * shape))
    assert shape[0][faint].min() < (2 * shape)[0][confident].min()
    assert not expected_dice_mask(shape, shape > 100).any()


def test_exclusive_classes_are_refused():
    with pytest.raises(ValueError, match="several exclusive classes have no threshold"):
        expected_dice_mask(np.zeros((2, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8))
