"""Commands about everything so far: leaderboard, results, and the demo that shows the whole journey."""

from __future__ import annotations

import typer

from heldout.cli.shared import AsJson, command, console, finish, print_json, shown


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py leaderboard --json")(leaderboard)
    command(app, "python run.py results")(results)
    command(app, "python run.py demo")(demo)


def leaderboard(as_json: AsJson = False) -> None:
    """Rank all runs and blends by their held-out scores, with confidence intervals."""
    from heldout.deliver.board import collect
    from heldout.deliver.leaderboard import show, write_markdown

    rows = collect()
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    if not rows:
        print("No finished run yet. Next: python run.py experiments")
        return
    show(rows, console())
    finish(write_markdown(rows))


def results() -> None:
    """Write RESULTS.md from the run folders: scores, parts, budgets, machines and times."""
    from heldout.deliver.board import collect
    from heldout.deliver.results import write_results

    finish(write_results(collect()))


def demo() -> None:
    """Show the whole journey on built-in phantoms, in minutes on a CPU; your own work is not touched."""
    from heldout.cli import execute
    from heldout.deliver.demo import run_demo

    path = run_demo(execute)
    print(f"\nThe leaderboard is in {shown(path)}")
