"""What a metric is: a function of a table's columns and of how often each case counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout.errors import UserError
from heldout.metrics import calibration, ranking
from heldout.metrics.masks import DETAILS, OF_DETECTIONS, OF_LABELS, Uses, mask_values
from heldout.metrics.patients import pool_patients
from heldout.metrics.tables import Columns

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["logit", "log", "plain", "real"]
Kind = Literal["classification", "segmentation", "regression"]
Side = Literal["positive", "negative"]


def _not_by_class(*_: np.ndarray) -> np.ndarray:
    raise TypeError("this metric is of all classes together")


@dataclass(frozen=True)
class Metric:
    """A score.

    Attributes:
        name: Its name; of an overlap it ends in the empty-mask policy.
        kind: ``classification`` scores labels (or the presence of a segmented class), ``segmentation`` masks,
            ``regression`` numbers.
        higher_is_better: Whether a larger value is a better one.
        description: One line for people.
        uses: What it looks at: probabilities, predicted labels (so that a threshold matters), numbers, or what masks
            gave, as :func:`mask_values` describes it.
        one_class: Function of one class's columns and (draws, n) weights; of (n, *extra, values) where it uses masks.
        exclusive: What replaces the mean over classes where classes exclude each other; takes (n, K) columns.
        sides: The kinds of case of each class without which the score says nothing.
        presence: The class that counts for half, the others sharing the rest; None where all count alike.
        optimistic: Whether it chooses its threshold on the cases that it scores: shown, never used to rank or tune.
        within_folds: What replaces ``one_class`` where networks of several folds predicted the cases, whose scores do
            not compare; takes (n,) folds besides.
        pool: How many of a patient's highest probabilities are averaged, where it scores patients; 0 scores cases.
        whole: What replaces ``one_class`` and all that is made of it, where the score is not a mean over classes:
            takes the columns and (draws, n) weights.
        ordered: Whether exclusive classes are grades in their order, which cut points of the expected grade decide.
        interval_scale: Where intervals are symmetric; None follows from the score.
        code: SHA-256 of the user's code that it is made of; empty of those that are built in.
    """

    name: str
    kind: Kind
    higher_is_better: bool
    description: str
    uses: Uses
    one_class: Callable[..., np.ndarray] = _not_by_class
    exclusive: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    sides: tuple[Side, ...] = ()
    presence: str | None = None
    optimistic: bool = False
    within_folds: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    pool: int = 0
    whole: Callable[[Columns, np.ndarray], np.ndarray] | None = None
    ordered: bool = False
    interval_scale: Scale | None = None
    code: str = ""

    @property
    def detail(self) -> str | None:
        """What must be measured of every mask for it, besides voxel counts: a word of the field ``mask_details``."""
        return self.name if self.uses == "tolerance" else DETAILS.get(self.uses)

    @property
    def tunable(self) -> bool:
        """Whether blending can tune for it: not where it needs whole masks, or all cases of a patient together."""
        return not self.pool and self.detail is None

    @property
    def thresholded(self) -> bool:
        """Whether the score depends on a threshold."""
        return self.uses not in ("probability", "value", "detections")

    @property
    def ranks(self) -> bool:
        """Whether only the order of the cases counts, not what their probabilities are."""
        return self.one_class in (ranking.roc_auc, ranking.average_precision, ranking.best_f1)

    @property
    def scale(self) -> Scale:
        """Where intervals are symmetric: shares on the logit scale, errors on the log scale or as they are."""
        if self.interval_scale is not None:
            return self.interval_scale
        if self.higher_is_better or self.one_class is calibration.brier:
            return "logit"
        by_bins = self.one_class in (calibration.expected_calibration_error, calibration.maximum_calibration_error)
        return "plain" if by_bins else "log"

    def view(self, table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """The table with the probabilities that this score looks at in ``p_<class>``."""
        if not self.ranks or f"uncalibrated_{classes[0]}" not in table:
            return table
        return table.assign(**{f"p_{name}": table[f"uncalibrated_{name}"] for name in classes})

    def evaluate(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        """(draws,) scores under (draws, n) weights: the mean over classes, nan where a class is undefined."""
        return self.evaluate_rows([columns], weights)[0]

    def value(self, columns: Columns) -> float:
        """Score of cases that count once each; nan where a class is undefined."""
        return float(self.evaluate(columns, np.ones((1, len(columns.truth))))[0])

    def evaluate_rows(self, rows: Sequence[Columns], weights: np.ndarray) -> np.ndarray:
        """(rows, draws) scores of several tables of the same cases under the same (draws, n) weights."""
        if self.pool:
            if self.kind == "regression":
                raise UserError(
                    f"{self.name}: cases are pooled by labels and masks, choose {self.name.partition(':')[2]}"
                )
            pooled = [pool_patients(columns, self.pool) for columns in rows]
            rows, weights = [columns for columns, _ in pooled], weights[:, pooled[0][1]]
        if self.whole is not None:
            return np.stack([self._of_all(columns, weights) for columns in rows])
        if self.uses not in OF_LABELS:
            # one matrix product for the classes of all tables together
            values = np.stack([mask_values(self.name, self.uses, columns) for columns in rows], 1)
            return self.one_class(values, weights).mean(2).T
        return np.stack([self._of_labels(columns, weights) for columns in rows])

    def _of_all(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        assert self.whole is not None, "a score of all classes together"
        if self.uses not in (*OF_LABELS, *OF_DETECTIONS, "tolerance"):
            mask_values(self.name, self.uses, columns)  # refuses cases whose masks were not measured
        return self.whole(columns, weights)

    def support(self, columns: Columns, patients: np.ndarray) -> int:
        """Number of patients that the weakest part of the score is computed from.

        Args:
            columns: The cases.
            patients: (n,) patient of every case.
        """
        if self.pool:
            columns, first = pool_patients(columns, self.pool)
            patients = patients[first]
        found = [len(np.unique(patients))]
        for side in self.sides:
            held = columns.positive if side == "positive" else columns.negative
            found += [len(np.unique(patients[of_class])) for of_class in held.T]
        return min(found)

    def _of_labels(self, columns: Columns, weights: np.ndarray) -> np.ndarray:
        if self.uses == "value":
            if columns.target is None or columns.value is None:
                raise UserError(
                    f"{self.name} scores numbers, and these are predictions of classes: choose another metric"
                )
            pairs_ = zip(columns.target.T, columns.value.T, strict=True)
            return np.mean([self.one_class(y, v, weights) for y, v in pairs_], axis=0)
        seen = columns.probability if self.uses == "probability" else columns.predicted
        if columns.exclusive and self.exclusive is not None:
            return self.exclusive(columns.truth, seen, weights)
        if columns.known is not None:
            parts = [self._of_known(columns, seen, k, weights) for k in range(len(columns.classes))]
            return np.average(parts, axis=0, weights=self._shares(columns.classes))
        pairs = zip(columns.truth.T, seen.T, strict=True)
        if self.within_folds is not None and columns.folds is not None:
            scores = [self.within_folds(y, s, weights, columns.folds) for y, s in pairs]
        else:
            scores = [self.one_class(y, s, weights) for y, s in pairs]
        return np.average(scores, axis=0, weights=self._shares(columns.classes))

    def _of_known(self, columns: Columns, seen: np.ndarray, number: int, weights: np.ndarray) -> np.ndarray:
        """(draws,) scores of one class on the cases of which it is known."""
        assert columns.known is not None, "some labels are unknown"
        rows = np.flatnonzero(columns.known[:, number])
        truth, values, of_case = columns.truth[rows, number], seen[rows, number], weights[:, rows]
        if self.within_folds is not None and columns.folds is not None:
            return self.within_folds(truth, values, of_case, columns.folds[rows])
        return self.one_class(truth, values, of_case)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a metric named after a class that is none of these.

        Raises:
            UserError: naming the classes.
        """
        if self.presence is not None and self.presence not in classes:
            raise UserError(
                f"metric {self.name}: there is no class {self.presence!r}, name one of {', '.join(classes)}"
            )

    def _shares(self, classes: Sequence[str]) -> np.ndarray:
        """(K,) what every class counts; one class alone counts as a whole."""
        count = len(classes)
        if self.presence is None or count == 1:
            return np.full(count, 1 / count)
        self.check_classes(classes)
        return np.where(np.array(classes) == self.presence, 0.5, 0.5 / (count - 1))
