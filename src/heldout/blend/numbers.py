"""Blends of regressions: weighted means of numbers, and their linear recalibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from heldout.blend.mixing import settings_of
from heldout.blend.objective import ScoreObjective, Tunable
from heldout.blend.records import BlendSettings, Calibration, Weights
from heldout.blend.values import blend_scores
from heldout.errors import UserError
from heldout.metrics.registry import get_metric
from heldout.metrics.tables import columns_of

NUMBER_METRICS = ("mae", "rmse", "r2")  # by which a recalibration is evaluated
_FEWEST = 5  # cases to fit a line on


@dataclass(frozen=True)
class ValueObjective(ScoreObjective):
    """Regression; attributes as :class:`heldout.blend.objective.ScoreObjective`, of predicted numbers."""

    def alone(self, place: int) -> Tunable:
        """One number."""
        return replace(self, classes=(self.classes[place],), scores=self.scores[..., place : place + 1])

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting; there is no threshold."""
        settings, metric = settings_of(weights, ()), get_metric(self.metric)
        value = metric.value(columns_of(self.table(settings), self.classes, regression=True))
        if np.isnan(value):
            raise UserError(f"{self.metric} is undefined on the cases to tune on: all of them have the same target")
        return value, settings

    def fitted(self) -> None:
        """Weights of numbers are searched."""

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with p_<class>."""
        blended = blend_scores(self.scores, settings.weights)
        return self.frame.assign(**{f"p_{name}": blended[:, k] for k, name in enumerate(self.classes)})


def fit_line(targets: np.ndarray, values: np.ndarray) -> Calibration:
    """Least-squares line from predicted to true numbers of every target, both (n, K).

    Networks that were trained briefly predict too near the mean, which a line takes back.

    Raises:
        UserError: there are too few cases.
    """
    if len(targets) < _FEWEST:
        raise UserError(
            f"linear calibration needs {_FEWEST} cases, and there are {len(targets)} to fit on: finish more folds, or "
            "leave out --calibrate"
        )
    lines = []
    for target, value in zip(targets.T, values.T, strict=True):
        spread = value - value.mean()
        slope = float(spread @ (target - target.mean()) / (spread @ spread)) if spread.any() else 1.0
        lines.append((slope, float(target.mean() - slope * value.mean())))
    return Calibration(method="linear", maps=tuple(lines))
