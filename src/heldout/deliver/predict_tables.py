"""The tables that ``predict`` writes when every case is predicted: of cases, of detections, of studies or patients."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.blend.apply import Blended, OpenDecision
from heldout.blend.decision import Decision
from heldout.blend.together import put_together
from heldout.deliver.case_log import LoggedCase
from heldout.deliver.submission.detections import row_table
from heldout.escape import spreadsheet
from heldout.metrics.uncertainty import Uncertainty
from heldout.predict.prediction import Prediction


def seen_together(
    decision: Decision, groups: Mapping[str, str], done: Mapping[str, LoggedCase]
) -> dict[str, LoggedCase]:
    """The cases after the hook ``postprocess_table``."""
    scores = {name: np.array(one.scores, np.float32) for name, one in done.items() if one.scores is not None}
    results = [Blended(name, one, None, None, uncalibrated=one) for name, one in scores.items()]
    changed = {
        one.case_id: {"scores": tuple(map(float, one.scores)), "abstain": one.abstain}
        for one in put_together(decision, results, groups)
    }
    return {name: one.model_copy(update=changed.get(name, {})) for name, one in done.items()}


def write_groups(path: Path, decision: Decision, groups: Mapping[str, str], done: Mapping[str, LoggedCase]) -> None:
    """Write a row per study or patient: its name, the probability of every class, how many cases it has."""
    cases = [
        Blended(name, np.array(one.scores), None, None, members=[Prediction(name, np.array(s)) for s in one.members])
        for name, one in done.items()
        if one.members
    ]
    counts = Counter(groups[one.case_id] for one in cases)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    left = ["abstain"] if decision.abstention else []
    writer.writerow([decision.pooling.level, *(f"p_{label}" for label in decision.classes), "cases", *left])
    for result in put_together(decision, cases, groups):
        values = [f"{float(value):.6f}" for value in result.scores]
        reason = [result.abstain] if left else []
        writer.writerow([spreadsheet(result.case_id), *values, counts[result.case_id], *reason])
    files.write_text(path, text.getvalue())


def write_tables(
    opened: OpenDecision,
    dimensions: int,
    output: Path,
    rows: dict[str, Mapping[str, Any]],
    done: Mapping[str, LoggedCase],
) -> None:
    """Write ``detections.csv``, where something is detected, and ``predictions.csv`` last."""
    decision = opened.decision
    if decision.finder is not None:
        found = {
            spreadsheet(rows[name]["name"]): np.array(done[name].detections)
            for name in rows
            if done[name].detections is not None
        }
        table = row_table(found, decision.classes, dimensions, boxes=decision.finder.objects == "boxes")
        files.write_text(output / "detections.csv", table.to_csv(index=False, lineterminator="\n"))
    unsure = {
        name: Uncertainty(*map(np.asarray, one.uncertainty))
        for name, one in done.items()
        if one.uncertainty is not None
    }
    write_table(
        output / "predictions.csv",
        rows,
        {name: one.scores for name, one in done.items() if one.scores is not None},
        {name: (one.status, one.note) for name, one in done.items()},
        decision.classes,
        unsure,
        {name: one.abstain for name, one in done.items()} if decision.abstention else None,
    )


def write_table(
    path: Path,
    rows: dict[str, Mapping[str, Any]],
    scores: dict[str, Any],
    notes: dict[str, tuple[str, str]],
    classes: tuple[str, ...],
    unsure: Mapping[str, Uncertainty] | None = None,
    left: Mapping[str, str] | None = None,
) -> None:
    """Write ``predictions.csv``: name, the probability of every class, status and note, in the folder's order.

    Images of kinds that are not read come last. Where uncertainties are given, their columns ``entropy``, ``aleatoric``
    and ``epistemic`` (nats) follow. Where the decision may abstain, the column ``abstain`` is last: why a case is left
    to people, or nothing.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    further = ["entropy", "aleatoric", "epistemic"] if unsure else []
    writer.writerow(
        [
            "name",
            *(f"p_{label}" for label in classes),
            "status",
            "note",
            *further,
            *(["abstain"] if left is not None else []),
        ]
    )
    for case_id, row in rows.items():
        values = [f"{float(value):.6f}" for value in scores[case_id]] if case_id in scores else [""] * len(classes)
        one = (unsure or {}).get(case_id)
        measured = [f"{float(value):.6f}" for value in (one.total, one.aleatoric, one.epistemic)] if one else []
        writer.writerow(
            [
                spreadsheet(row["name"]),
                *values,
                *map(spreadsheet, notes[case_id]),
                *(measured or [""] * len(further)),
                *([left.get(case_id, "")] if left is not None else []),
            ]
        )
    files.write_text(path, text.getvalue())
