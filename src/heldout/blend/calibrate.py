"""Calibration of case scores: monotone maps that make probabilities match frequencies, fitted out-of-fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.blend.records import Calibration
from heldout.blend.values import SMALLEST, inside, logit, sigmoid
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("none", "temperature", "platt", "isotonic")  # from the stiffest to the most flexible
LINEAR = "linear"  # of the numbers of a regression
CHOICES = (*METHODS, LINEAR, "auto")
FEWEST_CASES = 5  # positive and negative ones of every class
PARTS = 5  # in which a method is chosen
_LOG_TEMPERATURE = 3.0  # temperatures of 0.05 ... 20
_FLATTEST, _STEEPEST = 0.01, 100.0
_TILT = 0.01  # parts of an isotonic curve that rise with the logit and along its steps, which keeps the order of scores


def fit_calibration(
    method: str, truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, classes: Sequence[str], multiclass: bool
) -> Calibration:
    """Fit a calibration.

    Args:
        method: ``none``; ``temperature``: logits divided by one number (Guo 2017); ``platt``: a logistic curve of the
            logit (Platt 1999, with his smoothed targets); ``isotonic``: any rising curve (Zadrozny and Elkan 2002),
            kept off 0 and 1 by the rule of succession, with the order of the scores within its steps; ``auto``: the
            stiffest of these whose log-loss, on patients it was not fitted on, is within a standard error of the best
            (Breiman et al. 1984).
        truth: (n, K) 0 and 1, nan where a class of a case is unknown.
        scores: (n, K) in 0 ... 1.
        patients: (n,) patient of every case.
        classes: Names of the K classes.
        multiclass: Every case is of exactly one class and its scores sum to one. Platt and isotonic curves are then
            fitted for one class against the rest, and what they give is made to sum to one.

    Raises:
        UserError: a class has too few positive or negative cases.
    """
    if method == "auto":
        method = _choose(truth, scores, patients, classes, multiclass)
    if method == "none":
        return Calibration()
    _check_cases(method, truth, classes)
    if method == "temperature" and multiclass:
        return Calibration(method=method, multiclass=True, maps=((_temperature(truth > 0, np.log(inside(scores))),),))
    fit: Callable[[np.ndarray, np.ndarray], tuple[Any, ...]] = {
        "temperature": _binary_temperature,
        "platt": _platt,
        "isotonic": _isotonic,
    }[method]
    maps = tuple(fit(*_of_known(*pair)) for pair in zip(truth.T, scores.T, strict=True))
    return Calibration(method=method, multiclass=multiclass, maps=maps)


def apply_calibration(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
    """Calibrated scores (..., K) float64 of scores (..., K): in 0 ... 1, or numbers of a regression."""
    scores = np.asarray(scores, float)
    if calibration.method == "none":
        return scores
    method, maps, multiclass = calibration.method, calibration.maps, calibration.multiclass
    if method == "temperature" and multiclass:
        return _softmax(np.log(inside(scores)) / maps[0][0])
    curves: dict[str, Callable[..., np.ndarray]]
    curves = {"temperature": _cooled, "platt": _sigmoid_of_line, "isotonic": _interpolated, LINEAR: _line}
    result = np.stack([curves[method](scores[..., k], *parameters) for k, parameters in enumerate(maps)], -1)
    return result / result.sum(-1, keepdims=True) if multiclass else result


def cross_fitted(table: pd.DataFrame, classes: Sequence[str], multiclass: bool, method: str) -> pd.DataFrame:
    """A table of case scores in which every fold is calibrated by what was fitted on the other folds.

    Args:
        table: Case table of out-of-fold predictions.
        classes: Names of its classes.
        multiclass: As for :func:`fit_calibration`.
        method: As for :func:`fit_calibration`.

    Raises:
        UserError: a class has too few positive or negative cases outside a fold.
    """
    result = table.copy()
    columns = [f"p_{name}" for name in classes]
    truth, scores = table[[f"y_{name}" for name in classes]].to_numpy(float), table[columns].to_numpy(float)
    patients, folds = table["patient_id"].to_numpy(str), table["fold"].to_numpy()
    for fold in np.unique(folds):
        held_out, others = folds == fold, folds != fold
        fitted = fit_calibration(method, truth[others], scores[others], patients[others], classes, multiclass)
        result.loc[held_out, columns] = apply_calibration(fitted, scores[held_out])
    return result


def case_losses(truth: np.ndarray, scores: np.ndarray, multiclass: bool) -> np.ndarray:
    """Log-loss (n,) in nats: of the true class where classes are exclusive, else the mean over those that are known."""
    if multiclass:
        return -np.log(inside((scores * truth).sum(1)))
    known = ~np.isnan(np.asarray(truth, float))
    losses = np.where(known, -np.log(inside(np.where(truth > 0, scores, 1 - scores))), 0.0)
    return losses.sum(1) / np.maximum(known.sum(1), 1)


def _choose(
    truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, classes: Sequence[str], multiclass: bool
) -> str:
    """The stiffest method within a standard error of the best log-loss on patients it was not fitted on.

    The error is that of the difference of the two, by patient. Patients with the same labels are dealt out in turn, so
    that every part holds some of each.
    """
    names, of_case = np.unique(patients, return_inverse=True)
    held = np.zeros((len(names), truth.shape[1]), int)
    np.maximum.at(held, of_case, np.nan_to_num(truth).astype(int))
    order = np.lexsort([np.arange(len(names)), *held.T])
    part = np.empty(len(names), int)
    part[order] = np.arange(len(names)) % PARTS
    left_out = part[of_case]
    losses = []
    for method in METHODS:
        calibrated = np.array(scores, float)
        for number in np.unique(left_out):
            chosen, others = left_out == number, left_out != number
            try:
                fitted = fit_calibration(method, truth[others], scores[others], patients[others], classes, multiclass)
            except UserError:  # too few cases without this part: what cannot be tried is not chosen
                calibrated[chosen] = np.nan
                continue
            calibrated[chosen] = apply_calibration(fitted, scores[chosen])
        losses.append(case_losses(truth, calibrated, multiclass))
    gaps = np.array(losses) - losses[int(np.nanargmin(np.mean(losses, axis=1)))]
    means = gaps.mean(axis=1)
    of_patients = np.stack([np.bincount(of_case, gap - mean) for gap, mean in zip(gaps, means, strict=True)])
    errors = np.sqrt((of_patients**2).sum(axis=1)) / len(of_case)
    return METHODS[int(np.argmax(means <= errors))]  # what could not be tried is nan, and not within


def _of_known(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (bool) and scores of the cases of which a class is known."""
    known = ~np.isnan(truth)
    return truth[known] > 0, scores[known]


