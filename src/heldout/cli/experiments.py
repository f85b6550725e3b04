"""Commands about experiment files: experiments, fields, check, new."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.cli.shared import (
    AsForm,
    AsJson,
    Budget,
    Experiment,
    Form,
    Settings,
    command,
    configure,
    console,
    finish,
    print_in,
)
from heldout.errors import UserError
from heldout.escape import visible

if TYPE_CHECKING:
    from heldout.config.fields import FieldRow


@command("python run.py experiments exp042")
def experiments(
    names: Annotated[list[str] | None, typer.Argument(metavar="EXPERIMENT", help="only these, in full")] = None,
    everything: Annotated[bool, typer.Option("--all", help="show what each experiment changes of its parent")] = False,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """List the experiments: title, parent, and what each changes."""
    from heldout import config

    known = config.names()
    rows = [_describe(config.load(name).experiment if names else name) for name in names or known]
    if as_json or form:
        cells = ([row.name, row.parent or "", row.error or row.title] for row in rows)
        print_in(form or Form.json, ("name", "parent", "title"), cells, [vars(row) for row in rows])
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    full = everything or bool(names)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    out = console()
    space = out.width - 10
    for column in ("name", "parent"):
        table.add_column(column, vertical="top", no_wrap=True)
        space -= max([len(column), *(len(getattr(row, column) or "") for row in rows)])
    table.add_column("title", overflow="fold")
    for row in rows:
        text = Text(visible(row.error or row.title), style="red" if row.error else "")
        if full:
            details = [*row.changed, *([f"budgets {', '.join(row.budgets)}"] if row.budgets else [])]
            text.append("".join(f"\n{line}" for line in [row.dataset, *details] if line), style="dim")
        else:  # a line for each
            text.truncate(max(space, 20), overflow="ellipsis")
        table.add_row(Text(row.name, style="bold"), row.parent or "", text)
    out.print(table)
    if not full:
        print("What one changes: python run.py experiments EXPERIMENT, or --all")
    print("Add one: python run.py new NAME --from EXPERIMENT --title TITLE (docs/new-competition.md)")


@dataclass(frozen=True)
class _Row:
    """An experiment, as ``--json`` prints it; one that cannot be loaded has an error and a name only."""

    name: str
    title: str = ""
    dataset: str = ""
    parent: str | None = None
    changed: Sequence[str] = ()
    budgets: Sequence[str] = ()
    metric: str | None = None
    error: str | None = None


def _describe(name: str) -> _Row:
    from heldout.config import load
    from heldout.config.code import own_postprocessing
    from heldout.evaluate.lineage import changes

    try:
        config = load(name)
    except UserError as error:
        return _Row(name, error=str(error))
    parent = config.parent_name()
    changed = changes(config.complete(load(parent).identity()), config.identity()) if parent else []
    changed += [f"{hook}()" for hook in own_postprocessing(type(config))] if parent else []
    return _Row(name, config.title, config.dataset, parent, changed, list(config.budgets), config.metric)


@command("python run.py fields exp042 lr epochs --budget quick")
def fields(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXPERIMENT|FIELD",
            help="exp042, exp042@quick; without it, the fields of every task; then only these fields, such as lr",
        ),
    ] = None,
    budget: Budget = None,
    settings: Settings = None,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """List fields: value, default, which ancestor set it, allowed values, description."""
    from heldout.config.fields import field_rows
    from heldout.config.texts import nearest

    wanted = names or []
    experiment = wanted.pop(0) if wanted and re.match(r"exp\d", wanted[0]) else None
    if experiment is not None:
        rows = field_rows(configure(experiment, budget, settings, skip_bad=False))
    elif budget is not None or settings:
        raise UserError("--budget and --set belong to an experiment: name one, as in `python run.py fields exp042`")
    else:
        from heldout.tasks import TASKS

        found = [row for task in TASKS for row in field_rows(task())]
        rows = list({(row.set_by, row.name): row for row in found}.values())
    known = {row.name for row in rows}
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(f"there is no field {unknown[0]!r}{nearest(unknown[0], known)}")
    rows = [row for row in rows if not wanted or row.name in wanted]
    if as_json or form:
        columns = ("name", "value", "default", "set_by", "allowed", "description")
        cells = ([getattr(row, column) for column in columns] for row in rows)
        print_in(form or Form.json, columns, cells, [vars(row) for row in rows])
        return
    out = console()
    for row in rows:
        out.print(_field_text(row))
    if experiment is not None:
        print("Try a value: python run.py", experiment, "--set FIELD=VALUE")


def _field_text(row: FieldRow) -> Any:
    """Name and value; below them, indented, the default and its origin, what is allowed, and the description."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    head = Text(f"{row.name} = {row.value!r}", style="bold")
    origin = f"set by {row.set_by}" + ("" if row.value == row.default else f", default {row.default!r}")
    return Group(
        head, Padding(Text(f"{row.description}\n{row.allowed}; {origin}", style="dim"), (0, 0, 0, 4), expand=False)
    )


@command("python run.py check exp042")
def check(experiment: Experiment) -> None:
    """Run the checks that every experiment must pass, on a random batch and without its dataset."""
    from heldout.config import load
    from heldout.tasks.check import run_checks

    name = load(experiment).experiment
    failed = 0
    for what, error in run_checks(name):
        failed += error is not None
        print(f"  {'failed' if error else 'ok':7} {what}" + (f": {error}" if error else ""))
    if failed:
        raise UserError(
            f"exps/{name}.py fails {failed} of its checks: correct what is listed and run the command again"
        )
    print(f"{name} passes every check\nNext: python run.py folds {name}")


@command('python run.py new exp060 --from exp040 --title "FracAtlas with a larger encoder."')
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of the new experiment: exp060 or exp060_word")],
    parent: Annotated[
        str, typer.Option("--from", metavar="PARENT", help="experiment or task (such as Segment2D) to start from")
    ],
    title: Annotated[str, typer.Option(help="title on the leaderboard: one line")],
    settings: Settings = None,
) -> None:
    """Write the file of a new experiment: its parent plus the fields given with --set."""
    from heldout.config.texts import parse
    from heldout.tasks.create import write_experiment

    path = write_experiment(name, parent, title, dict(map(parse, settings or [])))
    finish(path, f"check {name}")
