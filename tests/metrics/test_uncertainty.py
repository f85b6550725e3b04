"""Uncertainty against brute force, and what it must be where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from heldout.metrics.uncertainty import Uncertainty, aurc, decompose, error_auroc, region_means, risk_coverage


def entropy(values) -> float:
    return -sum(p * math.log(p) for p in values if p > 0)


def members(draw_seed: int, count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(draw_seed).dirichlet(np.ones(classes), count)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 5), st.booleans())
def test_exclusive_classes_by_brute_force(seed, count, classes, background):
    whole = members(seed, count, classes + background)
    given_ = list(whole[:, :classes])
    found = decompose(given_, exclusive=True, background=background)
    total, aleatoric = entropy(whole.mean(0)), np.mean([entropy(one) for one in whole])
    assert found.total == pytest.approx(total, abs=1e-9)
    assert found.aleatoric == pytest.approx(aleatoric, abs=1e-9)
    # the same as a divergence: how far each member is from the mean
    divergence = np.mean([sum(p * math.log(p / q) for p, q in zip(one, whole.mean(0), strict=True)) for one in whole])
    assert found.epistemic == pytest.approx(divergence, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
def test_overlapping_classes_by_brute_force(seed, count, classes):
    values = np.random.default_rng(seed).random((count, classes))
    shares = np.random.default_rng(seed + 1).dirichlet(np.ones(count))
    found = decompose(list(values), exclusive=False, background=True, weights=shares)
    mean = shares @ values
    assert found.total == pytest.approx(np.mean([entropy((p, 1 - p)) for p in mean]), abs=1e-9)
    by_member = [np.mean([entropy((p, 1 - p)) for p in one]) for one in values]
    assert found.aleatoric == pytest.approx(shares @ by_member, abs=1e-9)
    assert found.epistemic == pytest.approx(float(found.total - found.aleatoric), abs=1e-9)


def test_members_that_agree_have_no_epistemic_part_and_sure_ones_no_aleatoric():
    agree = decompose([np.array([0.3])] * 4, exclusive=False, background=False)
    assert agree.epistemic == pytest.approx(0, abs=1e-12)
    contradict = decompose([np.array([0.0]), np.array([1.0])], exclusive=False, background=False)
    assert contradict.total == pytest.approx(math.log(2))
    assert contradict.aleatoric == 0
    assert contradict.epistemic == pytest.approx(math.log(2))


def test_stored_maps_of_bytes_are_probabilities_of_255():
    maps = np.random.default_rng(0).integers(0, 100, (3, 2, 5, 4)).astype(np.uint8)
    stored, exact = (decompose(list(values), exclusive=True, background=True) for values in (maps, maps / 255))
    assert np.allclose(stored.total, exact.total)
    assert stored.epistemic.shape == (5, 4)


def test_region_means_take_the_whole_where_nothing_is_predicted():
    maps = Uncertainty(*(np.arange(4.0) * factor for factor in (1, 2, 3)))
    assert region_means(maps, np.array([False, False, True, True])).total == 2.5
    assert region_means(maps, np.zeros(4, bool)).epistemic == 4.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=12), st.integers(0, 99))
def test_the_area_is_the_mean_over_all_orders_of_ties(pairs, seed):
    unsure, loss = (np.array(column, float) for column in zip(*pairs, strict=True))
    generator, areas = np.random.default_rng(seed), []
    for _ in range(400):
        order = np.lexsort((generator.random(len(loss)), unsure))
        areas.append((np.cumsum(loss[order]) / np.arange(1, len(loss) + 1)).mean())
    assert aurc(unsure, loss) == pytest.approx(np.mean(areas), abs=0.1)
    coverage, risk = risk_coverage(unsure, loss)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(loss.mean())
    assert aurc(loss, loss) <= aurc(unsure, loss) + 1e-9
    assert aurc(np.zeros(len(loss)), loss) == pytest.approx(loss.mean())


def test_errors_are_found_as_scikit_learn_says():
    generator = np.random.default_rng(1)
    wrong, unsure = generator.random(60) < 0.3, generator.integers(0, 9, 60) / 9
    assert error_auroc(unsure, wrong) == pytest.approx(roc_auc_score(wrong, unsure))
    assert math.isnan(error_auroc(unsure, np.zeros(60, bool)))


def test_with_graded_losses_the_worse_of_two_cases_is_to_be_less_certain():
    random = np.random.default_rng(0)
    loss, unsure = random.integers(0, 4, 60), random.random(60)
    pairs = [(i, j) for i in range(60) for j in range(60) if loss[i] < loss[j]]
    brute = np.mean([(unsure[i] < unsure[j]) + (unsure[i] == unsure[j]) / 2 for i, j in pairs])
    assert error_auroc(unsure, loss) == pytest.approx(brute)
    assert error_auroc(loss.astype(float), loss) == 1
    assert np.isnan(error_auroc(unsure, np.ones(60)))  # all equally wrong: nothing to tell apart
