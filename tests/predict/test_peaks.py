"""Peaks of heat maps become detections."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.predict.peaks import find_detections
from heldout.tasks.finder import Finder

BOXES, POINTS = Finder(objects="boxes"), Finder(objects="points")


def heat(*peaks, shape=(40, 50)):
    """One class with a Gaussian of a height and a standard deviation at every place."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    place = [np.reshape(where, (-1, *[1] * len(shape))) for where, _, _ in peaks]
    rings = [
        high * np.exp(-((grid - one) ** 2).sum(0) / (2 * wide**2))
        for one, (_, high, wide) in zip(place, peaks, strict=True)
    ]
    return np.rint(255 * np.max(rings, 0)).astype(np.uint8)[None]


@pytest.mark.parametrize("shape", [(40, 50), (20, 24, 16)])
def test_each_peak_is_a_point_with_its_height(shape):
    places = [np.array(shape) // 4, 3 * np.array(shape) // 4]
    found = find_detections(POINTS, heat((places[0], 0.9, 1.5), (places[1], 0.4, 1.5), shape=shape))
    assert found[:, 1] == pytest.approx([0.9, 0.4], abs=0.003)
    assert found[:, 2].tolist() == [1, 0]
    assert found[:, 3 : 3 + len(shape)] == pytest.approx(np.stack(places) + 0.5, abs=0.2)


def test_a_valley_of_half_the_height_separates_two_peaks_and_a_shallow_one_does_not():
    apart, together = heat(([20, 15], 0.8, 3), ([20, 25], 0.8, 3)), heat(([20, 18], 0.8, 3), ([20, 22], 0.8, 3))
    assert (len(find_detections(POINTS, apart)), len(find_detections(POINTS, together))) == (2, 1)


def test_a_shoulder_of_a_higher_peak_is_none():
    assert len(find_detections(BOXES, heat(([20, 20], 1.0, 4), ([20, 27], 0.3, 1)))) == 1


def test_boxes_are_scaled_about_their_middle():
    one = np.zeros((1, 30, 30), np.uint8)
    one[0, 10:14, 6:16] = 200
    assert find_detections(BOXES, one)[0, 3:].tolist() == [10, 6, 14, 16]
    assert find_detections(Finder(objects="boxes", box_scale=1.5), one)[0, 3:].tolist() == [9, 3.5, 15, 18.5]


def test_the_surest_are_kept_and_the_least_sure_left_out():
    one = heat(*(([5 + 10 * n, 10], 0.1 + 0.2 * n, 1) for n in range(4)))
    assert find_detections(Finder(objects="boxes", min_score=0.2), one)[:, 1] == pytest.approx(
        [0.7, 0.5, 0.3], abs=0.01
    )
    assert find_detections(Finder(objects="boxes", most=2), one)[:, 1] == pytest.approx([0.7, 0.5], abs=0.01)


def test_an_empty_map_has_none():
    assert find_detections(BOXES, np.zeros((2, 8, 8), np.uint8)).shape == (0, 7)


def test_each_class_has_its_own_threshold():
    two = np.concatenate([heat(([20, 20], 0.6, 2)), heat(([20, 20], 0.6, 2))])
    assert find_detections(BOXES, two, (100, 200))[:, [0, 2]].tolist() == [[0, 1], [1, 0]]
