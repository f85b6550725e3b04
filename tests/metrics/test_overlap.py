"""Voxel counts and overlaps equal brute force; what an empty mask scores is in the metric's name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heldout.errors import UserError
from heldout.metrics import count_errors
from heldout.metrics.overlap import case_dice, case_iou


@st.composite
def masks(draw):
    classes, exclusive = draw(st.sampled_from([(1, False), (1, True), (3, True), (3, False)]))
    channels, highest = (1, classes) if exclusive or classes == 1 else (classes, 1)
    shape = (channels, *draw(st.sampled_from([(5, 4), (3, 2, 3)])))
    pair = [draw(arrays(np.uint8, shape, elements=st.integers(0, highest))) for _ in range(2)]
    return *pair, classes, exclusive


@settings(max_examples=100, deadline=None)
@given(masks())
def test_counts_equal_brute_force(case):
    pred, truth, classes, exclusive = case
    counts = count_errors(pred, truth, classes, exclusive)
    assert counts.dtype == np.int64
    for k in range(classes):
        label_map = exclusive or classes == 1
        p, t = ((m[0] == k + 1) if label_map else (m[k] > 0) for m in (pred, truth))
        assert counts[k].tolist() == [(p & t).sum(), (p & ~t).sum(), (~p & t).sum()]
        union = (p | t).sum()
        assert case_iou(counts[k], 1.0) == pytest.approx((p & t).sum() / union if union else 1.0)
        assert case_dice(counts[k], 0.0) == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()) if union else 0.0)


def test_masks_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"\(1, 4, 4\).*\(1, 4, 5\).*own size"):
        count_errors(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 5), np.uint8), 1, True)


def test_an_unknown_label_is_refused():
    mask = np.full((1, 4, 4), 7, np.uint8)
    with pytest.raises(UserError, match=r"label 7.*end at 2.*class list"):
        count_errors(mask, mask, 2, True)
