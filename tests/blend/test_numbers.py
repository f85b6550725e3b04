"""Blends of numbers and of grades: scores of their formulas, lines and cut points tuned on the other folds only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.blend.calibrate import apply_calibration
from heldout.blend.crossfit import crossfit
from heldout.blend.label_objective import LabelObjective
from heldout.blend.numbers import ValueObjective, fit_line
from heldout.blend.objective import check_metric
from heldout.blend.refine import Refinement, add_refinement
from heldout.blend.study import SearchPlan
from heldout.blend.values import grade_levels, labels_of, middle_cuts
from heldout.errors import UserError
from heldout.metrics import interval, score


def numbers(seed=0, count=60, targets=1) -> tuple[pd.DataFrame, np.ndarray]:
    """Cases with ages, and two members that answer too near the mean, the first with less noise."""
    random = np.random.default_rng(seed)
    names = ["age", "weight"][:targets]
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(count)], "fold": np.arange(count) % 3})
    frame["patient_id"] = frame["case_id"]
    truth = random.uniform(10, 200, (count, targets))
    frame[[f"y_{name}" for name in names]] = truth
    noise = random.normal(0, 1, (2, count, targets)) * np.array([6.0, 15.0])[:, None, None]
    return frame, 0.5 * truth + 40 + noise


@given(st.integers(0, 10_000), st.integers(1, 2))
@settings(max_examples=20, deadline=None)
def test_scores_of_numbers_agree_with_scikit_learn(seed, targets):
    frame, scores = numbers(seed, targets=targets)
    names = ["age", "weight"][:targets]
    table = ValueObjective(frame, tuple(names), "mae", scores).table(
        ValueObjective(frame, tuple(names), "mae", scores).tune((300, 700))[1]
    )
    y, p = (table[[f"{kind}_{name}" for name in names]].to_numpy() for kind in "yp")
    np.testing.assert_allclose(p, 0.3 * scores[0] + 0.7 * scores[1])
    assert score("mae", table, names) == pytest.approx(reference.mean_absolute_error(y, p))
    rmse = np.mean([reference.root_mean_squared_error(a, b) for a, b in zip(y.T, p.T, strict=True)])
    assert score("rmse", table, names) == pytest.approx(rmse)
    assert score("r2", table, names) == pytest.approx(reference.r2_score(y, p))


def test_a_line_is_fitted_on_the_other_folds_and_improves_the_score():
    frame, scores = numbers()
    plain = ValueObjective(frame, ("age",), "mae", scores)
    processed = add_refinement(plain, [], Refinement(calibrate="linear"))
    plan = SearchPlan("equal", 1)
    before, after = crossfit(plain, plan), crossfit(processed, plan)
    assert after.scores.cross_fitted < before.scores.cross_fitted / 2
    table = after.cross_fitted.set_index("case_id")
    for fold, one in after.by_fold.items():
        others, own = (frame["fold"] != fold).to_numpy(), (frame["fold"] == fold).to_numpy()
        mean = scores.mean(0)
        line = np.polyfit(mean[others, 0], frame["y_age"][others], 1)
        np.testing.assert_allclose(one.calibration.maps[0], line, rtol=1e-4)
        expected = np.polyval(line, mean[own, 0])
        np.testing.assert_allclose(table.loc[frame["case_id"][own], "p_age"], expected, rtol=1e-4)


def test_a_line_through_equal_predictions_is_their_mean():
    fitted = fit_line(np.arange(10.0)[:, None], np.full((10, 1), 3.0))
    assert apply_calibration(fitted, np.array([[3.0]])) == pytest.approx(4.5)
    with pytest.raises(UserError, match="linear calibration needs 5 cases, and there are 4"):
        fit_line(np.arange(4.0)[:, None], np.ones((4, 1)))


def test_an_interval_of_r2_may_be_below_zero():
    frame, _ = numbers(count=20)
    table = frame.assign(p_age=200 - frame["y_age"])
    found = interval("r2", table, ["age"])
    assert found.low < found.value < found.high < 0
    assert interval("mae", table, ["age"]).low > 0


@pytest.mark.parametrize(
    ("metric", "kind", "message"),
    [
        ("roc_auc", "regression", "needs classes, and these networks predict numbers: choose a metric of regression"),
        ("mae", "classification", "needs numbers, and these networks classify: choose a metric of classification"),
        ("dice_pos", "regression", "needs masks, and these networks predict numbers"),
        ("mae", "segmentation", "needs numbers, and these networks segment"),
    ],
)
def test_metrics_of_another_kind_are_refused(metric, kind, message):
    with pytest.raises(UserError, match=message):
        check_metric(metric, kind)


def test_calibrations_of_another_kind_are_refused():
    frame, scores = numbers()
    with pytest.raises(UserError, match="--calibrate platt does not fit these members: choose linear or auto"):
        add_refinement(ValueObjective(frame, ("age",), "mae", scores), [], Refinement(calibrate="platt"))


def graded(seed=0, count=150) -> LabelObjective:
    """Three grades whose networks are shy of the highest."""
    random = np.random.default_rng(seed)
    grade = random.integers(0, 3, count)
    logits = -np.abs(np.arange(3) - grade[:, None]) * 1.2 + random.normal(0, 0.7, (2, count, 3)) - [0, 0, 1.5]
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(count)], "fold": np.arange(count) % 3})
    frame["patient_id"] = frame["case_id"]
    names = ("a", "b", "c")
    frame[[f"y_{name}" for name in names]] = np.eye(3)[grade]
    return LabelObjective(frame, names, "quadratic_kappa", scores, True)


def test_cut_points_are_better_than_the_most_probable_grade_and_cross_fitted():
    objective = graded()
    found = crossfit(objective, SearchPlan("equal", 1))
    assert len(found.settings.thresholds) == 3
    blended = objective.scores.mean(0)
    most_probable = objective.frame.assign(**{f"p_{n}": blended[:, k] for k, n in enumerate("abc")})
    assert found.scores.cross_fitted > score("quadratic_kappa", most_probable, ["a", "b", "c"]) + 0.02
    for fold, one in found.by_fold.items():
        alone = objective.select((objective.frame["fold"] != fold).to_numpy())
        assert one.thresholds == alone.tune((500, 500))[1].thresholds


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_middle_cut_points_round_the_expected_grade(seed):
    scores = np.random.default_rng(seed).dirichlet(np.ones(4), 20)
    level = grade_levels(scores)
    grade = level / 255 * 3 + 0.5
    inside = np.abs(grade - np.rint(grade)) > 0.01  # levels are rounded
    assert (labels_of(scores, middle_cuts(4), True).argmax(1) == np.floor(grade))[inside].all()
    assert (labels_of(scores, (), True).argmax(1) == scores.argmax(1)).all()
