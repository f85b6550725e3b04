"""The columns of the leaderboard, listed once for the terminal, Markdown, the page and JSON.

A column is named like the attribute of :class:`~heldout.evaluate.row.Row`, which is its key in ``leaderboard --json``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heldout.evaluate.row import Row
from heldout.report.format import (
    bounds,
    checkpoint_text,
    duration,
    fits_text,
    folds_text,
    lineage,
    number,
    parameters,
    signed,
)

Value = float | str | None


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Attributes:
        name: Attribute of a row and key in JSON.
        header: Heading.
        help: What the legend says; empty leaves it out.
        lines: A row's cell: the headline, and what stands behind or below it.
        value: What sorts the rows; None where there is nothing to show.
        words: Whether it holds words, to be aligned left and broken over lines, rather than figures.
        better: Which values come first: ``low``, ``high``, or ``score`` for the better ones of the metric.
        priority: The order in which columns are given up on a narrow terminal, largest first; None: never a column
            there, but part of the line below.
    """

    name: str
    header: str
    help: str
    lines: Callable[[Row], tuple[str, ...]]
    value: Callable[[Row], Value]
    words: bool = False
    better: str = "low"
    priority: int | None = None

    def text(self, row: Row) -> str:
        """The cell in one line."""
        return " ".join(part for part in self.lines(row) if part)

    def descending(self, higher_is_better: bool) -> bool:
        """Whether large values come first."""
        return higher_is_better if self.better == "score" else self.better == "high"


def filled(rows: Sequence[Row]) -> list[Column]:
    """The columns of which some row has something to show."""
    return [column for column in COLUMNS if any(column.value(row) not in (None, "") for row in rows)]


def _figure(name: str, text: Callable[[float | None], str] = number) -> Callable[[Row], tuple[str, ...]]:
    return lambda row: (text(getattr(row, name)),)


def _attribute(name: str) -> Callable[[Row], Value]:
    return lambda row: getattr(row, name)


def _words(text: Callable[[Row], str | None]) -> Callable[[Row], tuple[str, ...]]:
    return lambda row: (text(row) or "-",)


def _seeds(row: Row) -> tuple[str, ...]:
    count = len(row.seed_scores)
    return number(row.seed_spread), f"({count} seeds)" if count > 1 else ""


def _test_evals(row: Row) -> tuple[str, ...]:
    """Of the decision as it is now, of earlier versions, and of the dataset in all."""
    if not row.test_evals_by_name:
        return ("-",)
    earlier = row.test_evals_by_name - row.test_evals
    return str(row.test_evals), f"(+ {earlier} of earlier versions)" if earlier else "", f"of {row.dataset_test_evals}"


def _public(row: Row) -> tuple[str, ...]:
    if row.public_outdated:
        return "-", "(of an earlier version)"
    noted = ", ".join(part for part in ((row.public_time or "")[:10], row.public_note) if part)
    return number(row.public), f"({noted})" if noted else ""


COLUMNS = (
    Column("name", "name", "", lambda row: (row.name,), _attribute("name"), words=True, priority=0),
    Column("title", "title", "", _words(lambda row: row.title), _attribute("title"), words=True),
    Column("changed", "parent, changes", "", _words(lineage), lambda row: lineage(row) or None, words=True),
    Column(
        "score",
        "score",
        "on out-of-fold predictions, averaged over seeds, with the 95 % interval over patients; whatever was "
        "tuned on them (thresholds, weights, calibration) is cross-fitted: tuned on the other folds",
        lambda row: (number(row.score), bounds(row.low, row.high)),
        _attribute("score"),
        better="score",
        priority=0,
    ),
    Column(
        "at_half",
        "at ½",
        "the score of a run with masks and predicted labels at a threshold of one half; not ranked by",
        _figure("at_half"),
        _attribute("at_half"),
        better="score",
        priority=3,
    ),
    Column(
        "in_sample",
        "in-sample",
        "the same score on the predictions that it was tuned on",
        _figure("in_sample"),
        _attribute("in_sample"),
        better="score",
        priority=5,
    ),
    Column(
        "optimism",
        "optimism",
        "in-sample minus cross-fitted score; positive where in-sample is optimistically biased",
        _figure("optimism", signed),
        _attribute("optimism"),
        better="high",
        priority=5,
    ),
    Column(
        "fold_scores",
        "folds",
        "the same score of each held-out fold alone; of a blend, with settings tuned on the other folds; an AUC beyond "
        "their range was pooled over folds, whose scores are not on one level: blend again to compare within folds",
        lambda row: tuple(folds_text(row).split(" ")),
        lambda row: min((value for value in row.fold_scores.values() if value is not None), default=None),
        better="score",
        priority=12,
    ),
    Column(
        "fold_spread",
        "fold SD",
        "sample standard deviation of the fold scores",
        _figure("fold_spread"),
        _attribute("fold_spread"),
        priority=8,
    ),
    Column(
        "seed_spread",
        "seed SD",
        "sample standard deviation, over seeds, of the score of all folds together; needs two seeds with the same "
        "folds",
        _seeds,
        _attribute("seed_spread"),
        priority=9,
    ),
    Column(
        "done",
        "fits",
        "networks trained, of those planned: folds x seeds; of a blend, all that it consists of",
        lambda row: (fits_text(row),),
        _attribute("done"),
        better="high",
        priority=4,
    ),
    Column(
        "checkpoint",
        "checkpoint",
        "last: the averaged weights at the end; best*: chosen by the score of the fold itself, optimistically biased",
        lambda row: (checkpoint_text(row),),
        lambda row: row.checkpoint if row.checkpoint == "best" else None,
        words=True,
        priority=11,
    ),
    Column(
        "seconds",
        "trained",
        "training time of all fits",
        lambda row: (duration(row.seconds),),
        _attribute("seconds"),
        priority=6,
    ),
    Column(
        "parameters",
        "params",
        "parameters of one network",
        lambda row: (parameters(row),),
        _attribute("parameters"),
        priority=10,
    ),
    Column(
        "test_score",
        "test",
        "on the locked test part, with its 95 % interval",
        lambda row: (number(row.test_score), bounds(row.test_low, row.test_high)),
        _attribute("test_score"),
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
    Column("submission", "submission", "", _words(lambda row: row.submission), _attribute("submission"), words=True),
    Column(
        "public",
        "public",
        "public score of the competition, as noted with `python run.py lb`",
        _public,
        lambda row: "-" if row.public_outdated else row.public,
        better="score",
        priority=2,
    ),
    Column(
        "private",
        "private",
        "private score of the competition",
        _figure("private"),
        _attribute("private"),
        better="score",
        priority=2,
    ),
    Column("note", "note", "", _words(lambda row: row.note), _attribute("note"), words=True),
)
LEGEND = [(column.header, column.help) for column in COLUMNS if column.help]
