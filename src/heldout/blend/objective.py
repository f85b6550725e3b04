"""What tuning maximizes: the score of a weighting on given cases, with the best thresholds found in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import pandas as pd

from heldout.blend.mixing import rows_of
from heldout.blend.records import BlendSettings, Row, Weights
from heldout.errors import UserError
from heldout.metrics.registry import Metric, check_kind, get_metric, get_ranking_metric


class Tunable(Protocol):
    """What weights can be searched for.

    Attributes:
        metric: Name of the score.
        members: Number of members.
    """

    @property
    def metric(self) -> str: ...  # noqa: D102

    @property
    def members(self) -> int: ...  # noqa: D102

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those."""


class Objective(Tunable, Protocol):
    """Cases whose blend can be scored.

    Attributes:
        frame: One row per case: case_id, patient_id, fold and y_<class>.
        classes: Names of the classes.
        columns: How many weights a member has: of exclusive classes of masks the background has its own, as the first.
        separable: Whether the score is a mean over classes that do not depend on each other.
    """

    @property
    def frame(self) -> pd.DataFrame: ...  # noqa: D102

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def columns(self) -> int: ...  # noqa: D102

    @property
    def separable(self) -> bool: ...  # noqa: D102

    def alone(self, place: int) -> Tunable | None:
        """The class of a column without the others; None where it has no score of its own, as the background."""

    def fitted(self) -> tuple[float, BlendSettings] | None:
        """Score and settings where weights are fitted and not searched; else None."""

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with what the settings predict for them."""

    def select(self, chosen: np.ndarray) -> Self:
        """The objective of the cases that an (n,) bool array chooses."""

    def keep(self, members: Sequence[int]) -> Self:
        """The objective of some members."""


@dataclass(frozen=True)
class DerivedObjective:
    """An objective that completes the tables of another one, with its cases, classes, metric and members.

    Attributes:
        base: The other one.
    """

    base: Objective

    @property
    def frame(self) -> pd.DataFrame:
        """See :class:`Objective`."""
        return self.base.frame

    @property
    def classes(self) -> tuple[str, ...]:
        """See :class:`Objective`."""
        return self.base.classes

    @property
    def metric(self) -> str:
        """See :class:`Objective`."""
        return self.base.metric

    @property
    def members(self) -> int:
        """Number of members that are weighted."""
        return self.base.members

    @property
    def columns(self) -> int:
        """How many weights a member has."""
        return self.base.columns

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return self.base.separable

    def alone(self, place: int) -> Tunable | None:
        """See :class:`Objective`."""
        return self.base.alone(place)


@dataclass(frozen=True)
class ColumnObjective:
    """Weights of one class, beside those of the others; attributes as :class:`Tunable`.

    Attributes:
        base: The objective.
        place: Number of the row.
        rows: Weights of all classes.
    """

    base: Objective
    place: int
    rows: tuple[Row, ...]

    @property
    def metric(self) -> str:
        """Name of the score."""
        return self.base.metric

    @property
    def members(self) -> int:
        """Number of members."""
        return self.base.members

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of all classes with these weights of the one, and settings with those."""
        [row] = rows_of(weights)
        value, settings = self.base.tune((*self.rows[: self.place], row, *self.rows[self.place + 1 :]))
        return value, replace(settings, weights=row)


@dataclass(frozen=True)
class ScoreObjective:
    """Cases of which every member gives numbers; attributes as :class:`Objective`.

    Attributes:
        scores: (members, n, K) what the members give.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    metric: str
    scores: np.ndarray

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.scores)

    @property
    def columns(self) -> int:
        """How many weights a member has."""
        return 1

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return get_metric(self.metric).whole is None

    def select(self, chosen: np.ndarray) -> Self:
        """The objective of the chosen cases; see :class:`Objective`."""
        return replace(self, frame=self.frame[chosen].reset_index(drop=True), scores=self.scores[:, chosen])

    def keep(self, members: Sequence[int]) -> Self:
        """The objective of some members; see :class:`Objective`."""
        return replace(self, scores=self.scores[list(members)])


def check_metric(name: str, kind: str) -> Metric:
    """Metric that can score predictions of a kind.

    Raises:
        UserError: unknown metric, or one of masks for predictions without.
    """
    metric = get_ranking_metric(name)
    check_kind(metric, kind)
    if not metric.tunable:
        other = "dice_pos" if metric.kind == "segmentation" else "roc_auc"
        raise UserError(
            f"metric {name} cannot be tuned: it needs whole masks or all cases of a patient at once; choose another, "
            f"such as --metric {other}, and read {name} of the members"
        )
    return metric
