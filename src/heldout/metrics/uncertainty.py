"""How unsure an ensemble is, of what kind that is, and whether it foretells errors. All entropies are in nats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.metrics.ranking import roc_auc

_SMALLEST = 1e-12  # below it, p log p counts as nothing


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What the members' probabilities say, for one case or for every voxel; ``total`` is the sum of the other two.

    Attributes:
        total: Entropy of the mean distribution (predictive entropy).
        aleatoric: Mean entropy of the members' distributions: what none of them could know better.
        epistemic: Mutual information of prediction and member: how far the members contradict one another, which more
            training data would reduce.
    """

    total: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def decompose(
    probabilities: Sequence[np.ndarray],
    *,
    exclusive: bool,
    background: bool,
    weights: Sequence[float] | None = None,
) -> Uncertainty:
    """Split the uncertainty of an ensemble.

    Depeweg et al. 2018 (Decomposition of uncertainty in Bayesian deep learning, equation 3), with the terms of Kendall
    and Gal 2017; members may be dropout samples (Gal and Ghahramani 2016), flips or trained networks.

    Args:
        probabilities: (K, *S) of every member, float 0 ... 1 or uint8 0 ... 255; S may be empty.
        exclusive: The classes exclude each other; otherwise each is a distribution of its own, and the mean over the
            classes counts.
        background: What is missing to 1 belongs to no class (segmentations, or a single class), which counts as one
            more outcome.
        weights: Shares of the members, which sum to 1; None is equal shares.

    Returns:
        Arrays of the shape S, float64, 0 ... log(number of outcomes).

    Example:
        >>> import numpy as np
        >>> agree = decompose([np.array([0.5]), np.array([0.5])], exclusive=False, background=True)
        >>> disagree = decompose([np.array([0.0]), np.array([1.0])], exclusive=False, background=True)
        >>> round(float(agree.epistemic), 3), round(float(disagree.epistemic), 3)
        (0.0, 0.693)
    """
    shares = [1 / len(probabilities)] * len(probabilities) if weights is None else weights
    mean, aleatoric = np.zeros(np.shape(probabilities[0])), np.zeros(np.shape(probabilities[0])[1:])
    for share, member in zip(shares, probabilities, strict=True):  # one at a time: maps of a volume are large
        values = member / 255 if member.dtype == np.uint8 else np.asarray(member, np.float64)
        mean += share * values
        aleatoric += share * _entropy(values, exclusive, background)
    total = _entropy(mean, exclusive, background)
    return Uncertainty(total, aleatoric, np.maximum(total - aleatoric, 0))


def region_means(maps: Uncertainty, region: np.ndarray) -> Uncertainty:
    """Means over a region (*S) bool, and over everything where it is empty."""
    inside = region if region.any() else np.ones_like(region)
    return Uncertainty(*(np.asarray(part[inside].mean()) for part in (maps.total, maps.aleatoric, maps.epistemic)))


def _entropy(values: np.ndarray, exclusive: bool, background: bool) -> np.ndarray:
    if not exclusive or len(values) == 1:
        return (_surprise(values) + _surprise(1 - values)).mean(0)
    whole = _surprise(values).sum(0)
    return whole + _surprise(np.clip(1 - values.sum(0), 0, 1)) if background else whole


def _surprise(values: np.ndarray) -> np.ndarray:
    inside = np.clip(values, _SMALLEST, 1)
    return np.where(values > _SMALLEST, -inside * np.log(inside), 0)


def error_auroc(uncertainty: np.ndarray, loss: np.ndarray) -> float:
    """The chance that of two cases with unequal losses the worse one is less certain; nan without such a pair.

    With losses of 0 and 1 this is the AUROC of finding the wrong cases; with more it is Harrell's concordance index
    (Harrell et al. 1982).

    Args:
        uncertainty: (n,) float.
        loss: (n,) bool, or few distinct numbers, such as counts of wrong labels.
    """
    uncertainty, loss = np.asarray(uncertainty, float), np.asarray(loss, float)
    concordant = pairs = 0.0
    for low, high in itertools.combinations(np.unique(loss), 2):
        chosen = (loss == low) | (loss == high)
        worse = loss[chosen] == high
        count = float(worse.sum() * (~worse).sum())
        concordant += count * roc_auc(worse, uncertainty[chosen], np.ones((1, len(worse))))[0]
        pairs += count
    return concordant / pairs if pairs else math.nan


def risk_coverage(uncertainty: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss of the most certain cases, for every number of them that one may answer (El-Yaniv and Wiener 2010).

    Cases of equal uncertainty are taken in random order: each counts their mean loss.

    Args:
        uncertainty: (n,) float.
        loss: (n,) float, such as 0 and 1, or 1 - Dice.

    Returns:
        Coverage 1/n ... 1 and risk, (n,) each.
    """
    _, tied = np.unique(uncertainty, return_inverse=True)
    expected = (np.bincount(tied, loss) / np.bincount(tied))[tied]
    ordered = expected[np.argsort(uncertainty, kind="stable")]
    count = np.arange(1, len(ordered) + 1)
    return count / len(ordered), np.cumsum(ordered) / count


def aurc(uncertainty: np.ndarray, loss: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages (Geifman, Uziel and El-Yaniv 2019).

    Lower is better; a random ranking has the mean loss.

    Example:
        >>> import numpy as np
        >>> round(aurc(np.array([0.1, 0.2, 0.9]), np.array([0.0, 0.0, 1.0])), 3)
        0.111
    """
    return float(risk_coverage(uncertainty, loss)[1].mean())
