"""Classifications, whose models are penalized logistic regressions.

An image is ``x = y g m + u + e``: label y, severity g of the patient, direction m, and normal noise u of the patient
and e of the image. A linear score of fresh patients is normal given label and severity, so that AUC, average
precision, F1 and log-loss on endless fresh patients are integrals of one dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import expit, ndtr

from simulation.common import (
    DIRECTION,
    FEATURES,
    PENALTY,
    WEIGHTS,
    Design,
    Study,
    blend,
    deal,
    features_of,
    halves,
    handicaps,
    noise,
)

_SEVERITIES = np.array([0.5, 1.5])
_NODES, _MASS = np.polynomial.hermite_e.hermegauss(60)
_MASS = _MASS / _MASS.sum()


def simulate_labels(
    design: Design, random: np.random.Generator, pair: bool, equal: bool
) -> Study | tuple[Study, Study]:
    """A study of a classification, or two with ``pair``."""
    truth, patient, fold, features = draw_labels(design, random)
    parts = halves(random) if pair else features_of(design)
    members = [_logistic(features, truth, fold, design.folds, part) for part in parts]
    scores = np.stack([np.einsum("np,np->n", features, one[fold]) for one in members])
    controls = _label_controls(design, truth, features)

    def study(models: np.ndarray, cuts: np.ndarray, blur: np.ndarray | None = None) -> Study:
        logit = np.einsum("np,np->n", features, models[fold])
        if blur is not None:
            logit += blur[fold] * noise(random, patient[-1] + 1, patient)[:, 0]
        columns = {"patient": patient, "fold": fold, "y": truth, "p": expit(logit), "d": logit >= cuts[fold]}
        return Study(columns, float(_true_scores(design, models, cuts, blur).mean()), controls, models, cuts)

    weights, cuts = np.ones(design.folds), np.zeros(design.folds)
    if pair:
        if equal and design.metric == "f1":  # which noise may raise
            raised = handicaps(lambda models, by: _true_scores(design, models, cuts + by), members)
            return study(members[0], cuts + raised[0]), study(members[1], cuts + raised[1])
        sign = -1 if design.metric == "log_loss" else 1
        blurs: Sequence[np.ndarray | None] = (None, None)
        if equal:
            blurs = handicaps(lambda models, blur: sign * _true_scores(design, models, cuts, blur), members)
        return study(members[0], cuts, blurs[0]), study(members[1], cuts, blurs[1])
    if design.tuned:
        weights, cuts = _tune_labels(design.metric, truth, scores, fold, design.folds)
    return study(blend(members, weights), cuts)


def _label_controls(design: Design, truth: np.ndarray, features: np.ndarray) -> tuple[float, ...]:
    """How far the best linear score, and the share of positives, are off on these patients."""
    model = np.append(DIRECTION, -1.5)
    logit, once = features @ model, np.ones((1, len(truth)), bool)
    off = []
    for metric, sign in (("roc_auc", 1), ("log_loss", -1)):
        true = _true_scores(replace(design, metric=metric), model[None], np.zeros(1))[0]
        off.append(sign * float(_merit(metric, truth, logit, once)[0][0]) - float(true))
    return (*off, float(truth.mean()) - design.positive * _held(design))


def draw_labels(
    design: Design, random: np.random.Generator, patients: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(n,) labels, patients, folds and (n, features + 1) features, the last of them 1."""
    count = patients or design.patients
    while True:
        positive = random.random(count) < design.positive
        if min(positive.sum(), (~positive).sum()) >= (20 if design.positive < 0.6 else 10):
            break
    fold = deal(positive, design.folds, random)
    patient = np.repeat(np.arange(count), design.images)
    truth = positive[patient] & (random.random(len(patient)) < _held(design))
    severity = _SEVERITIES[random.integers(0, 2, count)][patient]
    features = noise(random, count, patient)
    features[:, :-1] += (truth * severity)[:, None] * DIRECTION
    return truth, patient, fold[patient], features


def _held(design: Design) -> float:
    """Share of a positive patient's images that show it."""
    return 1.0 if design.images == 1 else 0.8


def _logistic(features: np.ndarray, truth: np.ndarray, fold: np.ndarray, folds: int, part: np.ndarray) -> np.ndarray:
    """(folds, features + 1) coefficients fitted without each fold: Newton steps that start from the fit of all."""
    x = features[:, part]
    penalty = PENALTY * np.append(np.ones(len(part) - 1), 1e-6)
    start = _newton(x, truth, np.zeros(len(part)), penalty, 7)
    result = np.zeros((folds, FEATURES + 1))
    for one in range(folds):
        others = fold != one
        result[one, part] = _newton(x[others], truth[others], start, penalty, 4)
    return result


