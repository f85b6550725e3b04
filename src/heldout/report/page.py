"""The leaderboard as Markdown, and as one self-contained HTML page: sortable, with its charts, loading nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from heldout import files
from heldout.evaluate.row import Row, groups, split
from heldout.report.columns import LEGEND, Column, filled
from heldout.report.format import UNRANKED, agreement_text, count, heading
from heldout.report.svg import MOST_ROWS, forest, scatter
from heldout.report.templates import render

_IN_NAME = ("title", "changed", "submission", "note")  # columns that the page shows below the name
_LEGEND = "Square: score with its 95 % interval; hollow where not ranked. Dots: folds. Diamond: in-sample."


@dataclass(frozen=True)
class BoardChart:
    """A chart and its caption."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class PageRows:
    """Ranked rows, or the others."""

    ranked: bool
    rows: list[Row]


@dataclass(frozen=True)
class Group:
    """A table of the leaderboard: rows of one dataset and metric, in two parts.

    Attributes:
        title: Dataset, metric and its direction.
        metric: Name of the score.
        higher_is_better: Direction of the score.
        columns: Those that some row fills.
        parts: Ranked rows and the others; a part without rows is left out.
        test_evals: ``3 test evaluations`` of this dataset; empty for none.
        agreement: How out-of-fold scores agree with those of a competition.
    """

    title: str
    metric: str
    higher_is_better: bool
    columns: list[Column]
    parts: list[PageRows]
    test_evals: str
    agreement: list[str]

    @property
    def charts(self) -> list[BoardChart]:
        """Scores with intervals, and against those of a competition."""
        rows, found = [row for part in self.parts for row in part.rows], []
        if svg := forest(rows, self.metric):
            scored = sum(row.score is not None for row in rows)
            some = f" The first {MOST_ROWS} of {scored}." if scored > MOST_ROWS else ""
            found.append(BoardChart(Markup(svg), _LEGEND + some))
        if svg := scatter(rows, self.metric):
            colors = "Blue: public, orange: private; hollow: not ranked, and not counted."
            found.append(BoardChart(Markup(svg), " ".join([*self.agreement, colors])))
        return found


def write_page(rows: list[Row]) -> Path:
    """Write ``working/leaderboard.html``."""
    path = files.home() / "working" / "leaderboard.html"
    files.write_text(path, page(rows))
    return path


def write_markdown(rows: list[Row]) -> Path:
    """Write ``working/leaderboard.md``."""
    path = files.home() / "working" / "leaderboard.md"
    text = render("leaderboard.md", groups=grouped(rows), unranked=UNRANKED.capitalize(), legend=LEGEND)
    files.write_text(path, text)
    return path


def page(rows: list[Row]) -> str:
    """The whole page; every text of the user's own is escaped."""
    runs = sum(row.kind == "run" for row in rows)
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return render(
        "leaderboard.html",
        title="Leaderboard",
        summary=f"{count(runs, 'run')} and {count(len(rows) - runs, 'blend')}, written {now}",
        groups=grouped(rows, without=_IN_NAME),
        unranked=UNRANKED.capitalize(),
        legend=LEGEND,
        badges=badges,
    )


def grouped(rows: list[Row], without: Sequence[str] = ()) -> list[Group]:
    """The tables of the leaderboard, without some columns."""
    return [
        Group(
            heading(key, rows),
            key[1],
            members[0].higher_is_better,
            [column for column in filled(members) if column.name not in without],
            [PageRows(not section, part) for section, part in enumerate(split(members)) if part],
            count(evals, "test evaluation") if (evals := max(row.dataset_test_evals for row in members)) else "",
            [text for part in ("public", "private") if (text := agreement_text(members, part))],
        )
        for key, members in groups(rows).items()
    ]


def badges(row: Row) -> list[str]:
    """Short labels that distinguish a row."""
    marks = ["blend" if row.kind == "blend" else "", "sealed" if row.sealed else ""]
    marks += [f"budget {row.budget}" if row.budget else ""]
    return [mark for mark in marks if mark]
