"""The command that labels what has no labels: pseudo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Budget, Experiment, Settings, command, configure, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "python run.py pseudo exp040 --input extra_images --name extra --confidence 0.9")(pseudo)


def pseudo(
    experiment: Experiment,
    name: Annotated[str, typer.Option(metavar="NAME", help="name of the set of labels")],
    folder: Annotated[
        Path | None,
        typer.Option("--input", metavar="DIR", help="unlabeled files; by default the dataset's submit part"),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=1, help="smallest probability of a label that is used")
    ] = 0.9,
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Label unlabeled cases for each fold, by the networks that held that fold out."""
    config = configure(experiment, budget, settings, False)

    from heldout.train.pseudo import pseudo_folder, write_pseudo_labels

    record = write_pseudo_labels(config, name, folder, confidence)
    for fold, entry in record["folds"].items():
        print(f"  fold {fold}: {entry['cases']} cases, labeled by {len(entry['fits'])} of its own networks")
    finish(pseudo_folder(name), f"train {config.spec} --set pseudo_labels={name}")