def _newton(x: np.ndarray, truth: np.ndarray, start: np.ndarray, penalty: np.ndarray, steps: int) -> np.ndarray:
    found = start
    for _ in range(steps):
        p = expit(x @ found)
        gradient = x.T @ (truth - p) - penalty * found
        curvature = (x * (p * (1 - p))[:, None]).T @ x
        curvature[np.diag_indices_from(curvature)] += penalty
        found = found + np.linalg.solve(curvature, gradient)
    return found


def _tune_labels(
    metric: str, truth: np.ndarray, scores: np.ndarray, fold: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """(folds,) weight of the first member and cut of the logit that are best on the other folds."""
    others = np.arange(folds)[:, None] != fold
    best, weights, cuts = np.full(folds, -np.inf), np.ones(folds), np.zeros(folds)
    for weight in WEIGHTS:
        logit = weight * scores[0] + (1 - weight) * scores[1]
        value, cut = _merit(metric, truth, logit, others)
        better = value > best
        best, weights, cuts = (
            np.where(better, new, old) for new, old in ((value, best), (weight, weights), (cut, cuts))
        )
    return weights, cuts


def _merit(
    metric: str, truth: np.ndarray, logit: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray | float]:
    """(parts,) value of a score, higher is better, on each (n,) part of the cases, and the best cut."""
    if metric == "log_loss":
        return -(chosen @ np.logaddexp(0, np.where(truth, -logit, logit))) / chosen.sum(1), 0.0
    order = np.argsort(-logit)
    positive, chosen = chosen[:, order] & truth[order], chosen[:, order]
    found, called = np.cumsum(positive, 1), np.cumsum(chosen, 1)
    total = found[:, -1]
    if metric == "roc_auc":
        misses = called - found
        return 1 - (misses * positive).sum(1) / (total * misses[:, -1]), 0.0
    if metric == "average_precision":
        return (found / np.maximum(called, 1) * positive).sum(1) / total, 0.0
    f1 = 2 * found / (total[:, None] + np.maximum(called, 1))
    place = f1.argmax(1)
    ranked = logit[order]
    following = np.minimum(place + 1, len(ranked) - 1)
    return f1[np.arange(len(f1)), place], (ranked[place] + ranked[following]) / 2


def _true_scores(design: Design, models: np.ndarray, cuts: np.ndarray, blur: np.ndarray | None = None) -> np.ndarray:
    """(folds,) score of linear models on endless fresh patients; ``blur`` is the spread of a noise of their logit."""
    share = design.positive * _held(design)
    level, width = models[:, -1], np.hypot(np.linalg.norm(models[:, :-1], axis=1), 0 if blur is None else blur)
    lifts = models[:, :-1] @ DIRECTION
    lift = lifts[:, None] * _SEVERITIES  # (folds, severities)
    if design.metric == "roc_auc":
        return ndtr(lift / (width[:, None] * np.sqrt(2))).mean(1)
    if design.metric == "ece":
        return _true_ece(share, level, lift, width)
    if design.metric == "f1":
        hit = share * ndtr((level[:, None] + lift - cuts[:, None]) / width[:, None]).mean(1)
        false = (1 - share) * ndtr((level - cuts) / width)
        return 2 * hit / (share + hit + false)
    positive = level[:, None, None] + lift[..., None] + width[:, None, None] * _NODES  # (folds, severities, nodes)
    if design.metric == "log_loss":
        negative = level[:, None] + width[:, None] * _NODES
        of_positive = (np.logaddexp(0, -positive) @ _MASS).mean(1)
        return share * of_positive + (1 - share) * (np.logaddexp(0, negative) @ _MASS)
    above = (level[:, None, None, None] + lift[:, :, None, None] - positive[:, None]) / width[:, None, None, None]
    recall = ndtr(above).mean(1)
    false = ndtr((level[:, None, None] - positive) / width[:, None, None])
    precision = share * recall / (share * recall + (1 - share) * false)
    return (precision @ _MASS).mean(1)


def _true_ece(share: float, level: np.ndarray, lift: np.ndarray, width: np.ndarray) -> np.ndarray:
    grid = np.linspace(-15, 15, 3001)
    density = np.exp(-(((grid - level[:, None]) / width[:, None]) ** 2) / 2)
    raised = np.exp(-(((grid - level[:, None, None] - lift[..., None]) / width[:, None, None]) ** 2) / 2).mean(1)
    negative, positive = ((part / part.sum(1, keepdims=True)) for part in (density, raised))
    stated = expit(grid)
    gap = share * positive * (stated - 1) + (1 - share) * negative * stated
    edges = np.searchsorted(stated, np.arange(15) / 15)
    return np.abs(np.add.reduceat(gap, edges, axis=1)).sum(1)
