"""Out-of-fold scores with their intervals, remembered by the hashes of the predictions they were computed from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from heldout import files
from heldout.errors import UserError

_SCHEMA = 2
_ALSO = {
    "classification": ("roc_auc", "average_precision", "accuracy", "sensitivity", "specificity", "log_loss", "ece"),
    "segmentation": ("dice_pos", "iou_pos", "dice_all", "roc_auc", "average_precision"),
}


class ScoreCache:
    """Scores in a JSON file, which may be deleted at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            stored = files.read_json(path)
        except UserError:
            stored = {}
        self._scores: dict[str, Any] = stored["scores"] if stored.get("schema") == _SCHEMA else {}

    def of_run(self, spec: str, metric: str, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Score of a run's out-of-fold predictions, seeds averaged.

        Args:
            spec: Name of the run.
            metric: Name of the score.
            records: Contents of the ``run.json`` of its finished fits.

        Returns:
            ``score``, ``low``, ``high`` (None where undefined), ``higher_is_better``, ``cases``, ``patients``, the
            ``identity`` by which the ledger knows the run, ``by_class`` and the values of ``also``, other metrics.

        Raises:
            UserError: the predictions cannot be read.
        """
        parts = sorted([record["seed"], record["fold"], record["sha256"]["oof"]] for record in records)
        key = files.sha256_json([spec, metric, parts])
        if key not in self._scores:
            self._scores[key] = _compute(spec, metric)
            self._changed = True
        return self._scores[key]

    def direction(self, metric: str) -> bool:
        """Whether a higher value of the metric is better."""
        for score in self._scores.values():
            if score["metric"] == metric:
                return score["higher_is_better"]
        from heldout.metrics import get_metric

        return get_metric(metric).higher_is_better

    def save(self) -> None:
        """Write the file, if anything was computed."""
        if self._changed:
            files.write_json(self._path, {"schema": _SCHEMA, "scores": self._scores})


def _compute(spec: str, metric: str) -> dict[str, Any]:
    from heldout.blend.decision import load_decision
    from heldout.blend.members import load_member
    from heldout.metrics import get_metric, interval, score

    member = load_member(spec)
    classes = member.dataset.classes
    result = interval(metric, member.table, classes)
    by_class = {name: _finite(score(metric, member.table, [name])) for name in classes} if len(classes) > 1 else {}
    also = {name: _finite(score(name, member.table, classes)) for name in _ALSO[member.kind] if name != metric}
    return {
        "metric": metric,
        "score": _finite(result.value),
        "low": _finite(result.low),
        "high": _finite(result.high),
        "higher_is_better": get_metric(metric).higher_is_better,
        "cases": len(member.table),
        "patients": int(member.table["patient_id"].nunique()),
        "identity": load_decision(spec).identity,
        "by_class": {name: value for name, value in by_class.items() if value is not None},
        "also": {name: value for name, value in also.items() if value is not None},
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
