"""Segmentations: a lesion's log volume is linear in the features plus noise, and ridge regressions predict it.

Dice follows from the error of the log volume, which is normal for fresh patients.
"""

from __future__ import annotations

import numpy as np

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

_VOLUME = 0.6 * DIRECTION / 1.8  # log volume by feature
_VOLUME_NOISE = (0.3, 0.3)  # standard deviation of the log volume: of a patient, of an image
_HIT = (8.0, 2.0)  # Beta distribution of the share of the overlap that a network finds, by patient
_SHIFTS = np.linspace(-0.6, 0.6, 25)  # thresholds of masks, on the scale of the log volume


def simulate_masks(design: Design, random: np.random.Generator, pair: bool, equal: bool) -> Study | tuple[Study, Study]:
    """A study of a segmentation, or two with ``pair``."""
    lesion, patient, fold, features, volume, hit = _draw_masks(design, random)
    parts = halves(random) if pair else features_of(design)
    members = [_ridge(features[lesion], volume[lesion], fold[lesion], design.folds, part) for part in parts]
    predicted = np.stack([np.einsum("np,np->n", features, one[fold]) for one in members])
    oracle = hit * _dice_of(features[:, :-1] @ _VOLUME - volume)
    controls = (float(oracle[lesion].mean() - _true_dice(np.append(_VOLUME, 0)[None])[0]),)

    def study(models: np.ndarray, shifts: np.ndarray, blur: np.ndarray | None = None) -> Study:
        models = models + np.append(np.zeros(FEATURES), 1) * shifts[:, None]
        size, drawn = volume, np.einsum("np,np->n", features, models[fold])
        if blur is not None:
            drawn += blur[fold] * noise(random, patient[-1] + 1, patient)[:, 0]
        size, drawn = (np.where(lesion, np.round(1000 * np.exp(part)), 0) for part in (size, drawn))
        overlap = np.round(hit * np.minimum(size, drawn))
        counts = {"tp": overlap, "fp": drawn - overlap, "fn": size - overlap}
        columns = {"patient": patient, "fold": fold, "y": lesion, "p": lesion * 0.5 + 0.25, **counts}
        return Study(columns, float(_true_dice(models, blur).mean()), controls, models, shifts)

    weights, shifts = np.ones(design.folds), np.zeros(design.folds)
    if pair:
        blurs = handicaps(_true_dice, members) if equal else [None] * 2
        return study(members[0], shifts, blurs[0]), study(members[1], shifts, blurs[1])
    if design.tuned:
        weights, shifts = _tune_masks(predicted, volume, hit, lesion, fold, design.folds)
    return study(blend(members, weights), shifts)


def _draw_masks(
    design: Design, random: np.random.Generator, patients: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(n,) presence, patients, folds, (n, features + 1) features, (n,) log volumes and shares found."""
    count = patients or design.patients
    patient = np.repeat(np.arange(count), design.images)
    lesion = np.ones(len(patient), bool) if design.images == 1 else random.random(len(patient)) < 0.7
    fold = deal(np.ones(count, bool), design.folds, random)
    features = noise(random, count, patient)
    volume = features[:, :-1] @ _VOLUME + random.normal(0, _VOLUME_NOISE[0], count)[patient]
    volume += random.normal(0, _VOLUME_NOISE[1], len(patient))
    return lesion, patient, fold[patient], features, volume, random.beta(*_HIT, count)[patient]


def _ridge(features: np.ndarray, target: np.ndarray, fold: np.ndarray, folds: int, part: np.ndarray) -> np.ndarray:
    """(folds, features + 1) coefficients fitted without each fold."""
    x = features[:, part]
    penalty = np.diag(np.append(np.ones(len(part) - 1), 1e-6)) * PENALTY
    result = np.zeros((folds, FEATURES + 1))
    for one in range(folds):
        others = fold != one
        result[one, part] = np.linalg.solve(x[others].T @ x[others] + penalty, x[others].T @ target[others])
    return result


def _dice_of(error: np.ndarray) -> np.ndarray:
    """Dice of two nested masks, by the difference of their log volumes."""
    return 2 / (1 + np.exp(np.abs(error)))


def _tune_masks(
    predicted: np.ndarray, volume: np.ndarray, hit: np.ndarray, lesion: np.ndarray, fold: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """(folds,) weight of the first member and shift of the log volume that are best on the other folds."""
    total = np.zeros((len(WEIGHTS), len(_SHIFTS), folds))
    of_fold = (np.arange(folds)[:, None] == fold) & lesion
    for row, weight in enumerate(WEIGHTS):
        error = weight * predicted[0] + (1 - weight) * predicted[1] - volume
        total[row] = (hit * _dice_of(error + _SHIFTS[:, None])) @ of_fold.T
    count = of_fold.sum(1)
    mean = ((total.sum(2, keepdims=True) - total) / (count.sum() - count)).reshape(-1, folds)
    weight, shift = np.unravel_index(mean.argmax(0), total.shape[:2])
    return WEIGHTS[weight], _SHIFTS[shift]


def _true_dice(models: np.ndarray, blur: np.ndarray | None = None) -> np.ndarray:
    spread = ((models[:, :-1] - _VOLUME) ** 2).sum(1) + np.square(_VOLUME_NOISE).sum()
    width = np.sqrt(spread if blur is None else spread + blur**2)
    nodes = np.linspace(-8, 8, 4001)  # the kink at 0 rules out a Gauss rule of few nodes
    density = np.exp(-(nodes**2) / 2)
    mean = _dice_of(models[:, -1, None] + width[:, None] * nodes) @ density / density.sum()
    return mean * _HIT[0] / sum(_HIT)
