"""Overlay images show the right cases and mark each pixel once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from heldout.evaluate.cases import ClassifiedCase, SegmentedCase
from heldout.evaluate.row import Row
from heldout.report.figures import (
    CLASS_COLORS,
    EXTRA,
    HIT,
    MISSED,
    draw_classification,
    draw_segmentation,
    error_areas,
    finish_figure,
    planar,
)
from heldout.report.gradcam import Explained, draw
from heldout.report.svg import forest


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
    shown = planar(SegmentedCase("a", np.zeros((1, 6, 7, 5)), truth, np.zeros_like(truth)))
    assert shown.image.shape == (7, 6)
    assert shown.truth.sum() == 2


def test_pictures_are_drawn_for_both_kinds(tmp_path):
    random = np.random.default_rng(0)
    masks = random.integers(0, 2, (2, 30, 40)).astype(bool)
    cases = [SegmentedCase(name, random.random((3, 30, 40)), masks, masks[::-1]) for name in ("a", "b")]
    draw_segmentation(cases, ("small", "large"), "title", tmp_path / "s.png")
    one = ClassifiedCase("a", random.random((1, 8, 8, 8)), ("tumor",), {"tumor": 0.2})
    draw_classification([one] * 5, "title", tmp_path / "c.png")
    for name in ("s.png", "c.png"):
        assert min(cv2.imread(str(tmp_path / name)).shape[:2]) > 300


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """What is drawn to ``a.png``, as figures with everything in place."""
    drawn = []

    def keep(figure, title, path):
        finish_figure(figure, title, path)
        figure.canvas.draw()
        drawn.append(figure)

    for module in ("figures", "gradcam"):
        monkeypatch.setattr(f"heldout.report.{module}.finish_figure", keep)
    return drawn


def test_colors_of_classes_are_not_those_of_errors():
    from matplotlib.colors import to_rgb

    for color in CLASS_COLORS:
        for other in (HIT, EXTRA, MISSED):
            assert np.abs(np.subtract(to_rgb(color), to_rgb(other))).sum() > 0.5


def test_titles_of_classified_cases_lie_on_no_image_and_no_other_title(figures, tmp_path):
    random = np.random.default_rng(0)
    labels = {f"a class with a long name {k}": k / 9 for k in range(9)}
    sizes = [(1, 60, 40), (1, 20, 90), (1, 64, 64), (1, 90, 30)] * 2
    cases = [ClassifiedCase(f"{'case' * 12}{k}", random.random(size), ("x",), labels) for k, size in enumerate(sizes)]
    draw_classification(cases, "a title " * 30, tmp_path / "a.png")
    (figure,) = figures
    titles = [axis.title.get_window_extent() for axis in figure.axes]
    images = [axis.get_window_extent() for axis in figure.axes]
    for k, title in enumerate(titles):
        assert not any(title.overlaps(image) for image in images)
        assert not any(title.overlaps(other) for other in titles[:k])
        assert not title.overlaps(figure.texts[0].get_window_extent())


def test_a_heat_map_leaves_the_image_as_it_is_where_there_is_no_heat(figures, tmp_path):
    heat = np.zeros((16, 16))
    heat[4:8, 4:8] = 1
    case = Explained("a", "best", np.random.default_rng(0).random((1, 16, 16)), heat, "tumor", 0.9, True)
    draw([case, case], "title", tmp_path / "a.png")
    (figure,) = figures
    assert len(figure.axes) == 5  # two images, two maps, and the bar of colors
    assert "evidence" in figure.axes[-1].get_ylabel()
    drawn = figure.axes[2].images[-1].get_alpha()
    assert drawn[0, 0] == 0
    assert drawn[5, 5] > 0.5


def test_names_in_the_forest_are_whole():
    name = "exp040_lite0+lr=0.001,epochs=30"
    row = Row(name, "run", "A title", score=0.8, low=0.7, high=0.9, complete=True)
    assert f">{name}</text>" in forest([row], "dice_pos")
