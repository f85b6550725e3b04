"""Overlay pictures show the right cases and mark each pixel once."""

from __future__ import annotations

import cv2
import numpy as np

from heldout.evaluate.cases import ClassifiedCase, SegmentedCase
from heldout.report.figures import (
    draw_classification,
    draw_segmentation,
    error_areas,
    planar,
)


def test_every_wrong_pixel_is_marked_once():
    random = np.random.default_rng(0)
    truth, predicted = (random.integers(0, 2, (3, 20, 20)).astype(bool) for _ in range(2))
    areas = np.stack(error_areas(truth, predicted))
    assert (areas.sum(0) == (truth | predicted).any(0)).all()
    wrong_class = error_areas(np.array([[[1]], [[0]]], bool), np.array([[[0]], [[1]]], bool))
    assert [bool(area[0, 0]) for area in wrong_class] == [False, True, False]


def test_of_a_volume_the_fullest_slice_is_shown():
    truth = np.zeros((1, 6, 7, 5), bool)
    truth[0, 2:4, 3, 3] = True
    picture, shown, _ = planar(SegmentedCase("a", np.zeros((1, 6, 7, 5)), truth, np.zeros_like(truth)))
    assert picture.shape == (7, 6)
    assert shown.sum() == 2


def test_pictures_are_drawn_for_both_kinds(tmp_path):
    random = np.random.default_rng(0)
    masks = random.integers(0, 2, (2, 30, 40)).astype(bool)
    cases = [SegmentedCase(name, random.random((3, 30, 40)), masks, masks[::-1]) for name in ("a", "b")]
    draw_segmentation(cases, ("small", "large"), "title", tmp_path / "s.png")
    one = ClassifiedCase("a", random.random((1, 8, 8, 8)), ("tumor",), {"tumor": 0.2})
    draw_classification([one] * 5, "title", tmp_path / "c.png")
    for name in ("s.png", "c.png"):
        assert min(cv2.imread(str(tmp_path / name)).shape[:2]) > 300
