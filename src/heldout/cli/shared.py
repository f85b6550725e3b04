"""What the commands share: their options, how they load an experiment, and how they end."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from heldout.errors import UserError, note
from heldout.escape import visible
from heldout.progress import is_plain, set_plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from heldout.blend.decision import Decision
    from heldout.blend.session import Session
    from heldout.tasks import Task

Experiment = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="exp042, exp042@quick or exp042+lr=0.001")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="a blend, or an experiment as the mean of its fits")]
Budget = Annotated[
    str | None, typer.Option(metavar="NAME", help="a set of overrides that the experiment declares, such as quick")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="override a field; may be repeated")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="set unreadable cases aside, in a list with reasons")]
Minutes = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0.01,
        help="train as many epochs as fit into N minutes a fold: measured once, recorded, and the same for every fold",
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        envvar="HELDOUT_TRACK",
        help="tell an experiment tracker: wandb, mlflow, trackio or tensorboard; may be repeated",
    ),
]
By = Annotated[
    str | None, typer.Option(metavar="COLUMNS", help="subgroups: columns of the dataset's tables, age:3 in thirds")
]
Repeat = Annotated[
    str | None, typer.Option(metavar="REASON", help="why a decision that was evaluated is evaluated once more")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


class Form(StrEnum):
    """Forms of a table for other programs."""

    latex = "latex"
    csv = "csv"
    md = "md"
    json = "json"


AsForm = Annotated[Form | None, typer.Option("--format", help="print the table alone: LaTeX, CSV, Markdown or JSON")]


class ReadableGroup(TyperGroup):
    """A group of commands that knows what an unknown command was meant to be."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which one is nearest."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"the commands are {', '.join(self.commands)}"
            raise UserError(f"there is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=ReadableGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="From a raw medical-image dataset to a sealed decision, a locked test score and a submission.",
    epilog="`python run.py exp001` is short for `python run.py train exp001`. Start with: python run.py demo",
)


@app.callback()
def everywhere(
    plain: Annotated[
        bool, typer.Option("--plain", help="for logs: no progress bars, no colors, one line a step; may stand anywhere")
    ] = False,
) -> None:
    """Options of every command."""
    if plain:
        set_plain()


