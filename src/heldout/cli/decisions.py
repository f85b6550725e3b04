"""Commands from out-of-fold predictions to what is shipped: blend, freeze, test, submit, predict, overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.shared import Name, command, finish, shown


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py blend exp040 exp042 --name frac1")(blend)
    command(app, "python run.py freeze frac1")(freeze)
    command(app, "python run.py test frac1", name="test")(look)
    command(app, "python run.py submit frac1")(submit)
    command(app, "python run.py predict frac1 --input new_patients --output predicted")(predict)
    command(app, "python run.py overlay exp042 --case IMG0003298")(overlay)


def blend(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="members: exp040 exp042@quick ...")],
    name: Annotated[str, typer.Option(help="name of the decision")],
    trials: Annotated[int, typer.Option(min=1, help="weightings that Optuna tries")] = 200,
    seed: Annotated[int, typer.Option(help="seed of the search")] = 0,
    metric: Annotated[str | None, typer.Option(help="score to tune; the first member's by default")] = None,
) -> None:
    """Tune weights and thresholds on out-of-fold predictions, and score them in-sample and cross-fitted."""
    from heldout.blend.search import blend as search

    decision = search(experiments, name, trials=trials, seed=seed, metric=metric)
    for member in decision.members:
        print(f"  {member['weight']:.3f}  {member['spec']}")
    if decision.thresholds:
        cuts = ", ".join(f"{label} {level / 255:.2f}" for label, level in decision.thresholds.items())
        print(f"  thresholds: {cuts}")
    score = decision.score
    print(f"{decision.metric} in-sample {_number(score['in_sample'])}, tuned and scored on the same cases")
    interval = f"[{_number(score['low'])}, {_number(score['high'])}]"
    print(f"{decision.metric} cross-fitted {_number(score['cross_fitted'])} {interval}: this one ranks")
    finish(decision.folder / "decision.json", f"freeze {name}")


def freeze(name: Annotated[str, typer.Argument(metavar="NAME", help="a blend")]) -> None:
    """Seal a decision: hashes of every weight file, of folds and data, and a few predictions to prove it by."""
    from heldout.blend.decision import freeze as seal

    finish(seal(name), f"test {name}")


def look(
    name: Name,
    look_again: Annotated[str | None, typer.Option(metavar="REASON", help="why a further look is needed")] = None,
) -> None:
    """Predict the locked test part, score it once, and put the look on record."""
    from heldout.blend.decision import load_decision
    from heldout.blend.ledger import test
    from heldout.files import home

    result = test(load_decision(name), look_again=look_again)
    interval = f"[{_number(result.low)}, {_number(result.high)}]"
    print(f"{name}: test {result.metric} {_number(result.score)} {interval} on the locked part")
    print(f"look {result.looks} with this decision, {result.dataset_looks} at this test part in all")
    finish(f"{shown(result.path)}, and the look in {shown(home() / 'working' / 'ledger.jsonl')}", f"submit {name}")


def submit(name: Name) -> None:
    """Write the competition's file for the unlabelled cases, checked against its sample submission."""
    from heldout.blend.decision import load_decision, verify
    from heldout.deliver.submission import submit as write

    decision = load_decision(name)
    verify(decision)
    finish(write(decision), "leaderboard")


def predict(
    name: Name,
    folder: Annotated[Path, typer.Option("--input", metavar="DIR", help="new files, in the dataset's layout or loose")],
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="folder for masks and predictions.csv")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="list unreadable files; predict damaged ones as far as they can be read")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="write into a folder that is not empty")] = False,
) -> None:
    """Predict a folder of new patients: a mask per case under the input's name, and predictions.csv."""
    from heldout.deliver.inference import check_folders, predict_folder

    check_folders(folder.resolve(), output.resolve(), force=force)

    from heldout.blend.decision import load_decision, verify

    decision = load_decision(name)
    verify(decision)
    outcome = predict_folder(decision, folder, output, skip_bad=skip_bad, force=force)
    print(", ".join(f"{count} {status}" for status, count in outcome.counts.items()))
    masks = f" and {outcome.masks} masks" if outcome.masks else ""
    finish(f"{shown(outcome.table)}{masks}")


def overlay(
    name: Name,
    case: Annotated[
        str | None, typer.Option(metavar="ID", help="one case; from the worst to the best by default")
    ] = None,
) -> None:
    """Draw out-of-fold predictions beside the truth: what was found, invented and missed."""
    from heldout.deliver.overlay import overlay as draw

    finish(draw(name, case))


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.4f}"
