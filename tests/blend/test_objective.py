"""Joint histograms give exactly the scores of the full maps; thresholds are the best there are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import join
from heldout.blend.label_objective import LabelObjective
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.objective import BlendSettings
from heldout.blend.presence import presence_of_levels
from heldout.blend.values import blend_maps, blend_scores, to_thousandths
from heldout.errors import UserError
from heldout.metrics import count_errors, score
from heldout.metrics.overlap import case_dice
from heldout.predict.prediction import presence, to_mask


@st.composite
def blends(draw, exclusive=False):
    """Maps (cases, members, C, 6, 7), true labels (cases, 6, 7) and weights."""
    members = draw(st.sampled_from([1, 2, 3, 5, 9]))
    cases, classes = draw(st.integers(1, 4)), draw(st.integers(2, 3)) if exclusive else 1
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([np.array([0, 127, 128, 255]), np.arange(256)]))
    maps = random.choice(levels, (cases, members, classes, 6, 7)).astype(np.uint8)
    maps[random.random((cases, members, classes, 6, 7)) < 0.6] = 0
    truth = random.integers(0, classes + 1, (cases, 6, 7)).astype(np.uint8)
    truth[random.random(cases) < 0.3] = 0
    return maps, truth, to_thousandths(random.dirichlet(np.ones(members)))


def histogram(maps, truth):
    return join([distinct_voxels(m, t) for m, t in zip(maps, truth, strict=True)])


@settings(max_examples=60, deadline=None)
@given(blends())
def test_all_thresholds_equal_brute_force(case):
    maps, truth, weights = case
    found = histogram(maps, truth).counts_by_threshold(weights)
    for i, t in zip(*[axis.ravel() for axis in np.mgrid[: len(maps), 0:256:5]], strict=True):
        mask = to_mask(blend_maps(maps[i], weights), [t], exclusive=False)
        expected = count_errors(mask, truth[i][None], 1, False)[0]
        assert found[i, t].tolist() == expected.tolist()
        assert abs(case_dice(found[i, t], 1.0) - case_dice(expected, 1.0)) < 1e-12


@settings(max_examples=60, deadline=None)
@given(blends(exclusive=True))
def test_exclusive_classes_equal_brute_force(case):
    maps, truth, weights = case
    found = histogram(maps, truth).counts_by_label(weights)
    for i in range(len(maps)):
        mask = to_mask(blend_maps(maps[i], weights), None, exclusive=True)
        np.testing.assert_array_equal(found[i], count_errors(mask, truth[i][None], maps.shape[2], True))


@settings(max_examples=40, deadline=None)
@given(st.one_of(blends(), blends(exclusive=True)))
def test_presence_equals_that_of_the_blended_map(case):
    maps, truth, weights = case
    found = presence_of_levels(histogram(maps, truth).levels(weights))
    expected = [presence(blend_maps(m, weights)) for m in maps]
    np.testing.assert_array_equal(found, expected)


def test_presence_of_a_large_map():
    maps = np.random.default_rng(0).integers(0, 256, (1, 1, 1, 150, 170)).astype(np.uint8)
    found = presence_of_levels(histogram(maps, np.zeros((1, 150, 170), np.uint8)).levels([1000]))
    np.testing.assert_array_equal(found[0], presence(maps[0, 0]))


@settings(max_examples=60, deadline=None)
@given(blends())
def test_the_blend_is_the_rounded_weighted_mean(case):
    maps, _, weights = case
    exact = np.tensordot(np.array(weights, np.int64), maps.astype(np.int64), (0, 1))
    blended = np.stack([blend_maps(m, weights) for m in maps])
    assert (np.abs(blended.astype(int) * 1000 - exact) <= 500).all()
    assert sum(weights) == 1000
    alone = np.eye(maps.shape[1], dtype=int)[0] * 1000
    np.testing.assert_array_equal(blend_maps(maps[0], alone), maps[0, 0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_thousandths_are_near_and_sum_to_one(shares):
    whole = to_thousandths(shares)
    assert sum(whole) == 1000
    assert np.abs(np.array(whole) / 1000 - np.array(shares) / np.sum(shares)).max() <= 0.001


def frame(count, truth, classes=("a",)):
    table = pd.DataFrame({"case_id": [f"case{i}" for i in range(count)], "fold": np.arange(count) % 2})
    table["patient_id"] = table["case_id"]
    for k, name in enumerate(classes):
        table[f"y_{name}"] = np.asarray(truth, float).reshape(count, -1)[:, k]
    return table


def mask_objective(metric="dice_pos", cases=12, members=3, seed=0):
    random = np.random.default_rng(seed)
    truth = (random.random((cases, 8, 9)) < 0.2).astype(np.uint8)
    noisy = truth[:, None] * 90 + random.integers(0, 150, (cases, members, 8, 9))
    maps = noisy.astype(np.uint8)[:, :, None]
    rows = frame(cases, truth.reshape(cases, -1).any(1))
    return MaskObjective(rows, ("a",), metric, (histogram(maps, truth),)), maps, truth


@pytest.mark.parametrize("metric", ["dice_pos", "dice_all", "iou_pos"])
def test_the_tuned_threshold_is_the_best_and_the_table_says_the_same(metric):
    objective, maps, truth = mask_objective(metric)
    weights = (500, 300, 200)
    value, found = objective.tune(weights)
    scores = []
    for threshold in range(256):
        table = objective.table(BlendSettings(weights, (threshold,)))
        scores.append(score(metric, table, ["a"]))
    assert value == pytest.approx(max(scores), abs=1e-12)
    assert scores[found.thresholds[0]] == pytest.approx(value, abs=1e-12)
    mask = to_mask(blend_maps(maps[3], weights), found.thresholds, exclusive=False)
    row = objective.table(found).iloc[3]
    assert [row["tp_a"], row["fp_a"], row["fn_a"]] == count_errors(mask, truth[3][None], 1, False)[0].tolist()


def test_a_selection_is_the_objective_of_those_cases():
    objective, *_ = mask_objective()
    chosen = objective.frame["fold"].to_numpy() == 1
    settings_ = BlendSettings((0, 400, 600), (100,))
    part = objective.select(chosen).table(settings_)
    pd.testing.assert_frame_equal(part, objective.table(settings_)[chosen].reset_index(drop=True))


def label_objective(metric, classes=("a", "b"), exclusive=False, members=2, cases=80):
    random = np.random.default_rng(1)
    truth = random.random((cases, len(classes))) < 0.3
    scores = np.clip(0.2 * truth + random.random((members, cases, len(classes))) * 0.4, 0, 1)
    if exclusive:
        truth = np.eye(len(classes), dtype=bool)[random.integers(0, len(classes), cases)]
        scores = random.random((members, cases, len(classes))) + truth
        scores /= scores.sum(2, keepdims=True)
    return LabelObjective(frame(cases, truth, classes), classes, metric, scores, exclusive)


def test_thresholds_of_labels_are_tuned_for_each_class():
    objective = label_objective("f1")
    value, found = objective.tune((700, 300))
    assert value == pytest.approx(score("f1", objective.table(found), ["a", "b"]))
    for k in range(2):
        for threshold in range(0, 256, 3):
            other = [*found.thresholds]
            other[k] = threshold
            assert score("f1", objective.table(BlendSettings(found.weights, tuple(other))), ["a", "b"]) <= value + 1e-12


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "log_loss"])
def test_exclusive_labels_have_no_threshold(metric):
    objective = label_objective(metric, ("a", "b", "c"), exclusive=True)
    value, found = objective.tune((500, 500))
    assert found.thresholds == ()
    assert value == pytest.approx(score(metric, objective.table(found), ["a", "b", "c"]))


def test_scores_are_blended_as_a_weighted_mean():
    scores = np.random.default_rng(0).random((3, 5, 2))
    expected = 0.2 * scores[0] + 0.3 * scores[1] + 0.5 * scores[2]
    np.testing.assert_allclose(blend_scores(scores, (200, 300, 500)), expected, atol=1e-12)


def test_an_undefined_score_says_what_is_missing():
    objective, maps, truth = mask_objective()
    empty = (histogram(maps, truth * 0),)
    with pytest.raises(UserError, match=r"dice_pos is undefined for a .*lacks positive"):
        MaskObjective(objective.frame, ("a",), "dice_pos", empty).tune((1000, 0, 0))
