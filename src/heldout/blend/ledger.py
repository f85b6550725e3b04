"""Evaluations of the locked test part: each is recorded before its score is seen, and counted beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heldout import files
from heldout.blend.chain import Entry, Evaluation, EvaluationResult, LedgerEntry, append, evaluations_on, read_entries
from heldout.errors import UserError
from heldout.records import finite

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from heldout.blend.decision import Decision
    from heldout.blend.session import Session
    from heldout.blend.verify import OpenDecision
    from heldout.data.dataset import Dataset
    from heldout.data.image import Image
    from heldout.predict.store import WrittenPredictions

DIGITS = 16  # of a case's hash that the ledger keeps


@dataclass(frozen=True)
class TestResult:
    """One evaluation of a test part.

    Attributes:
        name: The decision.
        metric: Name of the score.
        score: Its value on the test part; nan where undefined.
        low, high: 95 % interval over patients.
        decision_evals: Evaluations of this decision on any of these cases, this one included.
        dataset_evals: Evaluations of any decision on this dataset or any case of its test part, under whatever name.
        path: Table of the predictions.
        table: The same, with the labels.
    """

    __test__ = False  # no test class, whatever its name suggests

    name: str
    metric: str
    score: float
    low: float
    high: float
    decision_evals: int
    dataset_evals: int
    path: Path
    table: pd.DataFrame = field(repr=False, compare=False)


def read_ledger() -> list[LedgerEntry]:
    """All evaluations, oldest first, each with its result.

    Raises:
        UserError: the ledger was tampered with.
    """
    entries = read_entries()
    results = {entry.number: entry for entry in entries if isinstance(entry, EvaluationResult)}
    return [LedgerEntry(one, results.get(one.number)) for one in entries if isinstance(one, Evaluation)]


def test(
    decision: Decision,
    reason: str | None = None,  # noqa: PT028 - no test of pytest
    session: Session | None = None,  # noqa: PT028
) -> TestResult:
    """Predict the test part, record the evaluation, and only then open the labels and score.

    An evaluation that ended before its score may be repeated; any other second one needs a reason.

    Args:
        decision: A sealed blend, or an experiment's plain mean.
        reason: Why the same decision is evaluated again; recorded.
        session: What the command has opened already.

    Raises:
        UserError: the decision is not frozen or changed, was evaluated before, its split is not the one that is
            dealt, a test case changed, or there is no test part.
    """
    from heldout.blend.verify import verify
    from heldout.data.split import check_split
    from heldout.data.verify import verify_test
    from heldout.metrics import interval
    from heldout.tasks.base import load_task

    _permit(read_entries(), decision, decision.dataset, reason)
    opened = verify(decision, session, maps=True)
    dataset = opened.dataset
    if dataset.part("test").empty:
        raise UserError(f"dataset {decision.dataset} has no test part: set test_fraction above 0 and train again")
    refuse_undefined(decision, dataset)
    check_split(dataset, load_task(decision.members[0].spec))
    verify_test(dataset)
    content = [digest[:DIGITS] for digest in sorted(dataset.part("test")["content_hash"])]
    with files.lock(decision.folder, "testing"):
        stored, classified, sketches = _predict(opened)
        evaluation = record_evaluation(
            decision, decision.dataset, decision.data_hash, content, reason, stored.sha256, sketches
        )
        table = _score_table(decision, dataset, stored.table, classified)
        result = interval(decision.metric, table, decision.classes)
        scored = EvaluationResult(
            number=evaluation.number,
            score=finite(result.value),
            low=finite(result.low),
            high=finite(result.high),
            cases=len(table),
        )
        append(lambda _: scored)
    return TestResult(
        decision.name,
        decision.metric,
        result.value,
        result.low,
        result.high,
        evaluation.decision_evals,
        evaluation.dataset_evals,
        decision.folder / "test.parquet",
        table,
    )


def refuse_undefined(decision: Decision, dataset: Dataset) -> None:
    """Refuse an evaluation whose score no prediction could define; the labels of single cases stay sealed.

    Raises:
        UserError: no class has the test cases that the metric needs.
    """
    from heldout.data.records import read_leaks

    counts = read_leaks(dataset.folder).class_counts.get("test", {})
    cases = len(dataset.part("test"))
    held = [counts.get(name, 0) for name in decision.classes]
    metric = decision.metric.rpartition(":")[2]
    ranking, overlap = metric in ("roc_auc", "average_precision"), metric.endswith("_pos")
    if (ranking and not any(0 < count < cases for count in held)) or (overlap and not any(held)):
        needed = "cases with and without it" if ranking else "any case"
        raise UserError(
            f"in the test part of {decision.dataset} no class has {needed}, so {decision.metric} would be undefined "
            "and the evaluation be spent: set a larger test_fraction and train again"
        )


def record_evaluation(
    decision: Decision,
    dataset: str,
    data_hash: str,
    content: Sequence[str],
    reason: str | None,
    predictions: str,
    sketches: Sequence[str] = (),
    *,
    check_only: bool = False,
) -> Evaluation:
    """Write an evaluation into the ledger, before its score is known.

    Args:
        decision: What was evaluated.
        dataset: Name of the dataset.
        data_hash: SHA-256 of what its cases are.
        content: What the ledger knows the cases by.
        reason: Why the same decision is evaluated on them again.
        predictions: SHA-256 of the predictions.
        sketches: What it knows them by after small changes.
        check_only: Only see whether it may be evaluated.

    Raises:
        UserError: it was evaluated on this dataset before, and there is no reason.
    """

    def make(entries: list[Entry]) -> Evaluation:
        _permit(entries, decision, dataset, reason, content, sketches)
        return _evaluation(entries, decision, dataset, data_hash, predictions, content, sketches, reason)

    return make(read_entries()) if check_only else append(make)


def _permit(entries: list[Entry], decision: Decision, dataset: str, reason: str | None, *known: Sequence[str]) -> None:
    """Refuse to evaluate a decision again on a dataset, or on cases known by content and sketches, without a reason."""
    done = {entry.number for entry in entries if isinstance(entry, EvaluationResult)}
    scored = [entry for entry in entries if isinstance(entry, Evaluation) and entry.number in done]
    earlier = [one for one in evaluations_on(scored, dataset, *known) if one.decision == decision.identity]
    if earlier and not (reason or "").strip():
        raise UserError(
            f"{decision.name} was tested on {earlier[-1].time}, and repeated evaluation makes test scores "
            'optimistic: if it is needed, give the reason with --repeat "reason"'
        )


def _evaluation(
    entries: list[Entry],
    decision: Decision,
    dataset: str,
    data_hash: str,
    predictions: str,
    content: Sequence[str],
    sketches: Sequence[str],
    reason: str | None,
) -> Evaluation:
    earlier = [entry for entry in entries if isinstance(entry, Evaluation)]
    on_these = evaluations_on(earlier, dataset, content, sketches)
    return Evaluation(
        number=len(earlier) + 1,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        name=decision.name,
        decision=decision.identity,
        sealed=decision.seal is not None,
        dataset=dataset,
        data_hash=data_hash,
        metric=decision.metric,
        predictions_sha256=predictions,
        reason=reason,
        decision_evals=1 + sum(one.decision == decision.identity for one in on_these),
        dataset_evals=1 + len(on_these),
        content=tuple(content),
        sketches=tuple(sorted(filter(None, sketches))) or None,
    )


def _predict(opened: OpenDecision) -> tuple[WrittenPredictions, dict[str, np.ndarray], list[str]]:
    """Predict the test images and store that, without labels; what classifications say of each, and its sketch."""
    from heldout.blend.pooling import scored_rows
    from heldout.blend.together import groups_by_case, put_together
    from heldout.data.signature import sketch
    from heldout.predict.prediction import Prediction
    from heldout.predict.store import write_predictions

    decision, dataset = opened.decision, opened.dataset
    cases = dataset.part("test")
    groups = groups_by_case(decision, dataset.source, cases)
    rows = scored_rows(decision, cases, groups)
    classified: dict[str, np.ndarray] = {}
    sketches: list[str] = []

    def images() -> Iterator[tuple[str, Image]]:
        for case_id in cases["case_id"]:
            image = dataset.read_image(case_id)
            sketches.append(sketch(image))
            yield case_id, image

    def predictions() -> Iterator[Prediction]:
        for result in put_together(decision, opened.predict(images()), groups):
            classified[result.case_id] = result.classified
            yield Prediction(result.case_id, result.scores, result.map)

    stored = write_predictions(decision.folder, "test", predictions(), rows, exclusive=decision.exclusive)
    return stored, classified, sketches


def _score_table(
    decision: Decision, dataset: Dataset, predicted: pd.DataFrame, classified: dict[str, np.ndarray]
) -> pd.DataFrame:
    """The stored test predictions beside the labels, which are opened here and nowhere else."""
    from heldout.blend.apply import Blended, as_scored, mask_of
    from heldout.blend.pooling import scored_rows
    from heldout.blend.together import groups_by_case, put_together
    from heldout.blend.values import labels_of
    from heldout.data.cases import open_sealed
    from heldout.predict.details import mask_details
    from heldout.predict.prediction import Prediction
    from heldout.predict.store import build_table, read_map
    from heldout.tasks.base import load_task

    sealed, names = open_sealed(dataset), [f"p_{name}" for name in decision.classes]
    cases = dataset.part("test")[["case_id", "patient_id", "image"]].merge(sealed.labels, on="case_id", validate="1:1")
    groups = groups_by_case(decision, dataset.source, cases)
    masks = decision.kind == "segmentation"
    of_cases = list(zip(predicted["case_id"], predicted[names].to_numpy(float), strict=True))

    def stored() -> Iterator[Blended]:
        for case_id, scores in of_cases:
            found = read_map(decision.folder, "test", case_id)
            mask = mask_of(decision, found) if decision.postprocess.by else None
            yield Blended(case_id, scores, found, mask, classified=classified[case_id], uncalibrated=scores)

    def predictions() -> Iterator[Prediction]:
        if masks:
            for one in put_together(decision, stored(), groups):
                yield as_scored(decision, one, sealed.truth(one.case_id))
        else:
            yield from (Prediction(case_id, scores) for case_id, scores in of_cases)

    table = build_table(
        scored_rows(decision, cases, groups),
        predictions(),
        sealed.truth if masks else None,
        exclusive=decision.exclusive,
        details=mask_details(load_task(decision.members[0].spec), dataset.source, sealed.row) if masks else None,
    )
    if not masks and decision.levels:
        called = labels_of(table[names].to_numpy(), decision.levels, decision.exclusive)
        table[[f"d_{name}" for name in decision.classes]] = called.astype(float)
    return table
