"""Metrics by name, computed from a table of cases alone.

A table has one row per case: ``case_id``, ``patient_id``, and for every class ``y_<class>`` (0 or 1) and
``p_<class>`` (probability, or presence score of a segmentation). ``d_<class>`` (0 or 1), where present, are the calls
made with tuned thresholds; otherwise a probability of 0.5 is called positive, and of exclusive classes the most
probable one. ``uncalibrated_<class>``, where present, is the probability before a calibration, which may be another for
every fold: scores of ranking look at that one. Segmentations add ``tp_<class>``, ``fp_<class>``, ``fn_<class>``
(voxels).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout.errors import UserError
from heldout.metrics import calibration, decisions, overlap, ranking
from heldout.metrics.tables import Columns, columns_of

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 4_000_000  # weights scored at once: 32 MB


@dataclass(frozen=True)
class Metric:
    """A score.

    Attributes:
        name: Its name; of an overlap it ends in the empty-mask policy.
        kind: ``classification`` scores labels (or the presence of a segmented class), ``segmentation`` masks.
        higher_is_better: Whether a larger value is a better one.
        description: One line for people.
        uses: What it looks at: probabilities, calls (so that a threshold matters) or voxel counts (likewise).
        one_class: Function of one class's columns and (draws, n) weights; of (n, *extra, 3) counts where it uses those.
        exclusive: What replaces the mean over classes where classes exclude each other; takes (n, K) columns.
        sides: The kinds of case of each class without which the score says nothing.
        presence: The class that counts for half, the others sharing the rest; None where all count alike.
    """

    name: str
    kind: Literal["classification", "segmentation"]
    higher_is_better: bool
    description: str
    uses: Literal["probability", "call", "counts"]
    one_class: Callable[..., np.ndarray]
    exclusive: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    sides: tuple[Literal["positive", "negative"], ...] = ()
    presence: str | None = None

    @property
    def thresholded(self) -> bool:
        """Whether the score depends on a threshold."""
        return self.uses != "probability"

    @property
    def ranks(self) -> bool:
        """Whether only the order of the cases counts, not what their probabilities are."""
        return self.one_class in (ranking.roc_auc, ranking.average_precision)

    def view(self, table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """The table with the probabilities that this score looks at in ``p_<class>``."""
        if not self.ranks or f"uncalibrated_{classes[0]}" not in table:
            return table
        return table.assign(**{f"p_{name}": table[f"uncalibrated_{name}"] for name in classes})

    def evaluate(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        """(draws,) scores under (draws, n) weights: the mean over classes, nan where a class is undefined."""
        return self.evaluate_rows([columns], weights)[0]

    def evaluate_rows(self, rows: Sequence[Columns], weights: np.ndarray) -> np.ndarray:
        """(rows, draws) scores of several tables of the same cases under the same (draws, n) weights."""
        if self.uses == "counts":
            if any(columns.counts is None for columns in rows):
                raise UserError(f"{self.name} needs masks, and these are predictions without: choose another metric")
            # one matrix product for the classes of all tables together
            return self.one_class(np.stack([columns.counts for columns in rows], 1), weights).mean(2).T
        return np.stack([self._of_labels(columns, weights) for columns in rows])

    def support(self, columns: Columns, patients: np.ndarray) -> int:
        """Number of patients that the weakest part of the score stands on.

        Args:
            columns: The cases.
            patients: (n,) patient of every case.
        """
        found = [len(np.unique(patients))]
        for side in self.sides:
            held = columns.positive if side == "positive" else ~columns.positive
            found += [len(np.unique(patients[of_class])) for of_class in held.T]
        return min(found)

    def _of_labels(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        seen = columns.probability if self.uses == "probability" else columns.called
        if columns.exclusive and self.exclusive is not None:
            return self.exclusive(columns.truth, seen, weights)
        scores = [self.one_class(y, s, weights) for y, s in zip(columns.truth.T, seen.T, strict=True)]
        return np.average(scores, axis=0, weights=self._shares(columns.classes))

    def _shares(self, classes: Sequence[str]) -> np.ndarray:
        """(K,) what every class counts; one class alone counts as a whole."""
        count = len(classes)
        if self.presence is None or count == 1:
            return np.full(count, 1 / count)
        if self.presence not in classes:
            raise UserError(
                f"metric {self.name}: there is no class {self.presence!r}, the classes are {', '.join(classes)}"
            )
        return np.where(np.array(classes) == self.presence, 0.5, 0.5 / (count - 1))


def _right_class(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return calibration.weighted_mean((truth & called).any(1).astype(float), weights)


def _mean_recall(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.mean([decisions.sensitivity(y, d, weights) for y, d in zip(truth.T, called.T, strict=True)], axis=0)


def _cross_entropy(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    of_true_class = (score * truth).sum(1) / score.sum(1)
    return calibration.log_loss(np.ones(len(truth), bool), of_true_class, weights)


def _overlap(of_case: Callable, empty: float, mean: Callable, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return mean(of_case(counts, empty), counts, weights)


_POSITIVE = ("positive",)
_BOTH = ("positive", "negative")


def _overlaps() -> list[Metric]:
    policies = {
        "pos": (overlap.mean_of_positives, 0.0, "mean over the cases that hold the class"),
        "all": (overlap.mean_of_all, 1.0, "mean over all cases, 1 where mask and prediction are both empty"),
    }
    found = []
    for name, of_case in {"dice": overlap.case_dice, "iou": overlap.case_iou}.items():
        for policy, (mean, empty, text) in policies.items():
            function = functools.partial(_overlap, of_case, empty, mean)
            found.append(
                Metric(
                    f"{name}_{policy}",
                    "segmentation",
                    True,
                    f"{name.capitalize()}, {text}",
                    "counts",
                    function,
                    sides=_POSITIVE if policy == "pos" else (),
                )
            )
    return found


WEIGHTED = "weighted_auc:"
_LABELS = "classification"
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        Metric("roc_auc", _LABELS, True, "area under the ROC curve", "probability", ranking.roc_auc, sides=_BOTH),
        Metric(
            "average_precision",
            _LABELS,
            True,
            "average precision",
            "probability",
            ranking.average_precision,
            sides=_BOTH,
        ),
        Metric("accuracy", _LABELS, True, "share of right calls", "call", decisions.accuracy, _right_class),
        Metric(
            "balanced_accuracy",
            _LABELS,
            True,
            "mean of sensitivity and specificity, or of all classes' recalls",
            "call",
            decisions.balanced_accuracy,
            _mean_recall,
            _BOTH,
        ),
        Metric("f1", _LABELS, True, "harmonic mean of precision and recall", "call", decisions.f1, sides=_POSITIVE),
        Metric(
            "sensitivity", _LABELS, True, "share of positives found", "call", decisions.sensitivity, sides=_POSITIVE
        ),
        Metric(
            "specificity",
            _LABELS,
            True,
            "share of negatives left alone",
            "call",
            decisions.specificity,
            sides=("negative",),
        ),
        Metric(
            "log_loss", _LABELS, False, "negative log-likelihood", "probability", calibration.log_loss, _cross_entropy
        ),
        Metric("brier", _LABELS, False, "mean squared error of the probability", "probability", calibration.brier),
        Metric(
            "ece",
            _LABELS,
            False,
            "expected calibration error, 15 bins",
            "probability",
            calibration.expected_calibration_error,
        ),
        Metric(
            "mce",
            _LABELS,
            False,
            "maximum calibration error, 15 bins",
            "probability",
            calibration.maximum_calibration_error,
        ),
        *_overlaps(),
    ]
}


def get_metric(name: str) -> Metric:
    """Metric of a name: one of :data:`METRICS`, or ``weighted_auc:<class>``.

    The weighted AUC is the score of the RSNA intracranial aneurysm detection challenge (2025): half the AUC of the
    class that says whether there is anything at all, half the mean AUC of the classes that say where. Which class that
    is stands in the name, so that whoever reads the score knows.

    Raises:
        UserError: there is no such metric.
    """
    if name.startswith(WEIGHTED):
        presence = name.removeprefix(WEIGHTED)
        return replace(METRICS["roc_auc"], name=name, description=f"AUC, half of it of {presence}", presence=presence)
    if name not in METRICS:
        raise UserError(
            f"metric {name!r} does not exist: choose one of {', '.join(METRICS)}, or {WEIGHTED}CLASS, where CLASS "
            "says whether there is anything at all"
        )
    return METRICS[name]


def score(
    name: str, table: pd.DataFrame, classes: Sequence[str], weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Score a table of cases; of several classes the mean.

    Args:
        name: Metric of :data:`METRICS`.
        table: One row per case, as the module describes.
        classes: The K classes.
        weights: Multiplicity of every case, (n,) or for many weightings (draws, n); None is once each.

    Returns:
        The score, or (draws,) scores for (draws, n) weights; nan where a class lacks the cases it is about.

    Raises:
        UserError: unknown metric, missing column, NaN, repeated case.
    """
    metric = get_metric(name)
    columns = columns_of(metric.view(table, classes), classes)
    if weights is None:
        weights = np.ones(len(table))
    weights = np.asarray(weights)
    if weights.shape[-1] != len(table):
        raise ValueError(f"{weights.shape[-1]} weights for {len(table)} cases")
    if weights.ndim == 1:
        return float(metric.evaluate(columns, weights[None].astype(float))[0])
    return evaluate_in_chunks(metric, columns, weights)


def evaluate_in_chunks(metric: Metric, columns: Columns, weights: np.ndarray) -> np.ndarray:
    """:meth:`Metric.evaluate` for any number of draws in bounded memory."""
    step = max(1, _CHUNK // max(1, weights.shape[1]))
    parts = [metric.evaluate(columns, weights[i : i + step].astype(float)) for i in range(0, len(weights), step)]
    return np.concatenate(parts)
