"""Looks at the locked test part: each on record before its score is seen, and counted beside it for ever."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.blend.chain import Entry, append, read_entries
from heldout.blend.records import LedgerEntry, Look, LookResult
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.datasets import Datasets
    from heldout.blend.decision import Decision
    from heldout.blend.verify import OpenDecision
    from heldout.data.dataset import Dataset


@dataclass(frozen=True)
class TestResult:
    """One look at a test part.

    Attributes:
        name: The decision.
        metric: Name of the score.
        score: Its value on the test part; nan where undefined.
        low, high: 95 % interval over patients.
        looks: Looks at this test part with this decision, this one included.
        dataset_looks: Looks at a test part of this dataset with any decision, however it was split off.
        path: Table of the predictions.
    """

    __test__ = False  # no test class, whatever its name suggests

    name: str
    metric: str
    score: float
    low: float
    high: float
    looks: int
    dataset_looks: int
    path: Path


def read_ledger() -> list[LedgerEntry]:
    """All looks, oldest first, each with its result.

    Raises:
        UserError: the ledger was tampered with.
    """
    entries = read_entries()
    results = {entry.look: entry for entry in entries if isinstance(entry, LookResult)}
    return [LedgerEntry(look, results.get(look.look)) for look in entries if isinstance(look, Look)]


def test(
    decision: Decision,
    look_again: str | None = None,  # noqa: PT028 - no test of pytest
    datasets: Datasets | None = None,  # noqa: PT028
) -> TestResult:
    """Predict the test part, put the look on record, and only then open its labels and score.

    A look that was cut short before its score may be repeated; any other second look needs a reason.

    Args:
        decision: A sealed blend, or an experiment's plain mean.
        look_again: Why a further look at the same decision is needed; recorded.
        datasets: Those that the command has opened already.

    Raises:
        UserError: the decision is not frozen or changed, was looked at before, or there is no test part.
    """
    from heldout.blend.verify import verify
    from heldout.metrics import interval

    _permit(read_entries(), decision, look_again)
    opened = verify(decision, maps=True, datasets=datasets)
    dataset = opened.dataset
    if dataset.part("test").empty:
        raise UserError(f"dataset {decision.dataset} has no test part: set test_fraction above 0 and train again")
    with files.lock(decision.folder, "testing"):
        stored = _predict(opened)
        look = append(lambda entries: _look(entries, decision, stored.sha256, look_again))
        table = _score_table(decision, dataset, stored.table)
        result = interval(decision.metric, table, decision.classes)
        values = {"score": _finite(result.value), "low": _finite(result.low), "high": _finite(result.high)}
        append(lambda _: LookResult(look=look.look, **values, cases=len(table)))
    return TestResult(
        decision.name,
        decision.metric,
        result.value,
        result.low,
        result.high,
        look.looks_of_decision,
        look.looks_of_dataset,
        decision.folder / "test.parquet",
    )


def _permit(entries: list[Entry], decision: Decision, look_again: str | None) -> None:
    """Refuse a further look at a decision without a reason."""
    done = {entry.look for entry in entries if isinstance(entry, LookResult)}
    looks = [entry for entry in entries if isinstance(entry, Look) and entry.look in done]
    earlier = [look for look in looks if look.decision == decision.identity]
    if earlier and not (look_again or "").strip():
        raise UserError(
            f"{decision.name} was tested on {earlier[-1].time}: a test part looked at repeatedly stops being one; "
            'if it must be, say why with --look-again "reason"'
        )


def _look(entries: list[Entry], decision: Decision, predictions: str, look_again: str | None) -> Look:
    _permit(entries, decision, look_again)
    looks = [entry for entry in entries if isinstance(entry, Look)]
    return Look(
        look=len(looks) + 1,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        name=decision.name,
        decision=decision.identity,
        sealed=decision.seal is not None,
        dataset=decision.dataset,
        data_hash=decision.data_hash,
        metric=decision.metric,
        predictions_sha256=predictions,
        look_again=look_again,
        looks_of_decision=1 + sum(look.decision == decision.identity for look in looks),
        looks_of_dataset=1 + sum(look.dataset == decision.dataset for look in looks),
    )


def _predict(opened: OpenDecision) -> Any:
    """Predict the test images and store that, without labels."""
    from heldout.blend.apply import apply_decision
    from heldout.predict.prediction import Prediction
    from heldout.predict.store import write_predictions

    decision, dataset = opened.decision, opened.dataset
    rows = dataset.part("test")

    def predictions() -> Iterator[Prediction]:
        images = ((case_id, dataset.read_image(case_id)) for case_id in rows["case_id"])
        for result in apply_decision(decision, images, networks=opened.networks):
            yield Prediction(result.case_id, result.scores, result.map)

    return write_predictions(decision.folder, "test", predictions(), rows, exclusive=decision.exclusive)


def _score_table(decision: Decision, dataset: Dataset, predicted: pd.DataFrame) -> pd.DataFrame:
    """The stored test predictions beside the labels, which are opened here and nowhere else."""
    from heldout.blend.apply import mask_of
    from heldout.blend.values import calls_of
    from heldout.config import load
    from heldout.data.cases import open_sealed
    from heldout.predict.details import mask_details
    from heldout.predict.prediction import Prediction
    from heldout.predict.store import build_table, read_map

    sealed = open_sealed(dataset)
    names = [f"p_{name}" for name in decision.classes]
    rows = predicted[["case_id", "patient_id"]].merge(sealed.labels, on="case_id", validate="1:1")
    masks = decision.kind == "segmentation"
    predictions = (
        Prediction(case_id, scores, read_map(decision.folder, "test", case_id) if masks else None)
        for case_id, scores in zip(predicted["case_id"], predicted[names].to_numpy(float), strict=True)
    )
    table = build_table(
        rows,
        predictions,
        sealed.truth if masks else None,
        exclusive=decision.exclusive,
        cut=functools.partial(mask_of, decision),
        details=mask_details(load(decision.members[0].spec), dataset) if masks else None,
    )
    if not masks and decision.levels:
        called = calls_of(table[names].to_numpy(), decision.levels)
        table[[f"d_{name}" for name in decision.classes]] = called.astype(float)
    return table


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
