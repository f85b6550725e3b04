"""Lesions, surfaces and depth against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from heldout.errors import UserError
from heldout.metrics import count_lesions, iou_by_depth, mean_by_depth, score, surface_distances

shapes = st.sampled_from([(5, 4), (4, 3, 5), (1, 6, 3)])


@st.composite
def pairs(draw):
    shape = draw(shapes)
    return tuple(draw(arrays(bool, shape, elements=st.sampled_from([False, False, True]))) for _ in range(2))


def components(mask):
    """Sets of voxels that touch by a face, an edge or a corner, by flooding."""
    left, found = set(map(tuple, np.argwhere(mask))), []
    while left:
        queue = [left.pop()]
        part = set(queue)
        while queue:
            voxel = queue.pop()
            for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
                other = tuple(np.add(voxel, step).tolist())
                if other in left:
                    left.remove(other)
                    part.add(other)
                    queue.append(other)
        found.append(part)
    return found


@settings(deadline=None, max_examples=60)
@given(pairs(), st.sampled_from([0.0, 0.5, 1.0]))
def test_lesions_agree_with_flooding(masks, share):
    pred, truth = masks
    truths, preds = components(truth), components(pred)

    def meets(part, other):
        return sum(other[voxel] for voxel in part) >= max(1, share * len(part))

    expected = [
        len(truths),
        sum(meets(part, pred) for part in truths),
        len(preds),
        sum(not meets(part, truth) for part in preds),
    ]
    assert count_lesions(pred, truth, share).tolist() == expected


def test_lesions_that_touch_at_a_corner_are_one():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_lesions(mask, mask).tolist() == [1, 1, 1, 0]


@settings(deadline=None, max_examples=60)
@given(pairs(), st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=3, max_size=3))
def test_surface_distances_agree_with_all_pairs(masks, spacing):
    pred, truth = masks
    spacing = spacing[: pred.ndim]
    found = surface_distances(pred, truth, spacing)
    if not pred.any() or not truth.any():
        diagonal = np.sqrt(sum((n * mm) ** 2 for n, mm in zip(pred.shape, spacing, strict=True)))
        assert found == pytest.approx([diagonal] * 2 if pred.any() or truth.any() else [0, 0])
        return
    away = cdist(*(surface(mask) * spacing for mask in masks))
    directed = [away.min(1), away.min(0)]
    assert found[0] == pytest.approx(max(np.percentile(one, 95) for one in directed))
    assert found[1] == pytest.approx(np.concatenate(directed).mean())


def surface(mask):
    """Voxels with a face on the outside."""
    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    shifted = [np.roll(padded, by, axis)[inner] for axis in range(mask.ndim) for by in (-1, 1)]
    return np.argwhere(mask & ~np.all(shifted, axis=0))


@settings(deadline=None, max_examples=30)
@given(pairs(), st.sampled_from([0, -1]))
def test_iou_by_depth_is_the_iou_of_every_slice(masks, axis):
    pred, truth = masks
    depth, iou = iou_by_depth(pred, truth, axis)
    assert len(depth) == pred.shape[axis]
    for position, one, other in zip(range(len(iou)), *(np.moveaxis(m, axis, 0) for m in masks), strict=True):
        if (one | other).any():
            assert iou[position] == pytest.approx((one & other).sum() / (one | other).sum())
        else:
            assert np.isnan(iou[position])
    assert depth[0] == 0
    assert len(depth) == 1 or depth[-1] == 1


def test_profiles_of_cases_with_different_depths_are_averaged():
    profiles = [
        (np.linspace(0, 1, 3), np.array([0.2, np.nan, 1.0])),
        (np.linspace(0, 1, 4), np.array([0.4, 0.5, 0.5, 0.0])),
    ]
    middles, mean, count = mean_by_depth(profiles, bins=2)
    assert middles.tolist() == [0.25, 0.75]
    assert mean == pytest.approx([(0.2 + 0.4 + 0.5) / 3, (1.0 + 0.5 + 0.0) / 3])
    assert count.tolist() == [3, 3]


def table(**columns):
    frame = pd.DataFrame({"case_id": ["a", "b", "c"], "patient_id": ["p", "q", "r"], "y_x": [1, 1, 0], "p_x": 0.5})
    counts = {"tp_x": [6, 0, 0], "fp_x": [2, 0, 9], "fn_x": [2, 4, 0]}
    return frame.assign(**counts, **columns)


def test_voxel_recall_precision_and_volume_by_hand():
    assert score("recall_pos", table(), ["x"]) == pytest.approx((6 / 8 + 0) / 2)
    assert score("precision_pos", table(), ["x"]) == pytest.approx((6 / 8 + 0) / 2)
    assert score("volume_error_pos", table(), ["x"]) == pytest.approx((0 + 4 / 4) / 2)
    assert score("volume_ml_error_all", table(voxel_mm3=[500.0, 500, 1000]), ["x"]) == pytest.approx((0 + 2 + 9) / 3)


def test_lesion_scores_by_hand():
    lesions = {"lesions_x": [4, 1, 0], "found_x": [3, 0, 0], "regions_x": [3, 0, 2], "false_x": [1, 0, 2]}
    frame = table(**lesions)
    assert score("lesion_recall_pos", frame, ["x"]) == pytest.approx((3 / 4 + 0) / 2)
    assert score("lesion_precision_pos", frame, ["x"]) == pytest.approx((3 / 4 + 0) / 2)
    assert score("lesion_f1_pos", frame, ["x"]) == pytest.approx((6 / 8 + 0) / 2)
    assert score("lesion_f1_all", frame, ["x"]) == pytest.approx((6 / 8 + 0 + 0) / 3)
    assert score("lesion_f1_pooled", frame, ["x"]) == pytest.approx(6 / (6 + 3 + 2))
    assert score("lesion_count_error_all", frame, ["x"]) == pytest.approx((1 + 1 + 2) / 3)


def test_surface_scores_by_hand():
    frame = table(hd95_x=[3.0, 100.0, 70.0], assd_x=[1.0, 100.0, 70.0])
    assert score("hd95_pos", frame, ["x"]) == pytest.approx(51.5)
    assert score("assd_pos", frame, ["x"]) == pytest.approx(50.5)


@pytest.mark.parametrize(
    ("metric", "word"), [("lesion_f1_pos", "lesions"), ("hd95_pos", "surface"), ("volume_ml_error_all", "volume")]
)
def test_a_table_without_the_measure_is_refused_with_the_field_to_set(metric, word):
    with pytest.raises(UserError, match=f"mask_details = \\('{word}',\\)"):
        score(metric, table(), ["x"])


@settings(deadline=None, max_examples=60)
@given(pairs(), st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.sampled_from([0.5, 1.0, 3.0]))
def test_surface_distances_of_oblique_voxels_agree_with_all_pairs(masks, tilt, turn, step):
    pred, truth = masks
    axes = np.array([[1.0, 0.2 * turn, 0], [0, 1.0, step * np.tan(tilt / 2)], [0, 0, step]])[:, : pred.ndim]
    found = surface_distances(pred, truth, axes)
    if not pred.any() or not truth.any():
        corners = np.array(np.meshgrid(*([0, n] for n in pred.shape))).reshape(pred.ndim, -1).T @ axes.T
        longest = cdist(corners, corners).max()
        assert found == pytest.approx([longest] * 2 if pred.any() or truth.any() else [0, 0], rel=2e-3)
        return
    away = cdist(*(surface(mask) @ axes.T for mask in masks))
    directed = [away.min(1), away.min(0)]
    assert found[0] == pytest.approx(max(np.percentile(one, 95) for one in directed), rel=2e-3)
    assert found[1] == pytest.approx(np.concatenate(directed).mean(), rel=2e-3)
