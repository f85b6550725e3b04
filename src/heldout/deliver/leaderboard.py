"""The ranking, in the terminal and as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heldout import files
from heldout.deliver.board import Row, groups, ranked

if TYPE_CHECKING:
    from rich.console import Console

NOTES = (
    "Score: on out-of-fold predictions, cross-fitted for blends, with the 95 % bootstrap interval over patients. "
    "In-sample: the same score on the predictions it was tuned on. Fits: folds x seeds finished of those asked for. "
    "Best*: each fold's checkpoint was chosen by its own score, which flatters it. "
    "Test: the locked part, with the number of looks on record."
)
_COLUMNS = (
    *("#", "name", "title", "parent, changes", "score [95 % interval]", "in-sample", "fits", "checkpoint", "test"),
    *("trained", "params"),
)
_SECTIONS = ("", "not ranked: a budget, or folds missing")


def show(rows: list[Row], console: Console) -> None:
    """Print one table per dataset and metric; runs under a budget and unfinished ones stand apart."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for key, members in groups(rows).items():
        table = Table(
            box=box.SIMPLE_HEAD,
            title=_heading(key, rows),
            title_justify="left",
            title_style="bold",
            padding=(0, 1, 0, 0),
        )
        for name, justify in (("#", "right"), ("name", "left"), ("score", "left"), ("in-sample", "right")):
            table.add_column(name, justify=justify, vertical="top", ratio=1 if name == "name" else None)
        for name in ("fits", "test", "trained", "params"):
            table.add_column(name, justify="right")
        for section, chosen in enumerate(_split(members)):
            if chosen and section == 1:
                table.add_section()
                table.add_row("", Text(_SECTIONS[1], style="italic dim"))
            for rank, row in enumerate(chosen, start=1):
                label = Text(row.name, style="bold cyan" if row.kind == "blend" else "bold")
                label.append(f"\n{row.title}", style="not bold default")
                if (line := lineage(row)) or row.note:
                    label.append(f"\n{line or row.note}", style="not bold dim")
                cells = [number(row.in_sample), _fits(row), looks(row), duration(row.seconds), parameters(row)]
                table.add_row(str(rank) if section == 0 else "", label, interval_text(row, "\n"), *cells)
        console.print(table)
    console.print(Text(NOTES, style="dim"))


def write_markdown(rows: list[Row]) -> Path:
    """Write ``working/leaderboard.md``."""
    lines = ["# Leaderboard", ""]
    for key, members in groups(rows).items():
        lines += [f"## {_heading(key, rows)}", ""]
        for section, chosen in enumerate(_split(members)):
            if chosen:
                lines += ([f"### {_SECTIONS[section].capitalize()}", ""] if section else []) + [
                    *_table(chosen, section),
                    "",
                ]
    path = files.home() / "working" / "leaderboard.md"
    files.write_text(path, "\n".join([*lines, NOTES, ""]))
    return path


def _table(rows: list[Row], section: int) -> list[str]:
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for rank, row in enumerate(rows, start=1):
        cells = [
            str(rank) if section == 0 else "",
            f"**{row.name}**",
            row.title,
            lineage(row) or row.note,
            interval_text(row),
            number(row.in_sample),
            _fits(row).replace("\n", ", "),
            "best*" if row.checkpoint == "best" else row.checkpoint,
            looks(row).replace("\n", ", "),
            duration(row.seconds),
            parameters(row),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _heading(key: tuple[str, str, str], rows: list[Row]) -> str:
    dataset, metric, data_hash = key
    versions = {row.data_hash for row in rows if row.dataset == dataset}
    arrow = "higher is better" if next(r for r in rows if r.metric == metric).higher_is_better else "lower is better"
    version = f", data {data_hash[:8]}" if len(versions) > 1 else ""
    return f"{dataset}: {metric} ({arrow}{version})"


def _split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    return [row for row in rows if ranked(row)], [row for row in rows if not ranked(row)]


def lineage(row: Row) -> str:
    """``exp001 + lr = 0.01``: parent and changes in one line; empty for the first of a family."""
    return " + ".join([row.parent, ", ".join(row.changed) or "nothing changed"]) if row.parent else ""


def number(value: float | None) -> str:
    """A score with four digits, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def interval_text(row: Row, between: str = " ") -> str:
    """Score with its interval: ``0.8123 [0.790, 0.831]``."""
    known = row.low is not None and row.high is not None
    return number(row.score) + (f"{between}[{row.low:.3f}, {row.high:.3f}]" if known else "")


def _fits(row: Row) -> str:
    text = f"{row.done}/{row.planned}"
    if row.kind == "blend":
        text = f"{row.done}"
    marks = [f"@{row.budget}"] if row.budget else []
    marks += ["best*"] if row.checkpoint == "best" else []
    marks += ["sealed"] if row.sealed else []
    return "\n".join([text, *marks])


def looks(row: Row) -> str:
    """Test score and how often the test part was looked at."""
    if not row.looks:
        return "-"
    return f"{number(row.test_score)}\n{row.looks} look{'s' if row.looks > 1 else ''}"


def duration(seconds: float) -> str:
    """``52 s``, ``3.4 min`` or ``7.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parameters(row: Row) -> str:
    """Parameters of one network: ``1.4 M``."""
    return "-" if row.parameters is None else f"{row.parameters / 1e6:.1f} M"