def _check_cases(method: str, truth: np.ndarray, classes: Sequence[str]) -> None:
    for name, of_class in zip(classes, truth.T, strict=True):
        for what, count in (("positive", np.sum(of_class == 1)), ("negative", np.sum(of_class == 0))):
            if count < FEWEST_CASES:
                raise UserError(
                    f"{method} calibration needs {FEWEST_CASES} {what} cases of {name}, and there are {count} to fit "
                    "on: finish more folds, or leave out --calibrate"
                )


def _binary_temperature(truth: np.ndarray, score: np.ndarray) -> tuple[float, ...]:
    logits = logit(score)
    return (_temperature(np.stack([truth, ~truth], 1), np.stack([logits / 2, -logits / 2], 1)),)


def _temperature(truth: np.ndarray, logits: np.ndarray) -> float:
    """Temperature that makes (n, K) one-hot labels most likely under the softmax of (n, K) logits."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        cooled = logits / np.exp(log_temperature)
        highest = cooled.max(1)
        return float(np.mean(highest + np.log(np.exp(cooled - highest[:, None]).sum(1)) - (cooled * truth).sum(1)))

    bounds = (-_LOG_TEMPERATURE, _LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def _platt(truth: np.ndarray, score: np.ndarray) -> tuple[float, ...]:
    from scipy.optimize import minimize

    positive = np.count_nonzero(truth)
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2))
    logits = logit(score)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        line = parameters[0] * logits + parameters[1]
        error = sigmoid(line) - target
        slopes = np.array([error @ logits, error.sum()]) / len(logits)
        return float(np.mean(np.logaddexp(0, line) - target * line)), slopes

    # A falling curve would reverse the order of the cases, and a flat one lose it: that is not a calibration.
    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(_FLATTEST, _STEEPEST), (None, None)])
    return tuple(float(value) for value in found.x)


def _isotonic(truth: np.ndarray, score: np.ndarray) -> tuple[tuple[float, ...] | float, ...]:
    from sklearn.isotonic import IsotonicRegression

    margin = 1 / (len(truth) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip").fit(score, truth.astype(float))
    # scores of a weak network may lie so close that their logits hardly differ: each step rises by its share as well
    rising = (1 - _TILT) * fitted.y_thresholds_ + _TILT * np.linspace(margin, 1 - margin, len(fitted.y_thresholds_))
    return tuple(map(float, fitted.X_thresholds_)), tuple(map(float, rising)), _TILT


def _line(value: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return slope * value + intercept


def _cooled(score: np.ndarray, temperature: float) -> np.ndarray:
    return sigmoid(logit(score) / temperature)


def _sigmoid_of_line(score: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return sigmoid(slope * logit(score) + intercept)


def _interpolated(score: np.ndarray, given: Sequence[float], wanted: Sequence[float], tilt: float = 0.0) -> np.ndarray:
    """An isotonic curve through its steps; earlier fits have no tilt, and give the cases of one step one value."""
    rising = 0.5 + logit(score) / (2 * np.log(1 / SMALLEST))
    return (1 - tilt) * np.interp(score, given, wanted) + tilt * rising


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
