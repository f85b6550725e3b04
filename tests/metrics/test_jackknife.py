"""Intervals leave out whole patients, stay within a score's range and are fast enough to stand beside every number."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import UserError
from heldout.metrics import compare, get_metric, interval, intervals, score
from heldout.metrics.jackknife import bounds, inflation, interval_of, standard_error
from heldout.metrics.left_out import MOST_GROUPS, LeftOut


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


def every(left_out):
    return np.concatenate([left_out.weights(block) for block in range(left_out.blocks)])


def test_cases_of_a_patient_are_left_out_together():
    frame = table(patients=10, cases_each=3)
    weights = every(LeftOut(frame["patient_id"].to_numpy()))
    assert weights.shape == (10, 30)
    by_patient = weights.reshape(10, 10, 3)
    assert (by_patient == by_patient[:, :, :1]).all()
    assert (by_patient[:, :, 0].sum(1) == 9).all()


def test_many_patients_are_left_out_in_groups():
    patients = np.array([f"patient{i:05}" for i in range(2 * MOST_GROUPS + 1)])
    weights = every(LeftOut(patients))
    assert len(weights) == MOST_GROUPS
    assert ((1 - weights).sum(0) == 1).all()
    grouped = interval_of(lambda w: w @ (patients > "patient01000") / w.sum(1), patients, "accuracy", 1)
    half = 1.96 * np.sqrt(grouped.value * (1 - grouped.value) / len(patients))
    assert (grouped.high - grouped.low) / 2 == pytest.approx(half, rel=0.1)


def test_copies_of_a_patients_cases_do_not_narrow_the_interval():
    single, copied = (interval("roc_auc", table(cases_each=n), ["a"]) for n in (1, 5))
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.15)
    assert single.low < single.value < single.high


def test_the_interval_agrees_with_the_textbook_for_a_mean():
    frame = table(patients=400)
    found = interval("accuracy", frame, ["a"])
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1", "log_loss", "dice_pos", "patient:roc_auc"])
def test_the_order_of_the_cases_does_not_matter(name):
    frame = masks(patients=30, cases_each=2)
    frame["fold"] = np.arange(60) // 2 % 3
    before, after = interval(name, frame, ["a"]), interval(name, frame.sample(frac=1, random_state=0), ["a"])
    for field in ("value", "low", "high"):
        assert getattr(before, field) == pytest.approx(getattr(after, field), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["roc_auc", "average_precision", "f1", "accuracy", "dice_all", "brier"]))
def test_bounds_hold_the_score_and_stay_in_its_range(seed, name):
    frame = masks(patients=12, noise=seed % 5, seed=seed)
    frame["fold"] = np.arange(12) % 2
    found = interval(name, frame, ["a"])
    assert np.isnan(found.low) or 0 <= found.low <= found.value <= found.high <= 1


def test_a_perfect_score_of_few_is_not_certain():
    frame = table(patients=15)
    found = interval("roc_auc", frame.assign(p_a=0.25 + 0.5 * frame["y_a"]), ["a"])
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 5))  # five patients are positive


def test_cross_validated_scores_have_wider_intervals():
    frame = table(patients=60)
    plain, folded = (interval("accuracy", one, ["a"]) for one in (frame, frame.assign(fold=np.arange(60) % 3)))
    assert plain.value == folded.value
    logit = [np.log(part / (1 - part)) for one in (plain, folded) for part in (one.low, one.high)]
    assert (logit[3] - logit[2]) / (logit[1] - logit[0]) == pytest.approx(inflation(get_metric("accuracy"), 60, 3))
    auc = get_metric("roc_auc")
    loss = get_metric("log_loss")
    assert inflation(auc, 60, 1) == 1 < inflation(auc, 400, 5) < inflation(loss, 400, 5) < inflation(loss, 40, 5)


def test_few_patients_have_wider_quantiles():
    left_out = np.array([0.49, 0.51] * 5)
    few, many = (bounds(0.5, left_out, "plain", count, 1.0) for count in (5, 100))
    assert few[0] < many[0] < many[1] < few[1]


def test_an_undefined_score_has_an_undefined_interval():
    found = interval("roc_auc", table().assign(y_a=0.0), ["a"])
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_paired_difference_sees_a_steady_gain_that_two_intervals_hide():
    better, worse = table(noise=1.5), table(noise=1.5)
    worse["p_a"] = np.clip(worse["p_a"] - 0.1 * worse["y_a"], 0, 1)
    found = compare("roc_auc", better, worse.sample(frac=1, random_state=0), ["a"])
    assert found.value > 0
    assert found.low > 0
    assert found.probability_better > 0.99
    assert interval("roc_auc", worse, ["a"]).high > interval("roc_auc", better, ["a"]).low
    assert compare("log_loss", better, worse, ["a"]).probability_better > 0.95
    assert compare("roc_auc", better, better, ["a"]).probability_better == 0.5


def test_tables_of_other_cases_cannot_be_compared():
    with pytest.raises(UserError, match="same cases, patients and labels"):
        compare("roc_auc", table(), table(patients=90), ["a"])


def test_a_thousand_patients_take_about_a_second():
    start = time.perf_counter()
    interval("roc_auc", table(patients=1000), ["a"])
    assert time.perf_counter() - start < 5


def masks(**options):
    """A table with voxel counts, whose lesions are found in part."""
    frame, random = table(**options), np.random.default_rng(1)
    lesion = np.where(frame["y_a"] > 0, random.integers(1, 50, len(frame)), 0)
    hit = (lesion * random.random(len(frame))).astype(int)
    return frame.assign(tp_a=hit, fn_a=lesion - hit, fp_a=random.integers(0, 9, len(frame)))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "dice_pos", "dice_all", "log_loss", "brier"])
@pytest.mark.parametrize("folds", [1, 3])
def test_the_error_is_that_of_tables_without_a_patient(name, folds):
    frame = masks(patients=40, cases_each=2, noise=2.0)
    frame["fold"] = np.arange(80) // 2 % folds
    patients = frame["patient_id"].unique()
    scores = np.array([score(name, frame[frame["patient_id"] != one], ["a"]) for one in patients])
    half = standard_error(scores) * inflation(get_metric(name), 40, folds) * 2
    found = interval(name, frame, ["a"])
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)


@pytest.mark.parametrize("name", ["roc_auc", "dice_pos", "log_loss"])
def test_many_tables_give_what_each_gives_alone(name):
    frames = [
        masks(patients=30, noise=noise, seed=seed).sample(frac=1, random_state=seed) for seed, noise in ((0, 1), (1, 2))
    ]
    for frame, found in zip(frames, intervals(name, frames, ["a"]), strict=True):
        alone = interval(name, frame, ["a"])
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
        found = interval(name, frame, ["a"])
        assert np.isfinite(found.value)
        assert np.isfinite([found.low, found.high]).all() == known
        difference = compare(name, frame, frame.assign(p_a=0.5), ["a"])
        assert np.isfinite([difference.low, difference.high, difference.probability_better]).all() == known


def test_every_class_needs_its_patients():
    frame = table(patients=40).assign(y_b=0.0, p_b=0.5)
    frame.loc[:3, "y_b"] = 1.0
    assert np.isfinite(interval("roc_auc", frame, ["a"]).low)
    assert np.isnan(interval("roc_auc", frame, ["a", "b"]).low)


def test_four_patients_have_no_interval_whatever_the_score():
    frame = table(patients=4, cases_each=20)
    assert np.isnan(interval("log_loss", frame, ["a"]).low)
