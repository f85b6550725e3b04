"""The ranking, in the terminal and as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heldout import files
from heldout.evaluate.row import Row, groups, split
from heldout.report.format import (
    LEGEND,
    UNRANKED,
    agreement_text,
    bounds,
    checkpoint_text,
    duration,
    fits_text,
    folds_text,
    heading,
    interval_text,
    lineage,
    looks_text,
    number,
    parameters,
    signed,
)

if TYPE_CHECKING:
    from rich.console import Console

_SHORT = (
    "Score: out-of-fold, cross-fitted for blends, with the 95 % interval over patients. In-sample: on the predictions "
    "tuned on, and how much that flatters. Spread: standard deviation over folds, and over seeds with all folds "
    "pooled. Best*: each fold's checkpoint was chosen by its own score. Test: the locked part, looks with this "
    "decision and at this test part in all. LB: public and private score noted with `lb`."
)
_COLUMNS = (
    *("#", "name", "title", "parent, changes", "score [95 % interval]", "in-sample", "optimism", "folds"),
    *("fold spread", "seed spread", "fits", "checkpoint", "trained", "params", "test [95 % interval]", "looks"),
    *("submission", "public", "private", "note"),
)


def show(rows: list[Row], console: Console) -> None:
    """Print one table per dataset and metric; runs under a budget and unfinished ones stand apart."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for key, members in groups(rows).items():
        table = Table(
            box=box.SIMPLE_HEAD,
            title=heading(key, rows),
            title_justify="left",
            title_style="bold",
            padding=(0, 1, 0, 0),
        )
        for name, justify in (("#", "right"), ("name", "left"), ("score", "left"), ("in-sample", "right")):
            table.add_column(name, justify=justify, vertical="top", ratio=1 if name == "name" else None)
        shown = any(row.public is not None or row.private is not None for row in members)
        for name in ("fits", "test", *(("LB",) if shown else ()), "trained", "params"):
            table.add_column(name, justify="right")
        for section, chosen in enumerate(split(members)):
            if chosen and section == 1:
                table.add_section()
                table.add_row("", Text(UNRANKED, style="italic dim"))
            for rank, row in enumerate(chosen, start=1):
                label = Text(row.name, style="bold cyan" if row.kind == "blend" else "bold")
                label.append(f"\n{row.title}", style="not bold default")
                for line in _details(row):
                    label.append(f"\n{line}", style="not bold dim")
                tuned = number(row.in_sample) + ("" if row.optimism is None else f"\n{signed(row.optimism)}")
                cells = [interval_text(row, "\n"), tuned, _fits(row), _test(row)]
                cells += [f"{number(row.public)}\n{number(row.private)}"] if shown else []
                table.add_row(str(rank) if section == 0 else "", label, *cells, duration(row.seconds), parameters(row))
        console.print(table)
        for part in ("public", "private"):
            if text := agreement_text(members, part):
                console.print(Text(text))
    console.print(Text(_SHORT, style="dim"))


def write_markdown(rows: list[Row]) -> Path:
    """Write ``working/leaderboard.md``."""
    lines = ["# Leaderboard", ""]
    for key, members in groups(rows).items():
        lines += [f"## {_plain(heading(key, rows))}", ""]
        for section, chosen in enumerate(split(members)):
            if chosen:
                lines += ([f"### {UNRANKED.capitalize()}", ""] if section else []) + [*_table(chosen, section), ""]
        texts = [agreement_text(members, part) for part in ("public", "private")]
        lines += [line for text in texts if text for line in (text, "")]
    lines += ["## What the columns say", "", *(f"- **{name}**: {text}." for name, text in LEGEND.items())]
    path = files.home() / "working" / "leaderboard.md"
    files.write_text(path, "\n".join([*lines, ""]))
    return path


def _table(rows: list[Row], section: int) -> list[str]:
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for rank, row in enumerate(rows, start=1):
        test = bounds(row.test_low, row.test_high)
        cells = [
            str(rank) if section == 0 else "",
            f"**{_plain(row.name)}**",
            *(_plain(text) for text in (row.title, lineage(row))),
            interval_text(row),
            number(row.in_sample),
            signed(row.optimism),
            folds_text(row),
            number(row.fold_spread),
            number(row.seed_spread),
            _fits(row, checkpoint=False).replace("\n", ", "),
            checkpoint_text(row),
            duration(row.seconds),
            parameters(row),
            number(row.test_score) + (f" {test}" if test else ""),
            looks_text(row) or "-",
            _plain(row.submission or "-"),
            number(row.public),
            number(row.private),
            _plain("; ".join(note for note in (row.note, row.public_note) if note)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _plain(text: str) -> str:
    """Text of the user's own, so that it can neither break a table nor be taken for HTML."""
    safe = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return safe.replace("|", "\\|")


def _details(row: Row) -> list[str]:
    """Lines under a title in the terminal."""
    lines = [lineage(row)]
    if len(row.fold_scores) > 1:
        lines.append(
            f"folds {folds_text(row)}" + (f", spread {number(row.fold_spread)}" if row.fold_spread is not None else "")
        )
    if row.seed_spread is not None:
        lines.append(f"spread over {len(row.seed_scores)} seeds {number(row.seed_spread)}")
    lines += [row.submission or "", row.note]
    if row.public_outdated:
        lines.append("the competition's score was of an earlier version")
    return [line for line in lines if line]


def _fits(row: Row, *, checkpoint: bool = True) -> str:
    marks = [f"@{row.budget}"] if row.budget else []
    marks += ["best*"] if checkpoint and row.checkpoint == "best" else []
    marks += ["sealed"] if row.sealed else []
    return "\n".join([fits_text(row), *marks])


def _test(row: Row) -> str:
    """Test score, looks with this decision and in all, one below the other."""
    if not row.test_evals_by_name:
        return "-"
    looks = f"{row.test_evals} look{'' if row.test_evals == 1 else 's'}"
    return f"{number(row.test_score)}\n{looks}\n{row.dataset_test_evals} in all"
