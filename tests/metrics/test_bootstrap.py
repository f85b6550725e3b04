"""Intervals draw whole patients, repeat with their seed and are fast enough to stand beside every number."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from heldout.errors import UserError
from heldout.metrics import compare, interval
from heldout.metrics.bootstrap import patient_weights


def table(patients=100, cases_each=1, noise=1.0, seed=0):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), cases_each)
    truth = np.repeat(np.arange(patients) % 3 == 0, cases_each).astype(float)
    logit = np.repeat(random.normal(0, noise, patients), cases_each) + 2 * truth - 1
    return pd.DataFrame(
        {
            "case_id": [f"case{i}" for i in range(len(patient))],
            "patient_id": [f"patient{i}" for i in patient],
            "y_a": truth,
            "p_a": 1 / (1 + np.exp(-logit)),
        }
    )


def test_cases_of_a_patient_are_drawn_together():
    frame = table(patients=10, cases_each=3)
    weights = np.concatenate(list(patient_weights(frame["patient_id"], 50, seed=0)))
    assert weights.shape == (50, 30)
    by_patient = weights.reshape(50, 10, 3)
    assert (by_patient == by_patient[:, :, :1]).all()
    assert (by_patient[:, :, 0].sum(1) == 10).all()


def test_copies_of_a_patients_cases_do_not_narrow_the_interval():
    single, copied = (interval("roc_auc", table(cases_each=n), ["a"], draws=500) for n in (1, 5))
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.15)
    assert single.low < single.value < single.high


def test_the_interval_agrees_with_the_textbook_for_a_mean():
    frame = table(patients=400)
    found = interval("accuracy", frame, ["a"], draws=4000)
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


def test_the_same_seed_gives_the_same_interval():
    assert interval("roc_auc", table(), ["a"], seed=3) == interval("roc_auc", table(), ["a"], seed=3)
    assert interval("roc_auc", table(), ["a"], seed=3) != interval("roc_auc", table(), ["a"], seed=4)


def test_an_undefined_score_has_an_undefined_interval():
    found = interval("roc_auc", table().assign(y_a=0.0), ["a"], draws=50)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_paired_difference_sees_a_steady_gain_that_two_intervals_hide():
    better, worse = table(noise=1.5), table(noise=1.5)
    worse["p_a"] = np.clip(worse["p_a"] - 0.1 * worse["y_a"], 0, 1)
    found = compare("roc_auc", better, worse.sample(frac=1, random_state=0), ["a"])
    assert found.value > 0
    assert found.low > 0
    assert found.probability_better > 0.99
    assert interval("roc_auc", worse, ["a"]).high > interval("roc_auc", better, ["a"]).low
    assert compare("log_loss", better, worse, ["a"]).probability_better > 0.99
    assert compare("roc_auc", better, better, ["a"]).probability_better == 0.5


def test_tables_of_other_cases_cannot_be_compared():
    with pytest.raises(UserError, match="same cases, patients and labels"):
        compare("roc_auc", table(), table(patients=90), ["a"])


def test_ten_thousand_draws_take_about_a_second():
    start = time.perf_counter()
    interval("roc_auc", table(patients=1000), ["a"], draws=10_000)
    assert time.perf_counter() - start < 5
