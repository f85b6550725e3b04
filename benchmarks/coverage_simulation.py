"""Patients with images, features and a model per fold, whose true scores are known in closed form.

A classification's image is ``x = y g m + u + e``: label y, severity g of the patient, direction m, and normal noise u
of the patient and e of the image. Models are penalized logistic regressions of x. A linear score of fresh patients is
then normal given label and severity, so that AUC, average precision, F1 and log-loss on endless fresh patients are
integrals of one dimension. A segmentation's lesion has a log volume that is linear in x plus noise; ridge regressions
predict it, and Dice follows from the error of the log volume, which is normal too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, ndtr

FEATURES = 20
_OF_PATIENT = 0.5  # share of a feature's noise that the images of a patient have in common
_SEVERITIES = np.array([0.5, 1.5])
_DIRECTION = 1.8 * np.sqrt(np.arange(FEATURES, 0, -1) / np.arange(FEATURES, 0, -1).sum())
_PENALTY = 5.0
_VOLUME = 0.6 * _DIRECTION / 1.8  # log volume by feature
_VOLUME_NOISE = (0.3, 0.3)  # standard deviation of the log volume: of a patient, of an image
_HIT = (8.0, 2.0)  # Beta distribution of the share of the overlap that a network finds, by patient
_WEIGHTS = np.linspace(0, 1, 11)  # of the first member, in a tuned blend
_SHIFTS = np.linspace(-0.6, 0.6, 25)  # thresholds of masks, on the scale of the log volume
_NODES, _MASS = np.polynomial.hermite_e.hermegauss(60)
_MASS = _MASS / _MASS.sum()


@dataclass(frozen=True)
class Design:
    """What is simulated.

    Attributes:
        metric: Name of the score.
        patients: Number of patients.
        folds: Number of folds.
        images: Images of every patient.
        tuned: Whether two members are blended, and cut, by what is best on the other folds.
    """

    metric: str
    patients: int
    folds: int
    images: int
    tuned: bool

    @property
    def name(self) -> str:
        """The design in words."""
        tuned = "tuned" if self.tuned else "untuned"
        return f"{self.metric}, {self.patients} patients, {self.folds} folds, {self.images} images, {tuned}"

    @property
    def positive(self) -> float:
        """Share of the patients that are positive: more of few, so that 20 or more are."""
        return {40: 0.65, 60: 0.5}.get(self.patients, 0.3)


@dataclass(frozen=True)
class Study:
    """One simulated cross-validation: (n,) columns, and what the folds' models score on fresh patients.

    Attributes:
        columns: ``patient``, ``fold``, ``y``, ``p``, and ``d`` (calls) or ``tp``, ``fp``, ``fn``.
        truth: Mean over folds of the score of that fold's model, with what was tuned for it, on endless fresh patients.
        controls: Values of these patients that are 0 on average, and err as the score does.
        coefficients: (folds, features + 1) linear score of every fold's model, and ``shifts``, its threshold.
    """

    columns: dict[str, np.ndarray]
    truth: float
    controls: tuple[float, ...]
    coefficients: np.ndarray
    shifts: np.ndarray


def simulate(design: Design, random: np.random.Generator, *, pair: bool = False) -> Study | tuple[Study, Study]:
    """Draw patients, fit a model per fold on the others, tune, and score on the fold and on fresh patients.

    Args:
        design: What to simulate.
        random: Source of the patients.
        pair: Two studies of the same patients instead, without tuning, whose members see halves of the features dealt
            at random, so that neither is better on average.
    """
    return (_masks if design.metric.startswith("dice") else _labels)(design, random, pair)


def deal(positive: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """(P,) fold of every patient, positive and negative ones dealt alike."""
    order = np.argsort(random.random(len(positive)) + ~positive)
    fold = np.empty(len(positive), int)
    fold[order] = np.arange(len(positive)) % folds
    return fold


def _labels(design: Design, random: np.random.Generator, pair: bool) -> Study | tuple[Study, Study]:
    truth, patient, fold, features = draw_labels(design, random)
    parts = _halves(random) if pair else _members(design)
    members = [_logistic(features, truth, fold, design.folds, part) for part in parts]
    scores = np.stack([np.einsum("np,np->n", features, one[fold]) for one in members])
    controls = _label_controls(design, truth, features)

    def study(models: np.ndarray, cuts: np.ndarray) -> Study:
        logit = np.einsum("np,np->n", features, models[fold])
        columns = {"patient": patient, "fold": fold, "y": truth, "p": expit(logit), "d": logit >= cuts[fold]}
        return Study(columns, float(true_scores(design, models, cuts).mean()), controls, models, cuts)

    weights, cuts = np.ones(design.folds), np.zeros(design.folds)
    if pair:
        return study(members[0], cuts), study(members[1], cuts)
    if design.tuned:
        weights, cuts = _tune_labels(design.metric, truth, scores, fold, design.folds)
    return study(_blend(members, weights), cuts)


def _blend(members: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    first = members[0] * weights[:, None]
    return first + members[1] * (1 - weights[:, None]) if len(members) > 1 else first


def _halves(random: np.random.Generator) -> list[np.ndarray]:
    shuffled = random.permutation(FEATURES)
    return [np.append(part, FEATURES) for part in np.split(shuffled, 2)]


def _label_controls(design: Design, truth: np.ndarray, features: np.ndarray) -> tuple[float, ...]:
    """How far the best linear score, and the share of positives, are off on these patients."""
    model = np.append(_DIRECTION, -1.5)
    logit, once = features @ model, np.ones((1, len(truth)), bool)
    off = []
    for metric, sign in (("roc_auc", 1), ("log_loss", -1)):
        true = true_scores(replace(design, metric=metric), model[None], np.zeros(1))[0]
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
    features = _noise(random, count, patient)
    features[:, :-1] += (truth * severity)[:, None] * _DIRECTION
    return truth, patient, fold[patient], features


def _held(design: Design) -> float:
    """Share of a positive patient's images that show it."""
    return 1.0 if design.images == 1 else 0.8


