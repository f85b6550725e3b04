"""Calibration lowers the error of probabilities, never reverses the order of cases, and says what it lacks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from heldout.blend.calibrate import METHODS, apply_calibration, case_losses, cross_fitted, fit_calibration
from heldout.blend.records import Calibration
from heldout.errors import UserError
from heldout.metrics.calibration import expected_calibration_error, maximum_calibration_error, reliability_curve

CURVES = METHODS[1:]


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def cases(count=600, temperature=3.0, shift=0.0, classes=1, seed=0):
    """Labels drawn from honest probabilities, and those probabilities distorted."""
    random = np.random.default_rng(seed)
    logit = random.normal(0, 1.5, (count, classes))
    truth = random.random((count, classes)) < sigmoid(logit)
    return truth, sigmoid(temperature * logit + shift), np.array([f"patient{i // 2}" for i in range(count)])


def fit(method, truth, scores, patients, multiclass=False):
    names = [f"class{k}" for k in range(truth.shape[1])]
    return fit_calibration(method, truth, scores, patients, names, multiclass)


def test_temperature_is_found_again():
    truth, scores, patients = cases(6000)
    assert fit("temperature", truth, scores, patients).maps[0][0] == pytest.approx(3, rel=0.1)


def test_platt_finds_slope_and_shift():
    truth, scores, patients = cases(6000, temperature=2.0, shift=2.0)
    slope, intercept = fit("platt", truth, scores, patients).maps[0]
    assert slope == pytest.approx(0.5, rel=0.15)
    assert intercept == pytest.approx(-1.0, rel=0.15)


def test_no_fold_is_calibrated_by_its_own_labels():
    truth, scores, patients = cases(300, temperature=4.0)
    table = pd.DataFrame({"patient_id": patients, "fold": np.arange(300) % 3, "y_a": truth[:, 0], "p_a": scores[:, 0]})
    found = cross_fitted(table, ("a",), False, "temperature")
    for fold in range(3):
        held_out = table["fold"] == fold
        fitted = fit("temperature", truth[~held_out], scores[~held_out], patients[~held_out])
        np.testing.assert_allclose(found.loc[held_out, "p_a"], apply_calibration(fitted, scores[held_out])[:, 0])
    turned = table.assign(y_a=table["y_a"] ^ (table["fold"] == 0))
    of_first = cross_fitted(turned, ("a",), False, "temperature")["p_a"][table["fold"] == 0]
    pd.testing.assert_series_equal(of_first, found["p_a"][table["fold"] == 0])


@pytest.mark.parametrize("method", [*CURVES, "auto"])
def test_calibrating_helps_on_other_patients(method):
    truth, scores, patients = cases(1500, temperature=4.0)
    new_truth, new_scores, _ = cases(1500, temperature=4.0, seed=1)
    calibrated = apply_calibration(fit(method, truth, scores, patients), new_scores)
    once = np.ones((1, len(new_truth)))
    for error in (expected_calibration_error, maximum_calibration_error)[: 1 if method == "isotonic" else 2]:
        assert error(new_truth[:, 0], calibrated[:, 0], once) < error(new_truth[:, 0], new_scores[:, 0], once)
    before, after = (case_losses(new_truth, p, False).mean() for p in (new_scores, calibrated))
    assert after < before - 0.1


def test_exclusive_classes_share_a_temperature_and_keep_their_order():
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (3000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.eye(3, dtype=bool)[[random.choice(3, p=p) for p in honest]]
    sharp = honest**3 / (honest**3).sum(1, keepdims=True)
    fitted = fit("temperature", truth, sharp, np.arange(3000).astype(str), multiclass=True)
    assert fitted.maps == ((pytest.approx(3, rel=0.1),),)
    calibrated = apply_calibration(fitted, sharp)
    np.testing.assert_allclose(calibrated, honest, atol=0.05)
    np.testing.assert_array_equal(calibrated.argmax(1), sharp.argmax(1))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CURVES), st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.booleans(), st.sampled_from([30, 90])
)
def test_maps_stay_probabilities_rise_and_survive_json(method, seed, classes, multiclass, count):
    random = np.random.default_rng(seed)
    multiclass = multiclass and classes > 1
    scores = random.choice([0.0, 0.1, 0.5, 0.999, 1.0], (count, classes)) * random.random((count, classes)).round(1)
    truth = random.random((count, classes)) < 0.5
    if multiclass:
        truth = np.eye(classes, dtype=bool)[random.integers(0, classes, count)]
        scores = (scores + 1e-3) / (scores + 1e-3).sum(1, keepdims=True)
    assume(min(truth.sum(0).min(), (~truth).sum(0).min()) >= 5)
    fitted = fit(method, truth, scores, np.arange(count).astype(str), multiclass)
    calibrated = apply_calibration(fitted, scores)
    assert ((calibrated >= 0) & (calibrated <= 1)).all()
    if multiclass:
        np.testing.assert_allclose(calibrated.sum(1), 1, atol=1e-12)
    else:
        for k in range(classes):
            order = np.argsort(scores[:, k], kind="stable")
            assert (np.diff(calibrated[order, k]) >= -1e-12).all()
    again = apply_calibration(Calibration.model_validate_json(json.dumps(fitted.to_json())), scores)
    np.testing.assert_array_equal(again, calibrated)
    np.testing.assert_array_equal(apply_calibration(fitted, scores[3]), calibrated[3])


def test_isotonic_equals_pooling_by_hand():
    score = np.repeat([0.1, 0.2, 0.3, 0.4], 5)
    truth = np.repeat([0, 1, 0, 1], 5).astype(bool)
    fitted = fit("isotonic", truth[:, None], score[:, None], np.arange(20).astype(str))
    least = 1 / 22
    found = apply_calibration(fitted, np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [1.0]]))[:, 0]
    np.testing.assert_allclose(found, [least, least, 0.5, 0.5, 1 - least, 1 - least], atol=0.01)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("method", CURVES)
@pytest.mark.parametrize("signal", [0.0, 0.05, 0.4])
def test_new_cases_keep_their_order_and_auc(method, signal):
    random = np.random.default_rng(5)
    truth = random.random(2400) < 0.4
    scores = np.clip(random.normal(0.5 + signal * (truth - 0.5), 0.2), 0, 1).round(4)[:, None]
    fitted = fit(method, truth[:400, None], scores[:400], np.arange(400).astype(str))
    new = scores[400:, 0]
    calibrated = apply_calibration(fitted, scores[400:])[:, 0].astype(np.float32)
    order = np.argsort(new)
    assert ((np.diff(calibrated[order]) > 0) == (np.diff(new[order]) > 0)).all()
    assert roc_auc_score(truth[400:], calibrated) == roc_auc_score(truth[400:], new)


@pytest.mark.parametrize("spread", [0.1, 0.001])
def test_scores_of_a_weak_network_keep_their_auc_in_the_six_digits_of_a_submission(spread):
    random = np.random.default_rng(6)
    truth = random.random(2400) < 0.3
    scores = 1 / (1 + np.exp(-spread * (random.normal(size=2400) + truth)))[:, None]
    fitted = fit("isotonic", truth[:400, None], scores[:400], np.arange(400).astype(str))
    written = apply_calibration(fitted, scores[400:])[:, 0].round(6)
    raw = scores[400:, 0]
    assert abs(roc_auc_score(truth[400:], written) - roc_auc_score(truth[400:], raw)) < 1e-4


def test_isotonic_curves_of_earlier_decisions_stay_as_they_were():
    earlier = Calibration(method="isotonic", maps=(((0.2, 0.4, 0.8), (0.1, 0.1, 0.7)),))
    found = apply_calibration(earlier, np.array([[0.1], [0.2], [0.3], [0.6], [0.9]]))[:, 0]
    np.testing.assert_allclose(found, [0.1, 0.1, 0.1, 0.4, 0.7])


def test_auto_leaves_honest_probabilities_alone_or_nearly():
    truth, scores, patients = cases(4000, temperature=1.0)
    calibrated = apply_calibration(fit("auto", truth, scores, patients), scores)
    assert np.abs(calibrated - scores).max() < 0.05


def test_auto_does_not_change_honest_probabilities_for_noise():
    chosen = [fit("auto", *cases(120, temperature=1.0, seed=seed)).method for seed in range(10)]
    assert chosen.count("none") >= 9


def test_a_class_that_no_case_knows_counts_for_nothing():
    truth = np.array([[1.0, np.nan], [0.0, 1.0], [np.nan, np.nan]])
    losses = case_losses(truth, np.full((3, 2), 0.8), False)
    np.testing.assert_allclose(losses, -np.log([0.8, (0.2 * 0.8) ** 0.5, 1.0]))


def test_auto_chooses_on_patients_it_was_not_fitted_on():
    """Few cases: the flexible curve looks best where it was fitted, and is not taken."""
    truth, scores, patients = cases(60, temperature=3.0, seed=2)
    fitted = {method: fit(method, truth, scores, patients) for method in CURVES}
    flattering = {m: case_losses(truth, apply_calibration(f, scores), False).mean() for m, f in fitted.items()}
    assert min(flattering, key=flattering.get) == "isotonic"
    assert fit("auto", truth, scores, patients).method in ("temperature", "platt")


def test_cases_that_can_be_told_apart_do_not_make_a_map_without_bounds():
    truth = np.arange(40) >= 20
    scores = np.where(truth, 0.6, 0.4)
    for method in CURVES:
        found = apply_calibration(
            fit(method, truth[:, None], scores[:, None], np.arange(40).astype(str)), scores[:, None]
        )
        assert np.isfinite(found).all()
        assert found.min() > 0
        assert found.max() < 1


def test_scores_that_mislead_are_not_turned_round():
    truth, scores, patients = cases(500, temperature=-2.0)
    calibrated = apply_calibration(fit("platt", truth, scores, patients), scores)[:, 0]
    assert (np.diff(calibrated[np.argsort(scores[:, 0])]) >= 0).all()


@pytest.mark.parametrize(("positives", "what"), [(0, "positive"), (4, "positive"), (37, "negative")])
@pytest.mark.parametrize("method", CURVES)
def test_too_few_cases_are_named(method, positives, what):
    truth = np.stack([np.arange(40) % 2 == 0, np.arange(40) < positives], 1)
    with pytest.raises(
        UserError, match=rf"{method} calibration needs 5 {what} cases of class1, and there are [034] to"
    ):
        fit(method, truth, np.full((40, 2), 0.5), np.arange(40).astype(str))


def test_auto_without_enough_cases_calibrates_nothing():
    truth = np.arange(40)[:, None] < 3
    assert fit("auto", truth, np.full((40, 1), 0.5), np.arange(40).astype(str)) == Calibration()


def test_the_reliability_curve_by_hand():
    truth, score = np.array([0, 1, 1, 1], bool), np.array([0.01, 0.03, 0.97, 1.0])
    curve = reliability_curve(truth, score)
    np.testing.assert_allclose(curve.stated, [0.02, 0.985])
    np.testing.assert_allclose(curve.observed, [0.5, 1.0])
    assert curve.cases.tolist() == [2, 2]


def test_a_decision_that_chose_no_calibration_leaves_the_scores_as_they_are():
    scores = np.array([[0.2], [0.9]])
    chosen = Calibration(asked="auto", method="none", multiclass=False, maps=(), scores={})
    np.testing.assert_array_equal(apply_calibration(chosen, scores), scores)
