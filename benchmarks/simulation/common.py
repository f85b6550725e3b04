"""What all simulated studies share: their design, features, folds and members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FEATURES = 20
DIRECTION = 1.8 * np.sqrt(np.arange(FEATURES, 0, -1) / np.arange(FEATURES, 0, -1).sum())
PENALTY = 5.0
WEIGHTS = np.linspace(0, 1, 11)  # of the first member, in a tuned blend
_OF_PATIENT = 0.5  # share of a feature's noise that the images of a patient have in common


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


def deal(positive: np.ndarray, folds: int, random: np.random.Generator) -> np.ndarray:
    """(P,) fold of every patient, positive and negative ones dealt alike."""
    order = np.argsort(random.random(len(positive)) + ~positive)
    fold = np.empty(len(positive), int)
    fold[order] = np.arange(len(positive)) % folds
    return fold


def noise(random: np.random.Generator, count: int, patient: np.ndarray) -> np.ndarray:
    """(n, features + 1) noise of patients and images, and a last column of 1."""
    common = random.standard_normal((count, FEATURES)) * np.sqrt(_OF_PATIENT)
    own = random.standard_normal((len(patient), FEATURES)) * np.sqrt(1 - _OF_PATIENT)
    return np.column_stack([common[patient] + own, np.ones(len(patient))])


def features_of(design: Design) -> list[np.ndarray]:
    """Features that each member sees."""
    whole = np.arange(FEATURES + 1)
    return [whole, np.append(np.arange(1, FEATURES, 2), FEATURES)] if design.tuned else [whole]


def halves(random: np.random.Generator) -> list[np.ndarray]:
    """Features of two members that see halves, dealt at random."""
    shuffled = random.permutation(FEATURES)
    return [np.append(part, FEATURES) for part in np.split(shuffled, 2)]


def blend(members: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(folds, features + 1) weighted mean of the members' models; (folds,) weights of the first."""
    first = members[0] * weights[:, None]
    return first + members[1] * (1 - weights[:, None]) if len(members) > 1 else first


def handicaps(scores: Callable[[np.ndarray, np.ndarray], np.ndarray], members: list[np.ndarray]) -> list[np.ndarray]:
    """(folds,) handicap for each of two members, with which both score the same on fresh patients.

    In every fold the better member gets what lowers its score to that of the other, such as noise or a worse threshold.

    Args:
        scores: (folds,) scores, higher is better, of (folds, features + 1) models with (folds,) handicaps of 0 ... 20.
        members: The two members' models.
    """
    plain = [scores(one, np.zeros(len(one))) for one in members]
    target, found = np.minimum(*plain), []
    for models, own in zip(members, plain, strict=True):
        low, high = np.zeros((2, len(models)))
        high += 20
        for _ in range(40):
            middle = (low + high) / 2
            above = scores(models, middle) > target
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        found.append(np.where(own > target, low, 0))
    return found
