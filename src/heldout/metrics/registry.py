"""Metrics by name, computed from a table of cases alone.

A table has one row per case: ``case_id``, ``patient_id``, and for every class ``y_<class>`` (0 or 1) and
``p_<class>`` (probability, or presence score of a segmentation). ``d_<class>`` (0 or 1), where present, are the labels
predicted with tuned thresholds; otherwise a probability of 0.5 is positive, and of exclusive classes the most probable
one. ``uncalibrated_<class>``, where present, is the probability before a calibration, which may be another for
every fold: scores of ranking look at that one. Segmentations add ``tp_<class>``, ``fp_<class>``, ``fn_<class>``
(voxels); where an experiment asks for them ``lesions_``, ``found_``, ``regions_`` and ``false_<class>`` (lesions),
``hd95_`` and ``assd_<class>`` (mm) and ``voxel_mm3``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.config.metric import own_names
from heldout.errors import UserError
from heldout.metrics import calibration, labels, ranking, values
from heldout.metrics.detection import PREFIXES as DETECTION_SCORES
from heldout.metrics.detection import detection_metric
from heldout.metrics.masks import MASK_SCORES, at_tolerance
from heldout.metrics.metric import Metric, Scale, Side
from heldout.metrics.own import own_metric
from heldout.metrics.patients import POOLS
from heldout.metrics.tables import TOLERANT_COLUMNS, columns_of

if TYPE_CHECKING:
    import pandas as pd


def _right_class(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return calibration.weighted_mean((truth & predicted).any(1).astype(float), weights)


def _mean_recall(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.mean([labels.sensitivity(y, d, weights) for y, d in zip(truth.T, predicted.T, strict=True)], axis=0)


def _cross_entropy(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    of_true_class = (score * truth).sum(1) / score.sum(1)
    return calibration.log_loss(np.ones(len(truth), bool), of_true_class, weights)


WEIGHTED = "weighted_auc:"
_FURTHER = {
    "lesions_": ["lesion_recall_pos", "lesion_precision_pos", "lesion_f1_pos", "lesion_count_error_all"],
    "hd95_": ["hd95_pos", "assd_pos"],
    "voxel_mm3": ["volume_ml_error_all"],
}
_OF_PATIENTS = {
    "classification": ["patient:roc_auc", "patient_top3:roc_auc"],
    "segmentation": ["patient:dice_pos", "patient:volume_error_pos"],
}
_POSITIVE: tuple[Side, ...] = ("positive",)
_BOTH: tuple[Side, ...] = ("positive", "negative")
_BY_BINS = f"calibration error, {calibration.CALIBRATION_BINS} bins"


def _probabilities(name: str, higher_is_better: bool, description: str, function: Callable, **rest: Any) -> Metric:
    return Metric(name, "classification", higher_is_better, description, "probability", function, **rest)


def _labels(name: str, description: str, function: Callable, sides: tuple[Side, ...] = (), **rest: Any) -> Metric:
    return Metric(name, "classification", True, description, "predicted_label", function, sides=sides, **rest)


def _numbers(name: str, higher_is_better: bool, description: str, function: Callable, scale: Scale) -> Metric:
    return Metric(name, "regression", higher_is_better, description, "value", function, interval_scale=scale)


_AUC, _AP = ranking.roc_auc_within_folds, ranking.average_precision_within_folds
_ECE, _MCE = calibration.expected_calibration_error, calibration.maximum_calibration_error
_QUADRATIC = functools.partial(labels.kappa, quadratic=True)
_BEST = "highest F1 of all thresholds, chosen on the cases that it scores"
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        _probabilities("roc_auc", True, "area under the ROC curve", ranking.roc_auc, sides=_BOTH, within_folds=_AUC),
        _probabilities(
            "average_precision", True, "average precision", ranking.average_precision, sides=_BOTH, within_folds=_AP
        ),
        _probabilities("best_f1", True, _BEST, ranking.best_f1, sides=_POSITIVE, optimistic=True),
        _labels("accuracy", "share of correct predicted labels", labels.accuracy, exclusive=_right_class),
        _labels(
            "balanced_accuracy",
            "mean of sensitivity and specificity, or of all classes' recalls",
            labels.balanced_accuracy,
            _BOTH,
            exclusive=_mean_recall,
        ),
        _labels("f1", "harmonic mean of precision and recall", labels.f1, _POSITIVE),
        _labels("sensitivity", "share of positives found", labels.sensitivity, _POSITIVE),
        _labels("specificity", "share of negatives predicted negative", labels.specificity, ("negative",)),
        _labels("kappa", "Cohen's kappa", labels.kappa, exclusive=labels.kappa, interval_scale="real"),
        _labels(
            "quadratic_kappa",
            "kappa weighted by squared distances of grades; of exclusive classes in their order",
            _QUADRATIC,
            exclusive=_QUADRATIC,
            ordered=True,
            interval_scale="real",
        ),
        _probabilities("pf1", True, "probabilistic F1", labels.probabilistic_f1, sides=_POSITIVE),
        _probabilities("log_loss", False, "negative log-likelihood", calibration.log_loss, exclusive=_cross_entropy),
        _probabilities("brier", False, "mean squared error of the probability", calibration.brier),
        _probabilities("ece", False, f"expected {_BY_BINS}", _ECE),
        _probabilities("mce", False, f"maximum {_BY_BINS}", _MCE),
        _numbers("mae", False, "mean absolute error", values.mean_absolute_error, "plain"),
        _numbers("rmse", False, "root of the mean squared error", values.root_mean_squared_error, "plain"),
        _numbers("r2", True, "share of the variance that is explained", values.r2, "real"),
        *(
            Metric(name, "segmentation", up, text, uses, function, sides=_POSITIVE if name.endswith("_pos") else ())
            for name, up, text, uses, function in MASK_SCORES
        ),
    ]
}


def get_metric(name: str) -> Metric:
    """Metric of a name: one of :data:`METRICS`, ``weighted_auc:<class>``, the user's own, or ``patient:`` before one.

    The user's own are functions of ``exps/metrics.py``, or ``exp100:name`` of an experiment's file; see
    :func:`heldout.config.metric.metric`.

    The weighted AUC is the score of the RSNA intracranial aneurysm detection challenge (2025): half the AUC of the
    class for any finding, half the mean AUC of the classes for its locations. The name of the metric holds the name of
    the first one.

    ``patient:roc_auc`` scores patients, not cases, by the highest probability of a patient's cases, and
    ``patient_top3:roc_auc`` by the mean of the three highest; ``patient:dice_pos`` scores the volume that a patient's
    slices make. See :func:`heldout.metrics.patients.pool_patients`.

    ``nsd:2`` and ``surface_dice:2`` score surfaces at a tolerance in mm; see
    :func:`heldout.metrics.surface.surface_dice`.

    ``map:0.5``, ``froc:5`` and ``fbeta:4:6`` score detections; see :func:`heldout.metrics.detection.detection_metric`.

    Raises:
        UserError: there is no such metric.

    Example:
        >>> get_metric("dice_pos").higher_is_better, get_metric("patient:roc_auc").name
        (True, 'patient:roc_auc')
    """
    prefix, _, inner = name.partition(":")
    if prefix in POOLS:
        metric = get_metric(inner)
        if metric.uses in ("surfaces", "tolerance"):
            raise UserError(f"metric {name!r}: surfaces of slices make no surface of a patient, choose another metric")
        return replace(metric, name=name, description=f"{metric.description}, of patients", pool=POOLS[prefix])
    if name.startswith(WEIGHTED):
        presence = name.removeprefix(WEIGHTED)
        return replace(METRICS["roc_auc"], name=name, description=f"AUC, half of it of {presence}", presence=presence)
    if prefix in DETECTION_SCORES:
        return detection_metric(name)
    if f"{prefix}:" in TOLERANT_COLUMNS:
        return _at_tolerance(name, prefix, inner)
    if name not in METRICS:
        if (own := own_metric(name)) is not None:
            return own
        known = ", ".join((*METRICS, *own_names()))
        raise UserError(
            f"metric {name!r} does not exist: choose one of {known}, map:IOU, froc:MM or fbeta:BETA:MM of detections, "
            f"or {WEIGHTED}CLASS, where CLASS says whether there is anything at all; "
            f"{' or '.join(f'{pool}:' for pool in POOLS)} before a name scores patients"
        )
    return METRICS[name]


def _at_tolerance(name: str, prefix: str, tolerance: str) -> Metric:
    """A score of surfaces at a tolerance in mm; the name holds the number as it is."""
    if not re.fullmatch(r"\d+(\.\d+)?", tolerance):
        raise UserError(f"metric {name!r} needs a tolerance in mm after the colon, such as {prefix}:2")
    what = (
        "surface Dice by area" if prefix == "surface_dice" else "normalized surface distance, share of surface voxels"
    )
    return Metric(
        name,
        "segmentation",
        True,
        f"{what} within {tolerance} mm, mean over the cases that hold the class",
        "tolerance",
        sides=_POSITIVE,
        whole=at_tolerance(name),
        interval_scale="logit",
    )


def get_ranking_metric(name: str) -> Metric:
    """:func:`get_metric`, of a score that runs may be ranked and blends tuned by.

    Raises:
        UserError: there is no such metric, or it is optimistically biased.
    """
    metric = get_metric(name)
    if metric.optimistic:
        raise UserError(
            f"metric {name!r} chooses its threshold on the scored cases: rank by average_precision or "
            "f1, and read it beside them"
        )
    return metric


def check_kind(metric: Metric, kind: str) -> None:
    """Refuse a metric that cannot score predictions of a kind: masks give labels too, nothing else gives another kind.

    Raises:
        UserError: naming what it needs.
    """
    if metric.kind == kind or (metric.kind, kind) == ("classification", "segmentation"):
        return
    needs = {"segmentation": "masks", "classification": "classes", "regression": "numbers"}
    given = {"segmentation": "segment", "classification": "classify", "regression": "predict numbers"}[kind]
    raise UserError(
        f"metric = {metric.name!r} needs {needs[metric.kind]}, and these networks {given}: choose a metric of {kind}"
    )


def further_scores(kind: str, table: pd.DataFrame) -> list[str]:
    """Names of scores that a table allows beyond the usual ones: of lesions, surfaces and patients, where it has them.

    Args:
        kind: ``classification``, ``segmentation`` or ``regression``.
        table: One row per case.
    """
    names = []
    for column, of_details in _FURTHER.items():
        if any(name.startswith(column) for name in table.columns):
            names += of_details
    if kind != "regression" and "patient_id" in table and table["patient_id"].nunique() < len(table):
        names += _OF_PATIENTS["classification"]
        names += _OF_PATIENTS["segmentation"] if kind == "segmentation" else []
    return names


def score(name: str, table: pd.DataFrame, classes: Sequence[str]) -> float:
    """Score a table of cases; of several classes the mean.

    Args:
        name: Name of a metric, as :func:`get_metric` takes it.
        table: One row per case, as the module describes.
        classes: The K classes.

    Returns:
        The score; nan where a class lacks the cases it is about.

    Raises:
        UserError: unknown metric, missing column, NaN, repeated case.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"case_id": ["a", "b", "c"], "y_tumor": [0, 1, 1], "p_tumor": [0.2, 0.1, 0.9]})
        >>> score("roc_auc", table, ["tumor"])
        0.5
        >>> round(score("brier", table, ["tumor"]), 3)
        0.287
    """
    metric = get_metric(name)
    columns = columns_of(metric.view(table, classes), classes, regression=metric.kind == "regression")
    return float(metric.evaluate(columns, np.ones((1, len(table))))[0])


def scores_by_class(name: str, table: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """:func:`score` of each of several classes alone; empty of one class.

    A metric of the user's own may be of all classes together and fail on one of them, which then has nan.
    """
    own, found = bool(get_metric(name).code), dict[str, float]()
    for label in classes if len(classes) > 1 else ():
        try:
            found[label] = score(name, table, [label])
        except Exception:
            if not own:
                raise
            found[label] = float("nan")
    return found