def _noise(random: np.random.Generator, count: int, patient: np.ndarray) -> np.ndarray:
    common = random.standard_normal((count, FEATURES)) * np.sqrt(_OF_PATIENT)
    own = random.standard_normal((len(patient), FEATURES)) * np.sqrt(1 - _OF_PATIENT)
    return np.column_stack([common[patient] + own, np.ones(len(patient))])


def _members(design: Design) -> list[np.ndarray]:
    """Features that each member sees."""
    whole = np.arange(FEATURES + 1)
    return [whole, np.append(np.arange(1, FEATURES, 2), FEATURES)] if design.tuned else [whole]


def _logistic(features: np.ndarray, truth: np.ndarray, fold: np.ndarray, folds: int, part: np.ndarray) -> np.ndarray:
    """(folds, features + 1) coefficients fitted without each fold: Newton steps that start from the fit of all."""
    x = features[:, part]
    penalty = _PENALTY * np.append(np.ones(len(part) - 1), 1e-6)
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
    for weight in _WEIGHTS:
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


def true_scores(design: Design, models: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """(folds,) score of linear models on endless fresh patients."""
    if design.metric.startswith("dice"):
        return _true_dice(models)
    share = design.positive * _held(design)
    level, width = models[:, -1], np.linalg.norm(models[:, :-1], axis=1)
    lifts = models[:, :-1] @ _DIRECTION
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


def _masks(design: Design, random: np.random.Generator, pair: bool) -> Study | tuple[Study, Study]:
    lesion, patient, fold, features, volume, hit = draw_masks(design, random)
    parts = _halves(random) if pair else _members(design)
    members = [_ridge(features[lesion], volume[lesion], fold[lesion], design.folds, part) for part in parts]
    predicted = np.stack([np.einsum("np,np->n", features, one[fold]) for one in members])
    oracle = hit * dice_of(features[:, :-1] @ _VOLUME - volume)
    controls = (float(oracle[lesion].mean() - _true_dice(np.append(_VOLUME, 0)[None])[0]),)

    def study(models: np.ndarray, shifts: np.ndarray) -> Study:
        models = models + np.append(np.zeros(FEATURES), 1) * shifts[:, None]
        size, drawn = volume, np.einsum("np,np->n", features, models[fold])
        size, drawn = (np.where(lesion, np.round(1000 * np.exp(part)), 0) for part in (size, drawn))
        overlap = np.round(hit * np.minimum(size, drawn))
        counts = {"tp": overlap, "fp": drawn - overlap, "fn": size - overlap}
        columns = {"patient": patient, "fold": fold, "y": lesion, "p": lesion * 0.5 + 0.25, **counts}
        return Study(columns, float(_true_dice(models).mean()), controls, models, shifts)

    weights, shifts = np.ones(design.folds), np.zeros(design.folds)
    if pair:
        return study(members[0], shifts), study(members[1], shifts)
    if design.tuned:
        weights, shifts = _tune_masks(predicted, volume, hit, lesion, fold, design.folds)
    return study(_blend(members, weights), shifts)


def draw_masks(
    design: Design, random: np.random.Generator, patients: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(n,) presence, patients, folds, (n, features + 1) features, (n,) log volumes and shares found."""
    count = patients or design.patients
    patient = np.repeat(np.arange(count), design.images)
    lesion = np.ones(len(patient), bool) if design.images == 1 else random.random(len(patient)) < 0.7
    fold = deal(np.ones(count, bool), design.folds, random)
    features = _noise(random, count, patient)
    volume = features[:, :-1] @ _VOLUME + random.normal(0, _VOLUME_NOISE[0], count)[patient]
    volume += random.normal(0, _VOLUME_NOISE[1], len(patient))
    return lesion, patient, fold[patient], features, volume, random.beta(*_HIT, count)[patient]


def _ridge(features: np.ndarray, target: np.ndarray, fold: np.ndarray, folds: int, part: np.ndarray) -> np.ndarray:
    """(folds, features + 1) coefficients fitted without each fold."""
    x = features[:, part]
    penalty = np.diag(np.append(np.ones(len(part) - 1), 1e-6)) * _PENALTY
    result = np.zeros((folds, FEATURES + 1))
    for one in range(folds):
        others = fold != one
        result[one, part] = np.linalg.solve(x[others].T @ x[others] + penalty, x[others].T @ target[others])
    return result


def dice_of(error: np.ndarray) -> np.ndarray:
    """Dice of two nested masks, by the difference of their log volumes."""
    return 2 / (1 + np.exp(np.abs(error)))


def _tune_masks(
    predicted: np.ndarray, volume: np.ndarray, hit: np.ndarray, lesion: np.ndarray, fold: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """(folds,) weight of the first member and shift of the log volume that are best on the other folds."""
    total = np.zeros((len(_WEIGHTS), len(_SHIFTS), folds))
    of_fold = (np.arange(folds)[:, None] == fold) & lesion
    for row, weight in enumerate(_WEIGHTS):
        error = weight * predicted[0] + (1 - weight) * predicted[1] - volume
        total[row] = (hit * dice_of(error + _SHIFTS[:, None])) @ of_fold.T
    count = of_fold.sum(1)
    mean = ((total.sum(2, keepdims=True) - total) / (count.sum() - count)).reshape(-1, folds)
    weight, shift = np.unravel_index(mean.argmax(0), total.shape[:2])
    return _WEIGHTS[weight], _SHIFTS[shift]


def _true_dice(models: np.ndarray) -> np.ndarray:
    width = np.sqrt(((models[:, :-1] - _VOLUME) ** 2).sum(1) + np.square(_VOLUME_NOISE).sum())
    nodes = np.linspace(-8, 8, 4001)  # the kink at 0 rules out a Gauss rule of few nodes
    density = np.exp(-(nodes**2) / 2)
    mean = dice_of(models[:, -1, None] + width[:, None] * nodes) @ density / density.sum()
    return mean * _HIT[0] / sum(_HIT)
