"""The leaderboard in the terminal: a line of figures for each row, and a line on what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout.escape import visible
from heldout.evaluate.row import Row
from heldout.report.columns import Column
from heldout.report.format import UNRANKED, lineage
from heldout.report.page import Group, grouped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_BETWEEN = 2  # columns of a terminal between those of a table
_NARROW = 100  # columns of a terminal
_LEGEND = "Score: out-of-fold, cross-fitted where anything was tuned, with its 95 % interval over patients."


def show(rows: list[Row], console: Console) -> None:
    """Print one table per dataset and metric, with the columns that fit the terminal; the others are named below."""
    from rich.text import Text

    for group in grouped(rows):
        console.print(Text(visible(group.title), style="bold"))
        table, left_out = _fitting(group, console)
        _print(group, table, console)
        if left_out:
            console.print(Text(f"Not shown at this width: {', '.join(left_out)}", style="dim"))
        for sentence in group.agreement:
            console.print(Text(sentence))
        console.print()
    console.print(Text(_LEGEND, style="dim"))


def _fitting(group: Group, console: Console) -> tuple[Table, list[str]]:
    """The table of the columns that fit with nothing cut, the most important first, and headers of the others."""
    from rich.cells import cell_len

    able = [column for column in group.columns if column.priority is not None]
    rows = [row for part in group.parts for row in part.rows]
    first, *others = sorted(able, key=lambda column: column.priority or 0)
    chosen = [first]
    total = console.measure(_table(group, chosen, console), options=console.options.update(max_width=10_000)).maximum
    for column in others:
        more = max(map(cell_len, (column.header, *(visible(column.text(row)) for row in rows)))) + _BETWEEN
        if column.priority == 0 or total + more <= console.width:
            chosen.append(column)
            total += more
    shown = [column for column in able if column in chosen]
    return _table(group, shown, console), [column.header for column in able if column not in chosen]


def _table(group: Group, columns: list[Column], console: Console) -> Table:
    """One line for each row; a part that is not ranked begins with a line of its own."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.header, justify="left" if column.words else "right", no_wrap=True)
    for part in group.parts:
        for rank, row in enumerate(part.rows, start=1):
            cells = [Text(visible(column.text(row))) for column in columns]
            cells[0].stylize("bold cyan" if row.kind == "blend" else "bold")
            cells[0].truncate(40 if console.width >= _NARROW else 28, overflow="ellipsis")
            table.add_row(Text(str(rank) if part.ranked else ""), *cells)
    return table


def _print(group: Group, table: Table, console: Console) -> None:
    """The table, with what each row is below its figures."""
    from rich.segment import Segment, Segments
    from rich.text import Text

    lines = [line for line in console.render_lines(table, pad=False) if "".join(one.text for one in line).strip()]
    head, figures = lines[:2], iter(lines[2:])
    for line in head:
        console.print(Segments([*line, Segment.line()]), end="")
    for part in group.parts:
        if not part.ranked:
            console.print(Text(f"   {UNRANKED}", style="italic dim"))
        for row in part.rows:
            console.print(Segments([*next(figures), Segment.line()]), end="")
            console.print(_about(row), no_wrap=True, overflow="ellipsis")


def _about(row: Row) -> Text:
    """What a row is, most important first: it is cut off at the width of the terminal."""
    from rich.text import Text

    marks = ["sealed" if row.sealed else "", "best* checkpoint" if row.checkpoint == "best" else ""]
    parts = [*marks, row.note, row.title, lineage(row), row.submission or ""]
    return Text(f"   {' · '.join(visible(part) for part in parts if part)}", style="dim")
