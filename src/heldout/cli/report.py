"""Commands that tell what runs are worth: report, ablate, card."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.shared import Name, command, finish, shown


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py report exp040 exp042 frac1 --name fractures")(report)
    command(app, "python run.py ablate exp040@quick exp043@quick --tta none")(ablate)
    command(app, "python run.py card frac1")(card)


def report(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="runs and blends, such as exp040 exp042@quick frac1")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="folder of the report; by default the joined names")
    ] = None,
) -> None:
    """Write one HTML page, and Markdown with figures: scores, curves, overlays, reliability, failures, comparisons."""
    from heldout.report.sections.write import write_report

    path = write_report(names, name)
    finish(f"{shown(path)} and, as Markdown, {shown(path.with_suffix('.md'))}", "leaderboard")


def ablate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT...]", help="finished runs; all of them by default")
    ] = None,
    tta: Annotated[
        list[str] | None,
        typer.Option(metavar="AXES", help="also predict with these flips: none, hv, xy; may be repeated"),
    ] = None,
) -> None:
    """Score single runs at cross-fitted thresholds, by which they are ranked, and with other flips."""
    from heldout.errors import UserError
    from heldout.evaluate.ablation import check_flips, tune_text, variants_of
    from heldout.files import home
    from heldout.train.runs import read_info, run_folders

    check_flips(tta or [])
    specs = names or [folder.name for folder in run_folders() if read_info(folder) is not None]
    if not specs:
        raise UserError(f"{home() / 'working' / 'runs'} holds no finished run: train first, `python run.py exp001`")
    for spec in specs:
        for run in variants_of(spec, tta or []):
            print(f"  {run.name}: {tune_text(run)}", flush=True)
    finish(home() / "working" / "ablations", "results")


def card(name: Name) -> None:
    """Write the model card of a run or a blend: data, scores, calibration, limits, hashes."""
    from heldout.report.card import write_card

    path = write_card(name)
    finish(f"{shown(path)} and {shown(path.with_suffix('.yaml'))}", f"report {name}")
