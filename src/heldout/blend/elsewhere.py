"""A decision on labeled data from elsewhere: predicted, recorded in the ledger, and only then scored."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from heldout import files
from heldout.blend.apply import as_scored
from heldout.blend.chain import EvaluationResult, append
from heldout.blend.ledger import DIGITS, TestResult, record_evaluation
from heldout.blend.pooling import scored_rows
from heldout.blend.together import groups_by_case, put_together
from heldout.blend.values import labels_of
from heldout.data.cases import open_source
from heldout.data.checks import check_cases, refuse
from heldout.data.grids import check_axes
from heldout.data.leaks import find_duplicates, look_at
from heldout.data.pack.source import PackedSource
from heldout.data.parallel import map_cases
from heldout.data.signature import ImageSignature, sketch
from heldout.errors import UserError
from heldout.metrics import interval
from heldout.predict.details import mask_details
from heldout.predict.prediction import Prediction
from heldout.predict.store import build_table
from heldout.progress import track
from heldout.records import finite
from heldout.tasks.base import load_task

if TYPE_CHECKING:
    from heldout.blend.verify import OpenDecision
    from heldout.data.image import Image
    from heldout.data.sources import Source
    from heldout.tasks import Task


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Labeled cases of another dataset.

    Attributes:
        name: Name of the dataset.
        source: Reads it.
        rows: case_id, patient_id, image, mask, ``y_<class>`` and content_hash of its labeled cases.
    """

    name: str
    source: Source
    rows: pd.DataFrame

    @property
    def content(self) -> list[str]:
        """What the ledger knows its cases by."""
        return [digest[:DIGITS] for digest in sorted(self.rows["content_hash"])]


def open_elsewhere(opened: OpenDecision, on: str, *, skip_bad: bool = False) -> Elsewhere:
    """Read and check the labeled cases of another dataset.

    Args:
        opened: The decision.
        on: Folder of a dataset in the layout of the decision's own, or an experiment that names a dataset and source.
        skip_bad: Leave bad cases out.

    Raises:
        UserError: there is no such dataset, its classes are others, a case is bad, or one of the decision's own
            dataset or a copy of it, or its volumes cannot be measured.
    """
    config = load_task(on) if on.startswith("exp") else _with_dataset(opened.config, on)
    source = open_source(config)
    if tuple(source.classes) != tuple(opened.decision.classes):
        raise UserError(
            f"{on} has the classes {', '.join(source.classes)}, {opened.decision.name} predicts "
            f"{', '.join(opened.decision.classes)}: they must be the same"
        )
    index = source.index()
    index = index[index["split"] != "submit"].reset_index(drop=True)
    results, problems = check_cases(source, index)
    if (problems and not skip_bad) or not any(results):
        refuse(problems, str(source.root))
    sound = [(row, one) for (_, row), one in zip(index.iterrows(), results, strict=True) if one is not None]
    rows = pd.DataFrame([row for row, _ in sound]).reset_index(drop=True)
    labels = pd.DataFrame([one.labels for _, one in sound]).add_prefix("y_").astype("float64")
    rows = rows.drop(columns=list(labels)).join(labels).assign(content_hash=[one.content_hash for _, one in sound])
    _refuse_known(rows, [one.signature for _, one in sound], opened, on)
    check_axes(opened.config, source, rows)
    return Elsewhere(config.dataset or config.source, source, rows)


