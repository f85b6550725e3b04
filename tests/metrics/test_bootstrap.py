"""Intervals draw whole patients, repeat with their seed and are fast enough to stand beside every number."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from heldout.errors import UserError
from heldout.metrics import compare, interval, intervals, score
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


def masks(**options):
    """A table with voxel counts, whose lesions are found in part."""
    frame, random = table(**options), np.random.default_rng(1)
    lesion = np.where(frame["y_a"] > 0, random.integers(1, 50, len(frame)), 0)
    hit = (lesion * random.random(len(frame))).astype(int)
    return frame.assign(tp_a=hit, fn_a=lesion - hit, fp_a=random.integers(0, 9, len(frame)))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "dice_pos", "dice_all", "log_loss", "mce"])
def test_intervals_are_percentiles_of_redrawn_tables(name):
    frame = masks(patients=40, cases_each=2, noise=2.0)
    found = interval(name, frame, ["a"], draws=60)
    scores = []
    for weights in np.concatenate(list(patient_weights(frame["patient_id"], 60, seed=0))).astype(int):
        redrawn = frame.loc[np.repeat(frame.index, weights)].copy()
        redrawn["case_id"] = [f"copy{i}" for i in range(len(redrawn))]
        scores.append(score(name, redrawn, ["a"]))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(scores, [2.5, 97.5])), abs=1e-9)


@pytest.mark.parametrize("name", ["roc_auc", "dice_pos", "log_loss"])
def test_many_tables_share_their_draws(name):
    frames = [
        masks(patients=30, noise=noise, seed=seed).sample(frac=1, random_state=seed) for seed, noise in ((0, 1), (1, 2))
    ]
    for frame, found in zip(frames, intervals(name, frames, ["a"], draws=300), strict=True):
        alone = interval(name, frame, ["a"], draws=300)
        assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high), abs=1e-9)
    with pytest.raises(UserError, match="same cases, patients and labels"):
        intervals(name, [frames[0], frames[1].assign(y_a=1.0)], ["a"])


SIDES = {  # patients without whom the score says nothing
    "positive": [
        "roc_auc",
        "average_precision",
        "f1",
        "best_f1",
        "sensitivity",
        "balanced_accuracy",
        "dice_pos",
        "iou_pos",
    ],
    "negative": ["roc_auc", "average_precision", "specificity", "balanced_accuracy"],
}


@pytest.mark.parametrize(("side", "name"), [(side, name) for side, names in SIDES.items() for name in names])
def test_a_score_on_fewer_than_five_patients_of_a_kind_has_no_interval(side, name):
    for patients, known in ((4, False), (5, True)):
        frame = masks(patients=40, cases_each=2)
        few = np.repeat(np.arange(40) < patients, 2)
        frame["y_a"] = (few if side == "positive" else ~few).astype(float)
        frame["p_a"] = 0.25 + 0.5 * frame["y_a"]
        frame["tp_a"], frame["fn_a"] = 9 * frame["y_a"], frame["y_a"]
        found = interval(name, frame, ["a"], draws=200)
        assert np.isfinite(found.value)
        assert np.isfinite([found.low, found.high]).all() == known
        difference = compare(name, frame, frame.assign(p_a=0.5), ["a"], draws=200)
        assert np.isfinite([difference.low, difference.high, difference.probability_better]).all() == known


def test_every_class_needs_its_patients():
    frame = table(patients=40).assign(y_b=0.0, p_b=0.5)
    frame.loc[:3, "y_b"] = 1.0
    assert np.isfinite(interval("roc_auc", frame, ["a"], draws=50).low)
    assert np.isnan(interval("roc_auc", frame, ["a", "b"], draws=50).low)


def test_four_patients_have_no_interval_whatever_the_score():
    frame = table(patients=4, cases_each=20)
    assert np.isnan(interval("log_loss", frame, ["a"], draws=50).low)
