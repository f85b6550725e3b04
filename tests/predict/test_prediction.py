"""Maps to masks, presence and means: integer arithmetic that must not depend on taste."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.predict.prediction import Prediction, mean_predictions, presence, to_mask

RANDOM = np.random.default_rng(0)


@given(seed=st.integers(0, 1000), size=st.integers(1, 25000), classes=st.integers(1, 3))
def test_presence_is_the_mean_of_the_largest_voxels(seed, size, classes):
    maps = np.random.default_rng(seed).integers(0, 256, (classes, size)).astype(np.uint8)
    wanted = min(size, max(10, round(size / 1000)))
    expected = [np.sort(channel)[::-1][:wanted].mean() / 255 for channel in maps]
    np.testing.assert_allclose(presence(maps), expected, rtol=1e-6)


def test_mean_of_maps_is_the_rounded_mean_and_of_scores_the_mean():
    maps = RANDOM.integers(0, 256, (3, 2, 5, 6)).astype(np.uint8)
    scores = RANDOM.random((3, 2)).astype(np.float32)
    mean = mean_predictions([Prediction("a", s, m) for s, m in zip(scores, maps, strict=True)])
    np.testing.assert_array_equal(mean.map, np.rint(maps.mean(0)))
    np.testing.assert_allclose(mean.scores, scores.mean(0), rtol=1e-6)
    assert mean.map.dtype == np.uint8
    reverse = mean_predictions([Prediction("a", s, m) for s, m in zip(scores[::-1], maps[::-1], strict=True)])
    np.testing.assert_array_equal(mean.scores, reverse.scores)


def test_the_mean_of_two_cases_is_refused():
    with pytest.raises(ValueError, match="one case"):
        mean_predictions([Prediction(name, np.zeros(1, np.float32)) for name in "ab"])


def test_one_half_is_foreground():
    values = np.rint(np.array([[0.499, 0.5, 0.501]], np.float32) * 255).astype(np.uint8)
    assert to_mask(values, None, True).tolist() == [[0, 1, 1]]


def test_thresholds_of_overlapping_classes():
    values = np.array([[10, 200], [10, 200]], np.uint8)
    assert to_mask(values, (10, 201), False).tolist() == [[1, 1], [0, 0]]


@given(seed=st.integers(0, 1000))
def test_exclusive_classes_go_to_the_most_probable_with_the_background(seed):
    logits = 3 * np.random.default_rng(seed).standard_normal((4, 50))
    probability = np.exp(logits) / np.exp(logits).sum(0)
    values = np.rint(255 * probability[1:]).astype(np.uint8)
    found, order = to_mask(values, None, True)[0], np.sort(probability, axis=0)
    clear = order[-1] - order[-2] > 4 / 255
    np.testing.assert_array_equal(found[clear], probability.argmax(0)[clear])


def test_the_background_wins_ties():
    assert to_mask(np.array([[85, 128], [85, 0]], np.uint8), None, True).tolist() == [[0, 1]]
