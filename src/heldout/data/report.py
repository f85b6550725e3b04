"""The leak report: what was found in a dataset and how its cases are spread, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout.data.folds import class_table
from heldout.data.records import read_csv, read_leaks

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset


def leak_report(dataset: Dataset) -> dict[str, Any]:
    """Collect what the ``folds`` command shows, ready for JSON.

    Returns:
        ``columns`` and ``rows`` are a table of the parts (every fold, the training part, the test part, the images to
        submit) with their numbers of cases, patients, groups and cases per class; labels of the test part are told
        only as these totals. ``exact``, ``near`` and ``conflicts`` are lists of lists of case ids, ``skipped`` lists
        case_id, file and reason, ``caveats`` and ``found`` are sentences.
    """
    leaks = read_leaks(dataset.folder)
    skipped = read_csv(dataset.folder / "skipped.csv", dict.fromkeys(("case_id", "file", "reason"), str))
    train, test, submit = (dataset.part(name) for name in ("train", "test", "submit"))
    names = class_table(train).columns.tolist()
    fold = train["case_id"].map(dataset.folds)
    rows = [_row(f"fold {number}", cases, class_table(cases).sum().to_dict()) for number, cases in train.groupby(fold)]
    rows.append(_row("train", train, class_table(train).sum().to_dict()))
    if len(test):
        counts = leaks.class_counts["test"]
        rows.append(_row("test", test, {name: counts.get(name) for name in names}))
    if len(submit):
        rows.append(_row("submit", submit, dict.fromkeys(names)))
    return {
        "schema": 1,
        "folder": str(dataset.folder),
        "root": str(dataset.source.root),
        "fold_hash": dataset.fold_hash,
        "data_hash": dataset.data_hash,
        "columns": ["part", "cases", "patients", "groups", *names],
        "rows": rows,
        "exact": leaks.exact,
        "near": leaks.near,
        "conflicts": leaks.conflicts,
        "skipped": skipped.to_dict("records"),
        "caveats": leaks.caveats,
        "found": leaks.found,
    }


def _row(part: str, cases: pd.DataFrame, counts: dict[str, Any]) -> dict[str, Any]:
    sizes = {"cases": len(cases), "patients": cases["patient_id"].nunique(), "groups": cases["group_id"].nunique()}
    return {"part": part, **sizes, **{name: None if n is None else int(n) for name, n in counts.items()}}
