"""A trial gives exactly the scores of the full maps, whatever it leaves out beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import join
from heldout.blend.thresholds import by_threshold
from heldout.blend.trial import LabelTrial, PresenceTrial, ThresholdTrial, undominated
from heldout.blend.values import blend_maps, to_thousandths
from heldout.metrics import METRICS, count_errors, get_metric
from heldout.predict.prediction import presence, to_mask

OVERLAPS = [name for name, metric in METRICS.items() if metric.uses == "counts"]
CALLS = [name for name, metric in METRICS.items() if metric.uses == "predicted_label"]


ONE = st.just(1)


@st.composite
def blends(draw, classes=ONE):
    """Maps (cases, members, C, *S) that overlap in part, true labels (cases, *S) and weights."""
    members, cases, count = draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(classes)
    size = draw(st.sampled_from([(6, 7), (4, 4), (3, 4, 5)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([np.array([0, 127, 128, 255]), np.arange(256), np.arange(100, 140)]))
    maps = random.choice(levels, (cases, members, count, *size)).astype(np.uint8)
    if draw(st.booleans()):
        maps[:, 1:] = np.where(random.random(maps[:, 1:].shape) < 0.7, maps[:, :1], maps[:, 1:])
    maps[:, :, :, random.random(size) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    truth = random.integers(0, count + 1, (cases, *size)).astype(np.uint8)
    truth[random.random(cases) < 0.4] = 0
    return maps, truth, to_thousandths(random.dirichlet(np.ones(members)))


def histogram(maps, truth):
    return join([distinct_voxels(m, t) for m, t in zip(maps, truth, strict=True)])


def brute_force(metric, maps, truth, weights, threshold):
    """Score of the blended maps, case by case; nan where undefined."""
    masks = [to_mask(blend_maps(m, weights), threshold, exclusive=threshold is None) for m in maps]
    classes = maps.shape[2]
    counts = np.stack([count_errors(m, t[None], classes, True) for m, t in zip(masks, truth, strict=True)])
    once = np.ones((1, len(maps)))
    return np.mean([get_metric(metric).one_class(counts[:, k].astype(float), once)[0] for k in range(classes)])


@settings(max_examples=60, deadline=None)
@given(blends(), st.sampled_from(OVERLAPS))
def test_scores_at_all_thresholds_equal_brute_force(case, metric):
    maps, truth, weights = case
    found = ThresholdTrial(histogram(maps, truth), get_metric(metric)).scores(weights)
    expected = [brute_force(metric, maps, truth, weights, [threshold]) for threshold in range(0, 256, 3)]
    np.testing.assert_allclose(found[::3], expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(blends(st.integers(1, 4)))
def test_most_probable_labels_equal_brute_force(case):
    maps, truth, weights = case
    found = LabelTrial(histogram(maps, truth)).counts(weights)
    for i in range(len(maps)):
        best = to_mask(blend_maps(maps[i], weights), [128] if maps.shape[2] == 1 else None, exclusive=True)
        np.testing.assert_array_equal(found[i], count_errors(best, truth[i][None], maps.shape[2], True))


@settings(max_examples=60, deadline=None)
@given(blends(st.integers(1, 3)))
def test_presence_equals_that_of_the_blended_map(case):
    maps, truth, weights = case
    found = PresenceTrial(histogram(maps, truth)).presence(weights)
    np.testing.assert_array_equal(found, [presence(blend_maps(m, weights)) for m in maps])


@settings(max_examples=60, deadline=None)
@given(blends(st.integers(1, 3)))
def test_distinct_voxels_are_all_voxels_counted(case):
    maps, truth, _ = case
    for m, t in zip(maps, truth, strict=True):
        values, voxels, sizes = distinct_voxels(m, t)
        label = np.repeat(np.arange(len(sizes)), sizes)
        columns = np.concatenate([values.reshape(-1, len(label)), label[None].astype(np.uint8)])
        every = np.concatenate([m.reshape(len(columns) - 1, -1), t.reshape(1, -1)])
        rows, counts = np.unique(every, axis=1, return_counts=True)
        found, where = np.unique(columns, axis=1, return_inverse=True)
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(np.bincount(where.ravel(), voxels), counts)


@pytest.mark.parametrize("members", [1, 3, 9])
def test_counts_of_a_large_case_fit(members):
    truth = np.zeros((300, 400), np.uint8)
    truth[:260] = 1
    maps = np.zeros((members, 1, 300, 400), np.uint8)
    maps[:, :, :250] = 200
    table = histogram(maps[None], truth[None])
    assert table.sizes.tolist() == [[16000, 104000]]
    weights = to_thousandths(np.ones(members))
    assert table.counts_by_threshold(weights)[0, 200].tolist() == [100000, 0, 4000]
    assert table.counts_by_threshold(weights)[0, 201].tolist() == [0, 0, 104000]


def test_rows_are_few_where_maps_are_empty_and_cases_without_the_class_are_fewer_still():
    random = np.random.default_rng(0)
    maps = np.zeros((10, 2, 1, 64, 64), np.uint8)
    maps[:, :, :, 20:40, 20:40] = random.integers(0, 256, (10, 2, 1, 20, 20))
    truth = np.zeros((10, 64, 64), np.uint8)
    table = histogram(maps, truth)
    assert len(table.voxels) <= 10 * 401
    trial = ThresholdTrial(table, get_metric("dice_all"))
    assert trial._highest.shape[1] < 10 * 20
    assert table.nbytes < maps.nbytes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 300))
def test_the_highest_blend_is_among_the_undominated(seed, members, rows):
    random = np.random.default_rng(seed)
    values = random.integers(0, 30, (members, rows)).astype(np.uint8)
    kept = undominated(values)
    for _ in range(10):
        weights = to_thousandths(random.dirichlet(np.ones(members)))
        assert blend_maps(kept, weights).max() == blend_maps(values, weights).max()


@pytest.mark.parametrize("metric", CALLS)
def test_calls_at_all_thresholds_equal_brute_force(metric):
    random = np.random.default_rng(0)
    truth, scores = random.random(90) < 0.3, random.random(90)
    found = by_threshold(get_metric(metric), truth, scores)
    once = np.ones((1, 90))
    for threshold in range(256):
        called = np.rint(255 * scores) >= threshold
        expected = get_metric(metric).one_class(truth, called, once)[0]
        assert found[threshold] == pytest.approx(expected, abs=1e-12)
