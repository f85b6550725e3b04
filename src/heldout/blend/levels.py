"""Tuning where studies or patients are scored: which pooling, by :mod:`heldout.blend.pooling`, is best for the cases.

It is chosen for equal weights of the members, on the same cases as these, which are then searched under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from heldout.blend.label_objective import LabelObjective
from heldout.blend.numbers import ValueObjective
from heldout.blend.objective import Tunable
from heldout.blend.pooling import group_rows, pool, poolings
from heldout.blend.records import BlendSettings, Pooling, Weights
from heldout.blend.values import to_thousandths
from heldout.metrics.registry import get_metric


@dataclass(frozen=True, eq=False)
class LevelObjective:
    """Groups of cases, scored under the pooling that is best for them; attributes as an objective's.

    Attributes:
        choices: The groups under every pooling.
    """

    choices: tuple[tuple[Pooling, LabelObjective | ValueObjective], ...]

    @cached_property
    def chosen(self) -> tuple[Pooling, LabelObjective | ValueObjective]:
        """The pooling with the best score under equal weights."""
        equal = to_thousandths(np.ones(self.members))
        sign = 1 if get_metric(self.metric).higher_is_better else -1
        return max(self.choices, key=lambda one: sign * one[1].tune(equal)[0])

    @property
    def plain(self) -> LabelObjective | ValueObjective:
        """The groups under the first pooling, for what does not depend on it."""
        return self.choices[0][1]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per group."""
        return self.plain.frame

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.plain.classes

    @property
    def metric(self) -> str:
        """Name of the score."""
        return self.plain.metric

    @property
    def members(self) -> int:
        """Number of members."""
        return self.plain.members

    @property
    def columns(self) -> int:
        """How many weights a member has."""
        return self.plain.columns

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return self.plain.separable

    def alone(self, place: int) -> Tunable | None:
        """One class under the chosen pooling."""
        return self.chosen[1].alone(place)

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those."""
        value, settings = self.chosen[1].tune(weights)
        return value, replace(settings, pooling=self.chosen[0])

    def fitted(self) -> tuple[float, BlendSettings] | None:
        """Score and settings where weights are fitted and not searched; else None."""
        found = self.chosen[1].fitted()
        return None if found is None else (found[0], replace(found[1], pooling=self.chosen[0]))

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The groups with what the settings predict for them."""
        return next(one for pooling, one in self.choices if pooling == settings.pooling).table(settings)

    def select(self, chosen: np.ndarray) -> LevelObjective:
        """The objective of the groups that an (n,) bool array chooses."""
        return LevelObjective(tuple((pooling, one.select(chosen)) for pooling, one in self.choices))

    def keep(self, members: Sequence[int]) -> LevelObjective:
        """The objective of some members."""
        return LevelObjective(tuple((pooling, one.keep(members)) for pooling, one in self.choices))


def level_objective(
    base: LabelObjective | ValueObjective, groups: Sequence[str], level: str, exclusive: bool
) -> LevelObjective:
    """The groups of the cases of an objective, under every pooling.

    Args:
        base: Single cases.
        groups: The group of each.
        level: What its cases have in common.
        exclusive: The classes exclude each other.

    Raises:
        UserError: as :func:`group_rows`.
    """
    kind = "regression" if isinstance(base, ValueObjective) else "classification"
    frame = group_rows(base.frame, groups, base.classes, kind=kind, exclusive=exclusive)
    places = pd.Series(range(len(base.frame))).groupby(list(groups), sort=False).agg(list)

    def pooled(pooling: Pooling) -> np.ndarray:
        return np.stack([pool(base.scores[:, rows], pooling, exclusive) for rows in places[frame["case_id"]]], axis=1)

    return LevelObjective(tuple((one, replace(base, frame=frame, scores=pooled(one))) for one in poolings(level, kind)))
