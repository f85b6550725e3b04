"""Commands that carry a prepared dataset to a machine without raw data: pack, unpack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Budget, Settings, command, configure, finish


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py pack exp040@baseline --output fracatlas.pack")(pack)
    command(app, "python run.py unpack fracatlas.pack")(unpack)


def pack(
    experiments: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT...", help="experiments of one dataset, such as exp040@baseline")
    ],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="the file to write")],
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Write the training part of a checked dataset, prepared for some experiments, into one compressed file."""
    configs = [configure(name, budget, settings, False) for name in experiments]

    from heldout.data.pack.write import pack as write

    packed = write(configs, output)
    print(f"{packed.cases} training cases, {packed.recipes} sets of arrays, {packed.size / 1e6:.1f} MB")
    print(f"sha256 {packed.sha256}")
    finish(output, f"unpack {output.name}")


def unpack(path: Annotated[Path, typer.Argument(metavar="FILE", help="a file that `pack` wrote")]) -> None:
    """Restore a packed dataset, so that training and out-of-fold scores work without its raw files."""
    from heldout.data.pack.read import unpack as read

    made = read(path)
    print(f"{made.cases} training cases, {made.recipes} sets of arrays, every hash as it was packed")
    finish(made.folder, "experiments")
