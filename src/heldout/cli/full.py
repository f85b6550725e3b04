"""The command that trains the real experiments of a family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import command, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "python run.py full fracatlas --minutes 25 --pack fracatlas.pack")(full)


def full(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="fracatlas, hippocampus, adrenal or brain-mri")],
    minutes: Annotated[float | None, typer.Option(min=0, help="stop after the epoch in which these are over")] = None,
    pack: Annotated[
        Path | None, typer.Option(metavar="FILE", help="unpack this first, where the raw dataset is not at hand")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="loading processes; the machine's cores by default")
    ] = None,
) -> None:
    """Train the real experiments of a family, all folds, on a GPU where there is one.

    What is finished is skipped and what was stopped goes on, so the same command can be given again and again.
    """
    from heldout.cli.full_run import members, run_family

    configs = members(family)
    if pack is not None:
        from heldout.data.pack.read import unpack

        unpack(pack)
    outcome = run_family(configs, minutes, workers)
    print(f"{len(outcome.done)} fits finished now, {outcome.before} before, {outcome.left} left")
    where = outcome.done[-1] if outcome.done else "nothing new"
    again = f"full {family}" + ("" if minutes is None else f" --minutes {minutes:g}")
    finish(where, again if outcome.left else "leaderboard")
