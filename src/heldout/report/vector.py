"""Figures of an article as vector graphics, black on white."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heldout import files
from heldout.escape import visible
from heldout.evaluate.held_out import HeldOut
from heldout.evaluate.row import Row
from heldout.train.history import read_metrics

_STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}


def draw_scores(rows: Sequence[Row], path: Path) -> None:
    """Scores with their intervals, one line a row, and those of the folds as dots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.3, 0.9 + 0.35 * len(rows)), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(reversed(rows)):
            if row.score is None:
                continue
            if row.low is not None and row.high is not None:
                axis.plot([row.low, row.high], [place, place], color="black", linewidth=1)
            axis.plot(row.score, place, "s", color="black", markersize=5)
            folds = [value for value in row.fold_scores.values() if value is not None]
            axis.plot(folds, [place - 0.2] * len(folds), "o", color="0.55", markersize=3)
        axis.set_yticks(range(len(rows)), [_literal(row.name) for row in reversed(rows)])
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.set_xlabel(_literal(", ".join(dict.fromkeys(row.metric for row in rows))))
        _save(figure, path)


def draw_curves(subject: HeldOut, path: Path) -> bool:
    """Training loss and score by epoch, a line for every fit of a run; False where no curve is left."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    tables = [read_metrics(fit.folder) for fit in subject.members[0].fits]
    read = [table for table in tables if table is not None]
    if not read:
        return False
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.3, 2.6), layout="constrained")
        columns = [
            column
            for column in ("train_loss", f"val_{subject.row.metric}")
            if any(column in table and table[column].notna().any() for table in read)
        ]
        axes = figure.subplots(1, len(columns), squeeze=False)[0]
        for axis, column in zip(axes, columns, strict=True):
            for table in read:
                if column in table:
                    known = table.dropna(subset=column)
                    axis.plot(known["epoch"], known[column], linewidth=1)
            axis.set_xlabel("epoch")
            axis.set_ylabel(_literal(column.replace("_", " ", 1)))
        _save(figure, path)
    return True


def _literal(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return visible(text).replace("$", r"\$")


def _save(figure, path: Path) -> None:  # type: ignore[no-untyped-def]  # matplotlib has no types
    files.write_with(path, lambda temporary: figure.savefig(temporary, metadata={"CreationDate": None}))
