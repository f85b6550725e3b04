"""Ranking scores equal their definitions, scikit-learn's values, and themselves on repeated cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from heldout.metrics.ranking import average_precision, best_f1, roc_auc

# Few distinct scores, so that ties are the rule.
CASES = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 1.0]), st.integers(0, 3)),
    min_size=1,
    max_size=25,
)


def arrays(cases):
    truth, score, weights = (np.array(column) for column in zip(*cases, strict=True))
    return truth.astype(bool), score, weights.astype(float)[None]


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_auc_counts_pairs(cases):
    truth, score, weights = arrays(cases)
    wins = pairs = 0.0
    for i in np.flatnonzero(truth):
        for j in np.flatnonzero(~truth):
            pair = weights[0, i] * weights[0, j]
            pairs += pair
            wins += pair * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
    expected = wins / pairs if pairs else np.nan
    np.testing.assert_allclose(roc_auc(truth, score, weights), [expected], atol=1e-12)
    draws = np.concatenate([weights, 0 * weights, 2 * weights]).astype(np.float32)
    np.testing.assert_allclose(roc_auc(truth, score, draws), [expected, np.nan, expected], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_both_agree_with_scikit_learn(cases):
    truth, score, weights = arrays(cases)
    kept = weights[0] > 0
    if len(set(truth[kept])) < 2:
        assert np.isnan(roc_auc(truth, score, weights)).all()
        assert np.isnan(average_precision(truth, score, weights)).all()
        return
    known = {"sample_weight": weights[0][kept]}
    assert roc_auc(truth, score, weights)[0] == pytest.approx(roc_auc_score(truth[kept], score[kept], **known))
    found = average_precision(truth, score, weights)[0]
    assert found == pytest.approx(average_precision_score(truth[kept], score[kept], **known))


@settings(max_examples=100, deadline=None)
@given(CASES)
def test_the_best_f1_is_that_of_the_best_threshold(cases):
    truth, score, weights = arrays(cases)
    kept = weights[0] > 0
    if not truth[kept].any():
        assert np.isnan(best_f1(truth, score, weights)).all()
        return
    every = [f1_score(truth, score >= cut, sample_weight=weights[0], zero_division=0) for cut in np.unique(score)]
    assert best_f1(truth, score, weights)[0] == pytest.approx(max(every))


def test_a_weight_of_two_is_the_case_twice():
    random = np.random.default_rng(0)
    truth, score = random.random(40) < 0.4, random.integers(0, 9, 40) / 8
    weights = random.integers(0, 4, (5, 40)).astype(float)
    for function in (roc_auc, average_precision, best_f1):
        repeated = [
            function(np.repeat(truth, w), np.repeat(score, w), np.ones((1, w.sum())))[0] for w in weights.astype(int)
        ]
        np.testing.assert_allclose(function(truth, score, weights), repeated, atol=1e-12)