def evaluate_on(opened: OpenDecision, data: Elsewhere, reason: str | None = None) -> tuple[TestResult, pd.DataFrame]:
    """Predict the cases, record the evaluation, and only then score.

    Args:
        opened: A verified decision.
        data: The cases.
        reason: Why the same decision is evaluated on the same cases again; recorded.

    Returns:
        The result, and the table that it was computed from, which lies in the decision's folder.

    Raises:
        UserError: the decision was evaluated on these cases before and there is no reason.
    """
    decision = opened.decision
    digest = files.sha256_json([data.name, data.content])
    record = functools.partial(record_evaluation, decision, data.name, digest, data.content, reason)
    record("", check_only=True)
    by_id = {row["case_id"]: row for row in data.rows.to_dict("records")}
    sketches: list[str] = []

    def images() -> Iterator[tuple[str, Image]]:
        for case_id, row in by_id.items():
            image = data.source.read_image(row)
            sketches.append(sketch(image))
            yield case_id, image

    groups = groups_by_case(decision, data.source, data.rows)
    results = opened.predict(track(images(), len(by_id), "Predicting cases"))
    predicted = [*put_together(decision, results, groups)]
    masks = decision.kind == "segmentation"

    def predictions() -> Iterator[Prediction]:
        for one in predicted:
            if one.map is None:
                yield Prediction(one.case_id, one.scores)
            else:
                truth = data.source.read_mask(by_id[one.case_id])
                yield as_scored(decision, one, truth)

    with files.lock(decision.folder, "evaluating"):
        evaluation = record(files.sha256_json([[one.case_id, *map(float, one.scores)] for one in predicted]), sketches)
        table = build_table(
            scored_rows(decision, data.rows, groups),
            predictions(),
            (lambda case_id: data.source.read_mask(by_id[case_id])) if masks else None,
            exclusive=decision.exclusive,
            details=mask_details(opened.config, data.source, by_id.__getitem__) if masks else None,
        )
        names = [f"p_{name}" for name in decision.classes]
        if decision.kind == "classification" and decision.levels:
            called = labels_of(table[names].to_numpy(), decision.levels, decision.exclusive)
            table[[f"d_{name}" for name in decision.classes]] = called.astype(float)
        found = interval(decision.metric, table, decision.classes)
        value, low, high = map(finite, (found.value, found.low, found.high))
        scored = EvaluationResult(number=evaluation.number, score=value, low=low, high=high, cases=len(table))
        append(lambda _: scored)
        path = _table_path(decision.folder, data.name)
        files.write_bytes(path, table.to_parquet(index=False))
    result = TestResult(
        decision.name,
        decision.metric,
        found.value,
        found.low,
        found.high,
        evaluation.decision_evals,
        evaluation.dataset_evals,
        path,
        table,
    )
    return result, table


def _with_dataset(config: Task, name: str) -> Task:
    return type(config).create(config.budget, {**config.overrides, "dataset": name})


def _refuse_known(rows: pd.DataFrame, signatures: list[ImageSignature], opened: OpenDecision, on: str) -> None:
    """Refuse cases of the decision's own dataset, and copies of them that were changed a little, flipped or cut."""
    dataset, config = opened.dataset, opened.config
    own = dict(zip(dataset.cases["content_hash"], dataset.cases["case_id"], strict=True))
    for case_id, digest in zip(rows["case_id"], rows["content_hash"], strict=True):
        if digest in own:
            raise UserError(f"case {case_id} of {on} is case {own[digest]} of the decision's own dataset: leave it out")
    if not config.near_duplicates or isinstance(dataset.source, PackedSource):  # whose raw images are not there
        return
    known = dataset.cases.to_dict("records")
    looks = [look for _, look in map_cases(look_at, (dataset.source,), known, "Looking for copies")]
    parts = [part.assign(case_id=mark + part["case_id"]) for mark, part in (("0", dataset.cases), ("1", rows))]
    both = pd.concat([part[["case_id", "content_hash"]] for part in parts], ignore_index=True)
    both["patient_id"] = both["case_id"]  # a name that two datasets share means nothing
    for names in find_duplicates(both, [*looks, *signatures], dataset.dimensions).near:
        if names[0][0] < names[-1][0]:
            raise UserError(
                f"case {names[-1][1:]} of {on} looks like a copy of case {names[0][1:]} of the decision's own dataset: "
                "leave it out"
            )


def _table_path(folder: Path, name: str) -> Path:
    return folder / f"on_{name.strip('/').replace('/', '_')}.parquet"
