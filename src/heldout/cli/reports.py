"""Commands about everything so far: leaderboard, lb, results, and the demo that shows the whole journey."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.shared import AsJson, Name, command, console, finish, print_json, shown


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py leaderboard --compare exp040 exp042")(leaderboard)
    command(app, "python run.py lb exp042 --public 0.81")(lb)
    command(app, "python run.py results")(results)
    command(app, "python run.py demo")(demo)


def leaderboard(
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="NAME NAME", help="compare two runs or blends: paired difference with its interval"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank all runs and blends by held-out scores with intervals; also written as Markdown and HTML."""
    if compare:
        _compare(*compare, as_json=as_json)
        return
    from heldout.evaluate.collect import collect

    rows = collect()
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    if not rows:
        print("No finished run yet. Next: python run.py experiments")
        return
    from heldout.report.leaderboard import show
    from heldout.report.page import write_markdown, write_page

    show(rows, console())
    finish(f"{shown(write_markdown(rows))} and, to sort and to look at, {shown(write_page(rows))}")


def _compare(first: str, second: str, *, as_json: bool) -> None:
    from heldout.evaluate.compare import compare_rows

    verdict = compare_rows(first, second)
    if as_json:
        print_json(verdict.to_dict())
        return
    print(verdict.sentence)
    for note in verdict.notes:
        print(f"  note: {note}")


def lb(
    name: Name,
    public: Annotated[float | None, typer.Option(help="score on the public part of the test set")] = None,
    private: Annotated[float | None, typer.Option(help="score on the private part")] = None,
    note: Annotated[str | None, typer.Option(help="free text")] = None,
) -> None:
    """Record the score that a competition showed, and how well out-of-fold scores predict such scores."""
    from heldout.evaluate.collect import find_row
    from heldout.evaluate.public_scores import note_score, public_scores_path
    from heldout.report.format import number

    entry = note_score(find_row(name), public, private, note)
    shows = ", ".join(f"{part} {entry[part]:g}" for part in ("public", "private") if entry[part] is not None)
    print(f"{name}: {shows}; out-of-fold {entry['metric']} {number(entry['score'])}")
    if entry["submission"] is None:
        print(f"  note: there is no submissions/{name}.csv or .zip; the score is noted all the same")
    finish(public_scores_path(), "leaderboard")


def results(
    force: Annotated[bool, typer.Option("--force", help="overwrite a file that has rows of unknown runs")] = False,
) -> None:
    """Write RESULTS.md from the run folders: scores beside other systems, ablations, test evaluations."""
    from heldout.evaluate.collect import collect
    from heldout.report.results import write_results

    path, missing = write_results(collect(), force=force)
    for line in missing:
        print(f"  note: no score of {line}")
    finish(path)


def demo(context: typer.Context) -> None:
    """Run the full workflow on synthetic images, in minutes on a CPU; your own work is not touched."""
    from heldout.cli.demo import run_demo

    path = run_demo(context.obj)
    print(f"\nThe leaderboard is in {shown(path)}")