def command(
    example: str, name: str | None = None, group: typer.Typer = app
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command, by its own name unless told otherwise, with an example in its help."""
    return group.command(name, epilog=f"Example: {example}")


def console() -> Console:
    """A console as wide as the terminal; tables written to a file or a pipe get 110 columns."""
    from rich.console import Console

    made = Console(highlight=False, force_terminal=False if is_plain() else None)
    return made if made.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=110)


def print_in(form: Form, columns: Sequence[str], rows: Iterable[Sequence[object] | None], value: Any = None) -> None:
    """Print a table in a form for other programs, and nothing else.

    Args:
        form: The form.
        columns: Headings.
        rows: Cells; None is a line, which is left out.
        value: What JSON prints; None prints an object for each row, with the headings as keys.
    """
    from heldout.report.tables import table_text

    cells = [[str(cell) for cell in row] for row in rows if row is not None]
    if form == Form.json:
        print_json([dict(zip(columns, row, strict=True)) for row in cells] if value is None else value)
    else:
        print(table_text(form, columns, cells), end="")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object] | None], words: Sequence[str] = ()
) -> None:
    """Print a table in which nothing is cut.

    Where the terminal is narrow, the first words are broken over lines; columns that still find no room follow in
    further tables, each with the first column.

    Args:
        title: Heading above it.
        columns: Headings.
        rows: Cells, shown as text; None draws a line.
        words: Headings of columns that hold words, aligned left; the others hold figures.
    """
    from rich.text import Text

    cells = [row if row is None else [visible(str(cell)) for cell in row] for row in rows]
    heads = [visible(column) for column in columns]
    out = console()
    heading, first, rest = Text(visible(title)), 0, list(range(1, len(heads)))
    while True:
        shown_ = [first]
        while rest and _width([*shown_, rest[0]], heads, cells, words) <= out.width - len(shown_) - 2:
            shown_.append(rest.pop(0))
        shown_ += [rest.pop(0)] if rest and len(shown_) == 1 else []
        if heading:
            out.print(heading)
        out.print(_table(shown_, heads, cells, words))
        if not rest:
            return
        heading = Text(visible(f"{title} (continued)"))


def _width(
    chosen: Sequence[int], heads: Sequence[str], cells: Sequence[Sequence[str] | None], words: Sequence[str]
) -> int:
    """Columns of a terminal that a table needs at least; the first words can be broken."""
    widths = {k: max(map(len, [heads[k], *(row[k] for row in cells if row is not None)])) for k in chosen}
    return sum(min(width, 20) if heads[k] in words[:1] else width for k, width in widths.items()) + len(chosen)


def _table(
    chosen: Sequence[int], heads: Sequence[str], cells: Sequence[Sequence[str] | None], words: Sequence[str]
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k in chosen:
        justify: Literal["left", "right"] = "left" if heads[k] in words else "right"
        table.add_column(Text(heads[k]), justify=justify, no_wrap=heads[k] not in words[:1], overflow="fold")
    for row in cells:
        if row is None:
            table.add_section()
        else:
            table.add_row(*(Text(row[k]) for k in chosen))
    return table


def enter_project(folder: Path) -> None:
    """Take experiments from a folder's ``exps/``, in this process and in those that it starts."""
    os.environ["HELDOUT_PROJECT"] = str(folder)
    if str(folder) not in sys.path:  # as `python run.py` has it
        sys.path.insert(0, str(folder))


def configure(spec: str, budget: str | None, settings: Sequence[str] | None, skip_bad: bool) -> Task:
    """Load an experiment as the command line asks for it.

    Raises:
        UserError: the experiment, the budget or a field does not exist, or a value does not fit.
    """
    from heldout.config.legacy import today_spec
    from heldout.tasks import load_task

    if (today := today_spec(spec)) != spec:
        note(f"{spec} is now called {today}")
    config = load_task(spec, budget, list(settings or []))
    if skip_bad and not config.skip_bad:
        # As an override it is part of the run's name, so that nobody mistakes one set of cases for the other.
        config = load_task(spec, budget, [*(settings or []), "skip_bad=True"])
    return config


def choose(asked: list[int] | None, available: Sequence[int], what: str, spec: str) -> list[int]:
    """The folds or seeds to run: those asked for, or all.

    Raises:
        UserError: one of them is not the experiment's.
    """
    for number in asked or []:
        if number not in available:
            raise UserError(f"{spec} has no {what} {number}: it has {', '.join(map(str, available))}")
    return list(dict.fromkeys(asked)) if asked else list(available)


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def finish(wrote: Path | str, next_command: str | None = None) -> None:
    """End a command: what it wrote, where, and what comes next."""
    print(f"Wrote {shown(wrote) if isinstance(wrote, Path) else wrote}")
    if next_command:
        print_next(next_command)


def print_next(words: str) -> None:
    """Print which command comes next."""
    print(f"Next: python run.py {' '.join(shlex.quote(word) for word in words.split())}")


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    print(json.dumps(value, indent=2, allow_nan=False))


def note_missing(decision: Decision, session: Session) -> None:
    """Note on the standard error which fits a decision goes without."""
    from heldout.evaluate.lineage import lacking, stored_plan

    missing, sentences = lacking(decision, lambda spec: stored_plan(spec, session.run))
    if missing:
        runs = " and ".join(dict.fromkeys(member.spec for member in decision.members))
        again = ", then blend again" if decision.is_blend else ""
        note(f"{decision.name} predicts {'; '.join(sentences)}: to finish them, train {runs}{again}")
