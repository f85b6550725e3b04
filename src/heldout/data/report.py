"""The leak report: what was found in a dataset and how its cases are spread, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from heldout.data.folds import class_table
from heldout.data.leaks import RULE
from heldout.data.records import read_csv, read_index, read_leaks

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset


@dataclass(frozen=True)
class PartRow:
    """Sizes of a part, such as a fold; ``classes`` counts its cases of each class, None where labels are not known."""

    part: str
    cases: int
    patients: int
    groups: int
    classes: dict[str, int | None]

    def to_json(self) -> dict[str, Any]:
        """One flat row, with a column for each class."""
        values = asdict(self)
        classes = values.pop("classes")
        return {**values, **classes}


@dataclass(frozen=True)
class SkippedCase:
    """A case that was set aside, the file at fault and the reason."""

    case_id: str
    file: str
    reason: str


@dataclass(frozen=True)
class LeakReport:
    """What the ``folds`` command shows.

    Attributes:
        folder, root: Where the checked and the raw dataset lie.
        fold_hash, data_hash: Hashes of the folds and of the cases.
        rows: Every fold, the training part, the test part, and the images to submit. Labels of the test part are told
            only as its totals.
        exact, near, conflicts: Groups of case ids: exact and near-duplicates, duplicates with different labels.
        skipped: Cases that were set aside.
        caveats, found: Remarks of the source, about the dataset and about single files.
    """

    folder: str
    root: str
    fold_hash: str
    data_hash: str
    rows: list[PartRow]
    exact: list[list[str]]
    near: list[list[str]]
    conflicts: list[list[str]]
    skipped: list[SkippedCase]
    caveats: list[str]
    found: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``columns`` are those of ``rows``."""
        rows = [row.to_json() for row in self.rows]
        return {"schema": 1, **asdict(self), "columns": list(rows[0]), "rows": rows}


def leak_report(dataset: Dataset) -> LeakReport:
    """Collect what the ``folds`` command shows."""
    leaks = read_leaks(dataset.folder)
    caveats: list[str] = []
    if dataset.dimensions == 2 and read_index(dataset.folder).near_rule < RULE:
        caveats.append(
            "near-duplicates were searched by an earlier rule, blind to flips, turns and crops; delete "
            f"{dataset.folder} to search again, which may change folds, so that runs have to be trained again"
        )
    skipped = read_csv(dataset.folder / "skipped.csv", dict.fromkeys(("case_id", "file", "reason"), str))
    train, test, submit, extra = (dataset.part(name) for name in ("train", "test", "submit", "extra"))
    fold = train["case_id"].map(dataset.folds)
    table = class_table(train)  # of all folds together: fifths of numbers are those of the part
    rows = [
        _row(f"fold {number}", cases, table.loc[cases.index].sum().to_dict()) for number, cases in train.groupby(fold)
    ]
    rows.append(_row("train", train, table.sum().to_dict()))
    if len(test):
        counts = leaks.class_counts["test"]
        rows.append(_row("test", test, {name: counts.get(name) for name in table.columns}))
    if len(extra):
        counts = class_table(extra).sum().to_dict()
        rows.append(_row("extra", extra, {name: counts.get(name) for name in table.columns}))
    if len(submit):
        rows.append(_row("submit", submit, dict.fromkeys(table.columns)))
    return LeakReport(
        folder=str(dataset.folder),
        root=str(dataset.source.root),
        fold_hash=dataset.fold_hash,
        data_hash=dataset.data_hash,
        rows=rows,
        exact=leaks.exact,
        near=leaks.near,
        conflicts=leaks.conflicts,
        skipped=[SkippedCase(*map(str, values)) for values in skipped[["case_id", "file", "reason"]].to_numpy()],
        caveats=leaks.caveats + caveats,
        found=leaks.found,
    )


def _row(part: str, cases: pd.DataFrame, counts: dict[str, Any]) -> PartRow:
    classes = {name: None if n is None else int(n) for name, n in counts.items()}
    return PartRow(part, len(cases), cases["patient_id"].nunique(), cases["group_id"].nunique(), classes)
