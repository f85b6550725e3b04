"""Out-of-fold scores with their intervals, kept under the hashes of the predictions they were computed from."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from heldout.config import load
from heldout.config.metric import metric_code
from heldout.errors import UserError
from heldout.evaluate.cache import JsonCache
from heldout.records import finite
from heldout.train.record import read_config
from heldout.train.runs import fit_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from heldout.blend.decision import Decision
    from heldout.evaluate.held_out import HeldOut
    from heldout.evaluate.row import Bounds, Row
    from heldout.metrics.jackknife import Interval
    from heldout.train.record import RunRecord

_SCHEMA = 15
CALIBRATED_ERROR = "ece_calibrated"
_ALSO = {
    "classification": (
        "roc_auc",
        "average_precision",
        "best_f1",
        "accuracy",
        "sensitivity",
        "specificity",
        "log_loss",
        "ece",
    ),
    "segmentation": (
        *("dice_pos", "iou_pos", "dice_all", "recall_pos", "precision_pos"),
        *("roc_auc", "average_precision", "best_f1"),
    ),
    "regression": ("mae", "rmse", "r2"),
}


@dataclass(frozen=True)
class Scores:
    """What a run or a blend scores: attributes of :class:`heldout.evaluate.row.Row` that take time to compute.

    Fold and seed scores are pairs here, as JSON keeps no numbers as keys; ``note`` says why thresholds could not be
    tuned and is empty where they were, or need not be.
    """

    higher_is_better: bool
    threshold: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    at_half: float | None = None
    cases: int | None = None
    patients: int | None = None
    by_class: dict[str, float] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)
    also_bounds: dict[str, Bounds] = field(default_factory=dict)
    fold_scores: list[tuple[int, float | None]] = field(default_factory=list)
    seed_scores: list[tuple[int, float | None]] = field(default_factory=list)
    identity: str = ""
    note: str = ""

    def apply(self, row: Row, *, without: Sequence[str] = ()) -> None:
        """Fill a row of the leaderboard, except some attributes."""
        note = "; ".join(filter(None, [row.note, self.note]))
        scores = {"fold_scores": dict(self.fold_scores), "seed_scores": dict(self.seed_scores)}
        values = {**vars(self), **scores, "note": note}
        for name in values.keys() - set(without):
            setattr(row, name, values[name])


def _other_views(spec: str, record: RunRecord) -> list[str]:
    """Flips, overlap and precision of an experiment, where those that a fit was predicted with were others."""
    with suppress(UserError):  # an experiment that is gone is scored as it was
        today, trained = load(spec), read_config(fit_folder(spec, record.seed, record.fold)).settings
        flips = [f"flips {today.tta}"] if set(today.tta) != set(trained.tta) else []
        overlap = [f"overlap {today.overlap:g}"] if today.overlap != trained.overlap else []
        same = today.predict_precision in ("auto", trained.predict_precision)
        return flips + overlap + ([] if same else [f"precision {today.predict_precision}"])
    return []


class ScoreCache:
    """Scores of runs and blends, kept between calls."""

    def __init__(self) -> None:
        self._cache = JsonCache("scores", _SCHEMA)

    def of_run(self, spec: str, metric: str, records: Sequence[RunRecord]) -> Scores:
        """Scores of a run's out-of-fold predictions, seeds averaged, at thresholds tuned on the other folds.

        Where they cannot be tuned, it is scored at one half, and :attr:`Scores.note` says why.

        Args:
            spec: Name of the run.
            metric: Name of the score.
            records: Contents of the ``run.json`` of its finished fits.

        Raises:
            UserError: the predictions cannot be read.
        """
        parts = [*sorted([record.seed, record.fold, record.sha256.oof] for record in records), *metric_code(metric)]
        seeds, key = seeds_of_every_fold(records), [spec, metric, parts, *_other_views(spec, records[0])]
        try:
            return Scores(**self._cache.get(key, lambda: asdict(_of_run(spec, seeds))))
        except UserError as error:
            about = [*key, "at one half"]
            found = self._cache.get(about, lambda: asdict(_of_run(spec, seeds, at_half=True)))
            return replace(Scores(**found), note=f"scored at one half, thresholds were not tuned: {error}")

    def of_blend(self, decision: Decision) -> Scores:
        """Scores of a blend's cross-fitted table, with the interval of today's method.

        Raises:
            UserError: the table is missing or was changed.
        """
        about = [decision.name, decision.metric, decision.digest, decision.tables, *metric_code(decision.metric)]
        return Scores(**self._cache.get(about, lambda: asdict(_of_blend(decision))))

    def save(self) -> None:
        """Write the file, if anything was computed."""
        self._cache.save()


def seeds_of_every_fold(records: Sequence[RunRecord]) -> list[int]:
    """The seeds that finished every fold which any of them finished, sorted."""
    folds = {record.fold for record in records}
    by_seed = {seed: {r.fold for r in records if r.seed == seed} for seed in {r.seed for r in records}}
    return sorted(seed for seed, done in by_seed.items() if done == folds)


def best_alone(decision: Decision, higher_is_better: bool) -> tuple[str, float] | None:
    """Best single member of a blend of several, and its score, tuned and cross-fitted as the blend is."""
    rows = decision.search.baselines
    names = [member.name for member in decision.searched if member.name in rows]
    alone = {name: value for name in names if (value := rows[name].cross_fitted) is not None}
    if len(alone) < 2:
        return None
    best = (max if higher_is_better else min)(alone, key=alone.__getitem__)
    return best, alone[best]


def spread(scores: dict[int, float | None]) -> float | None:
    """Sample standard deviation of scores; None of fewer than two, or where one is undefined."""
    values = [value for value in scores.values() if value is not None]
    if len(values) < 2 or len(values) < len(scores):
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def score_table(metric: str, kind: str, table: pd.DataFrame, classes: Sequence[str]) -> Scores:
    """Scores by class and fold, and other metrics, of a table of predictions.

    Args:
        metric: Name of the score.
        kind: ``classification`` or ``segmentation``, which decides on the other metrics.
        table: A row per case.
        classes: Names of the classes.
    """
    from heldout.metrics import get_metric, interval, score, scores_by_class
    from heldout.metrics.registry import further_scores

    by_class = {name: finite(value) for name, value in scores_by_class(metric, table, classes).items()}
    names = (*_ALSO[kind], *further_scores(kind, table))
    also = {name: finite(score(name, table, classes)) for name in names if name != metric}
    return Scores(
        get_metric(metric).higher_is_better,
        fold_scores=[(int(fold), finite(score(metric, part, classes))) for fold, part in table.groupby("fold")],
        cases=len(table),
        patients=int(table["patient_id"].nunique()),
        by_class={name: value for name, value in by_class.items() if value is not None},
        also={name: value for name, value in also.items() if value is not None},
        also_bounds={name: _bounds(interval(name, table, classes)) for name in names if name == "ece"},
    )


def _bounds(found: Interval) -> Bounds:
    return [finite(found.low), finite(found.high)]


def _of_run(spec: str, seeds: list[int], *, at_half: bool = False) -> Scores:
    from heldout.evaluate.held_out import AT_HALF, CROSS_FITTED, NO_THRESHOLD, open_held_out
    from heldout.metrics import get_metric, interval, score

    run = open_held_out(spec)

    def table_of(one: HeldOut) -> pd.DataFrame:
        return one.at_half_table if at_half else one.ranking_table

    table = table_of(run)
    how = run.threshold if not at_half else AT_HALF if run.depends_on_threshold else NO_THRESHOLD
    found = score_table(run.metric, run.kind, table, run.classes)
    also, bounds = dict(found.also), dict(found.also_bounds)
    if how == CROSS_FITTED:  # of masks cut at tuned thresholds only voxels are counted
        halved = score_table(run.metric, run.kind, run.at_half_table, run.classes).also
        also |= {name: value for name, value in halved.items() if get_metric(name).detail is not None}
    if "ece" in also and len(run.members[0].folds) > 1:
        calibrated = _calibrated_error(run)
        also[CALIBRATED_ERROR], bounds[CALIBRATED_ERROR] = calibrated.value, _bounds(calibrated)
    result = interval(run.metric, table, run.classes)
    by_seed = [
        (seed, finite(score(run.metric, table_of(run.of_seed(seed)), run.classes)))
        for seed in (seeds if len(seeds) > 1 else ())
    ]
    return replace(
        found,
        threshold=how,
        score=finite(result.value),
        low=finite(result.low),
        high=finite(result.high),
        at_half=finite(score(run.metric, run.at_half_table, run.classes)) if how == CROSS_FITTED else None,
        also=also,
        also_bounds=bounds,
        seed_scores=by_seed,
        identity=run.decision.identity,
    )


def _calibrated_error(run: HeldOut) -> Interval:
    """Calibration error once every fold's scores are calibrated by what was chosen and fitted on the other folds."""
    from heldout.blend.calibrate import cross_fitted
    from heldout.metrics import interval

    multiclass = run.exclusive and len(run.classes) > 1
    return interval("ece", cross_fitted(run.at_half_table, run.classes, multiclass, "auto"), run.classes)


def _of_blend(decision: Decision) -> Scores:
    from heldout.evaluate.held_out import HeldOut
    from heldout.metrics import get_metric, interval

    blend = HeldOut.of_blend(decision)
    if blend.cross_fitted_table is None:
        return Scores(get_metric(decision.metric).higher_is_better)
    found = score_table(blend.metric, blend.kind, blend.cross_fitted_table, blend.classes)
    result = interval(blend.metric, blend.cross_fitted_table, blend.classes)
    value, low, high = map(finite, (result.value, result.low, result.high))
    return replace(found, threshold=blend.threshold, score=value, low=low, high=high)
