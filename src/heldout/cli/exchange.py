"""Commands that exchange predictions with others: import-oof, export-oof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Name, command, finish, shown


@command('python run.py import-oof ana --oof oof.csv --test test.csv --by "Ana"', name="import-oof")
def import_oof(
    name: Annotated[str, typer.Argument(metavar="NAME", help="what the predictions are called here")],
    oof: Annotated[
        Path, typer.Option(metavar="PATH", help="out-of-fold predictions: CSV, npz, a folder of maps, or of nnU-Net")
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="who made them; recorded and shown")],
    test: Annotated[
        Path | None, typer.Option(metavar="PATH", help="predictions of cases to submit, or of the test part")
    ] = None,
    maps: Annotated[Path | None, typer.Option(metavar="DIR", help="maps of all these cases, beside tables")] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="EXPERIMENT", help="experiment of the same dataset; found if it is the only one"),
    ] = None,
) -> None:
    """Make a member of predictions that were made elsewhere: ranked, blended and sealed as other runs are.

    Ids and folds are checked. Where a file does not say its folds, they cannot be verified, which is shown everywhere.
    """
    from heldout.train.import_run import import_oof as store

    record = store(name, oof, by, test=test, maps=maps, like=like)
    print(f"  {record.note}")
    print(f"  {record.cases} cases outside the training part")
    finish(f"working/runs/{record.spec}", f"blend {record.spec.partition('+')[0]} {name} --name NAME")


@command("python run.py export-oof exp042 --output shared", name="export-oof")
def export_oof(
    name: Name,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="new folder")],
) -> None:
    """Write held-out predictions for others: oof.csv with ids and folds, and the maps of segmentations."""
    from heldout.evaluate.held_out import open_held_out
    from heldout.train.import_run import export_map
    from heldout.train.import_run import export_oof as write

    held = open_held_out(name)
    path = write(held.table, held.classes, dict(held.dataset.source.own_ids()), output)
    if held.segments:
        from heldout.progress import track

        for case_id in track(held.table["case_id"], len(held.table), "Writing maps"):
            values = held.prediction(case_id).map
            assert values is not None, "a segmentation has maps"
            export_map(values, output / "maps" / f"{case_id}.npz")
    finish(f"{shown(path)}{' and maps/' if held.segments else ''}")
