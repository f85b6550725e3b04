"""The columns of the leaderboard, listed once for the terminal, Markdown, the page and JSON.

A column is named like the attribute of :class:`~heldout.evaluate.row.Row`, which is its key in ``leaderboard --json``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heldout.evaluate.row import Row
from heldout.report.format import bounds, duration, folds_text, lineage, number, parameters, signed

Value = float | str | None
Lines = Callable[[Row], Sequence[str]]


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        name: Attribute of a row and key in JSON.
        header: Heading.
        help: What the legend says; empty leaves it out.
        parts: A row's cell: the headline, and what follows beside or below it; None shows the attribute.
        key: What sorts the rows, None where there is nothing to show; None sorts by the attribute.
        words: Whether it holds words, to be aligned left and broken over lines, rather than figures.
        better: Which values come first: ``low``, ``high``, or ``score`` for the better ones of the metric.
        priority: The order in which columns are given up on a narrow terminal, largest first; None: never a column
            there, but part of the line below.
    """

    name: str
    header: str
    help: str = ""
    parts: Lines | None = None
    key: Callable[[Row], Value] | None = None
    words: bool = False
    better: str = "low"
    priority: int | None = None

    def value(self, row: Row) -> Value:
        """What sorts the rows; None where there is nothing to show."""
        return self.key(row) if self.key else getattr(row, self.name)

    def lines(self, row: Row) -> list[str]:
        """A row's cell: the headline, and what follows beside or below it."""
        if self.parts:
            shown = self.parts(row)
        else:
            shown = (str(self.value(row) or "") if self.words else number(getattr(row, self.name)),)
        return [part for part in shown if part] or ["-"]

    def text(self, row: Row) -> str:
        """The cell in one line."""
        return " ".join(self.lines(row))

    def descending(self, higher_is_better: bool) -> bool:
        """Whether large values come first."""
        return higher_is_better if self.better == "score" else self.better == "high"


def filled(rows: Sequence[Row]) -> list[Column]:
    """The columns of which some row has something to show."""
    return [column for column in COLUMNS if any(column.value(row) not in (None, "") for row in rows)]


def flat_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the whole leaderboard in one table, every text as the board shows it."""
    shown = [*columns("dataset", "metric"), *filled(rows)]
    return [column.header for column in shown], [[column.text(row) for column in shown] for row in rows]


def columns(*names: str) -> list[Column]:
    """Some of the columns, by their names."""
    known = {column.name: column for column in (*COLUMNS, *OF_REPORTS)}
    return [known[name] for name in names]


def _seeds(row: Row) -> Sequence[str]:
    count = len(row.seed_scores)
    return number(row.seed_spread), f"({count} seeds)" if count > 1 else ""


def _test_evals(row: Row) -> Sequence[str]:
    """Of the decision as it is now, of earlier versions, and of the dataset in all."""
    if not row.test_evals_by_name:
        return ()
    earlier = row.test_evals_by_name - row.test_evals
    return str(row.test_evals), f"(+ {earlier} of earlier versions)" if earlier else "", f"of {row.dataset_test_evals}"


def _public(row: Row) -> Sequence[str]:
    if row.public_outdated:
        return "-", "(of an earlier version)"
    noted = ", ".join(part for part in ((row.public_time or "")[:10], row.public_note) if part)
    return number(row.public), f"({noted})" if noted else ""


COLUMNS = (
    Column("name", "name", words=True, priority=0),
    Column("title", "title", words=True),
    Column("changed", "parent, changes", key=lambda row: lineage(row) or None, words=True),
    Column(
        "score",
        "score",
        "on out-of-fold predictions, averaged over seeds, with the 95 % interval over patients; whatever was "
        "tuned on them (thresholds, weights, calibration) is cross-fitted: tuned on the other folds",
        lambda row: (number(row.score), bounds(row.low, row.high)),
        better="score",
        priority=0,
    ),
    Column(
        "at_half",
        "at ½",
        "the score of a run with masks and predicted labels at a threshold of one half; not ranked by",
        better="score",
        priority=3,
    ),
    Column(
        "in_sample",
        "in-sample",
        "the same score on the predictions that it was tuned on",
        better="score",
        priority=5,
    ),
    Column(
        "optimism",
        "optimism",
        "in-sample minus cross-fitted score; positive where in-sample is optimistically biased",
        lambda row: (signed(row.optimism),),
        better="high",
        priority=5,
    ),
    Column(
        "fold_scores",
        "folds",
        "the same score of each held-out fold alone; of a blend, with settings tuned on the other folds; an AUC beyond "
        "their range was pooled over folds, whose scores are not on one level: blend again to compare within folds",
        lambda row: folds_text(row).split(" "),
        lambda row: min((value for value in row.fold_scores.values() if value is not None), default=None),
        better="score",
        priority=12,
    ),
    Column("fold_spread", "fold SD", "sample standard deviation of the fold scores", priority=8),
    Column(
        "seed_spread",
        "seed SD",
        "sample standard deviation, over seeds, of the score of all folds together; needs two seeds with the same "
        "folds",
        _seeds,
        priority=9,
    ),
    Column(
        "done",
        "fits",
        "networks trained, of those planned: folds x seeds; of a blend, all that it consists of",
        lambda row: (f"{row.done}" if row.kind == "blend" else f"{row.done}/{row.planned}",),
        better="high",
        priority=4,
    ),
    Column(
        "checkpoint",
        "checkpoint",
        "last: the averaged weights at the end; best*: chosen by the score of the fold itself, optimistically biased",
        lambda row: (row.checkpoint + ("*" if row.checkpoint == "best" else ""),),
        lambda row: row.checkpoint if row.checkpoint == "best" else None,
        words=True,
        priority=11,
    ),
    Column("seconds", "trained", "training time of all fits", lambda row: (duration(row.seconds),), priority=6),
    Column("parameters", "params", "parameters of one network", lambda row: (parameters(row),), priority=10),
    Column(
        "test_score",
        "test",
        "on the locked test part, with its 95 % interval",
        lambda row: (number(row.test_score), bounds(row.test_low, row.test_high)),
        better="score",
        priority=1,
    ),
    Column(
        "test_evals",
        "test evals",
        "test evaluations of the decision as it is, of all on this test part",
        _test_evals,
        lambda row: row.test_evals if row.test_evals_by_name else None,
        priority=7,
    ),
    Column("submission", "submission", words=True),
    Column(
        "public",
        "public",
        "public score of the competition, as noted with `python run.py lb`",
        _public,
        lambda row: "-" if row.public_outdated else row.public,
        better="score",
        priority=2,
    ),
    Column("private", "private", "private score of the competition", better="score", priority=2),
    Column("note", "note", words=True),
)
OF_REPORTS = (  # what the heading of a table of the leaderboard, or a badge, says there
    Column("dataset", "dataset", words=True),
    Column("metric", "metric", words=True),
    Column("cases", "cases", parts=lambda row: (f"{row.cases} of {row.patients} patients",)),
    Column("budget", "budget", parts=lambda row: (row.budget or "full",), words=True),
)
LEGEND = [(column.header, column.help) for column in COLUMNS if column.help]
