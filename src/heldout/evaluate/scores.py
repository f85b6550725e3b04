"""Out-of-fold scores with their intervals, remembered by the hashes of the predictions they were computed from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from heldout.blend.decision import Decision
    from heldout.blend.members import Member

_SCHEMA = 9
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
}


class ScoreCache:
    """Scores of runs and blends, remembered between calls."""

    def __init__(self) -> None:
        self._scores = Remembered("scores", _SCHEMA)

    def of_run(self, spec: str, metric: str, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Score of a run's out-of-fold predictions, seeds averaged.

        Args:
            spec: Name of the run.
            metric: Name of the score.
            records: Contents of the ``run.json`` of its finished fits.

        Returns:
            ``score``, ``low``, ``high`` (None where undefined), ``higher_is_better``, ``cases``, ``patients``, the
            ``identity`` by which the ledger knows the run, ``by_class``, the values of ``also``, other metrics, and
            ``seed_scores``, a list of seed and score over all finished folds; empty for a single seed.

        Raises:
            UserError: the predictions cannot be read.
        """
        parts = sorted([record["seed"], record["fold"], record["sha256"]["oof"]] for record in records)
        return self._scores.get([spec, metric, parts], lambda: _of_run(spec, metric, seeds_of_every_fold(records)))

    def of_blend(self, decision: Decision) -> dict[str, Any]:
        """What a blend's cross-fitted table says beside the score that its decision holds.

        Returns:
            ``higher_is_better``, ``cases``, ``patients``, ``by_class``, ``also``, and ``fold_scores``, a list of fold
            and score; all but the first None or empty where nothing could be cross-fitted.

        Raises:
            UserError: the table is missing or was changed.
        """
        return self._scores.get(
            [decision.name, decision.metric, decision.digest, decision.tables], lambda: _of_blend(decision)
        )

    def save(self) -> None:
        """Write the file, if anything was computed."""
        self._scores.save()


def seeds_of_every_fold(records: list[dict[str, Any]]) -> list[int]:
    """The seeds that finished every fold which any of them finished, sorted."""
    folds = {record["fold"] for record in records}
    by_seed = {seed: {r["fold"] for r in records if r["seed"] == seed} for seed in {r["seed"] for r in records}}
    return sorted(seed for seed, done in by_seed.items() if done == folds)


def best_alone(decision: Decision, higher_is_better: bool) -> tuple[str, float] | None:
    """Best of several members of a blend by itself, and its score, tuned and cross-fitted as the blend is."""
    rows = decision.search.get("baselines", {})
    names = [member["name"] for member in decision.members if member["name"] in rows]
    alone = {name: rows[name]["cross_fitted"] for name in names if rows[name]["cross_fitted"] is not None}
    if len(alone) < 2:
        return None
    best = (max if higher_is_better else min)(alone, key=alone.__getitem__)
    return best, alone[best]


def spread(scores: dict[int, float | None]) -> float | None:
    """Sample standard deviation of scores; None of fewer than two, or where one is undefined."""
    values = list(scores.values())
    if len(values) < 2 or None in values:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def cross_fitted_table(decision: Decision) -> pd.DataFrame | None:
    """A blend's table in which every case is predicted with settings tuned on the other folds; None with one fold.

    Raises:
        UserError: the file is missing or is not the one that blending wrote.
    """
    from heldout.predict.store import read_table

    if "oof" not in decision.tables:
        return None
    path = decision.folder / "oof.parquet"
    if path.is_file() and files.sha256_file(path) != decision.tables["oof"]:
        raise UserError(f"{path} was changed after blending: restore it, or blend again under a new name")
    return read_table(decision.folder, "oof")


def _of_run(spec: str, metric: str, seeds: list[int]) -> dict[str, Any]:
    import pandas as pd

    from heldout.blend.decision import load_decision
    from heldout.blend.members import load_member
    from heldout.metrics import interval, score

    member = load_member(spec)
    classes = member.dataset.classes
    result = interval(metric, member.table, classes)
    by_seed = {}
    for seed in seeds if len(seeds) > 1 else ():
        table = pd.concat([fit.table for fit in member.fits if fit.seed == seed]).reset_index()
        by_seed[seed] = _finite(score(metric, table, classes))
    about = _about(metric, member.kind, member.table, classes)
    if "ece" in about["also"] and len(member.folds) > 1:
        about["also"][CALIBRATED_ERROR] = _calibrated_error(member)
    return {
        **about,
        "score": _finite(result.value),
        "low": _finite(result.low),
        "high": _finite(result.high),
        "identity": load_decision(spec).identity,
        "seed_scores": list(by_seed.items()),
    }


def _calibrated_error(member: Member) -> float:
    """Calibration error once every fold's scores are calibrated by what was chosen and fitted on the other folds."""
    from heldout.blend.calibrate import cross_fitted
    from heldout.metrics import score

    classes = member.dataset.classes
    competing = member.dataset.exclusive and len(classes) > 1
    table = member.table.reset_index()
    return float(score("ece", cross_fitted(table, classes, competing, "auto"), classes))


def _of_blend(decision: Decision) -> dict[str, Any]:
    from heldout.metrics import get_metric

    table = cross_fitted_table(decision)
    if table is None:
        nothing = {"cases": None, "patients": None, "by_class": {}, "also": {}, "fold_scores": []}
        return {"higher_is_better": get_metric(decision.metric).higher_is_better, **nothing}
    return _about(decision.metric, decision.kind, table, decision.classes)


def _about(metric: str, kind: str, table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    from heldout.metrics import get_metric, score
    from heldout.metrics.registry import further_scores

    by_class = {name: _finite(score(metric, table, [name])) for name in classes} if len(classes) > 1 else {}
    names = (*_ALSO[kind], *further_scores(kind, table))
    also = {name: _finite(score(name, table, classes)) for name in names if name != metric}
    by_fold = [(int(fold), _finite(score(metric, part, classes))) for fold, part in table.groupby("fold")]
    return {
        "higher_is_better": get_metric(metric).higher_is_better,
        "fold_scores": by_fold,
        "cases": len(table),
        "patients": int(table["patient_id"].nunique()),
        "by_class": {name: value for name, value in by_class.items() if value is not None},
        "also": {name: value for name, value in also.items() if value is not None},
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
