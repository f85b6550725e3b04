"""Commands that look into networks: uncertainty, explain, profile."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.shared import AsJson, Experiment, command, configure, console, finish, print_json, shown


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "python run.py uncertainty exp020")(uncertainty)
    command(app, "python run.py explain exp020 --case Y1")(explain)
    command(app, "python run.py profile exp026 exp025 exp027")(profile)


def uncertainty(
    experiment: Experiment,
    passes: Annotated[int, typer.Option(min=2, help="forward passes with dropout active")] = 20,
    limit: Annotated[int | None, typer.Option(min=2, help="maximum number of cases; all by default")] = None,
) -> None:
    """Measure how well the uncertainty of a run detects its errors, on held-out cases."""
    from rich.table import Table

    from heldout.evaluate.uncertainty import METHODS, assess

    found = assess(experiment, passes, limit)
    table = Table(title=f"{found.cases} held-out cases, {found.wrong} wrong", title_justify="left")
    for column in ("from", "measure", "AUROC of finding errors", "AURC"):
        table.add_column(column, justify="left" if column in ("from", "measure") else "right")
    for row in found.rows:
        auroc = "undefined" if row["auroc"] != row["auroc"] else f"{row['auroc']:.3f}"
        table.add_row(METHODS[row["method"]], row["measure"], auroc, f"{row['aurc']:.4f}")
    console().print(table)
    print(f"AURC of a random ranking {found.mean_loss:.4f}, of an oracle {found.oracle:.4f}")
    finish(f"{shown(found.folder)}/ (cases.csv, summary.json, risk_coverage.png)", f"explain {experiment}")


def explain(
    experiment: Experiment,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="a held-out case; may be repeated")] = None,
) -> None:
    """Draw Grad-CAM maps of out-of-fold classifiers: the best, worst and least certain held-out cases."""
    from heldout.report.gradcam import explain as draw

    finish(draw(experiment, case or ()), f"overlay {experiment}")


def profile(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="exp042, exp042@quick ...")],
    repeats: Annotated[int, typer.Option(min=3, help="timed passes per row")] = 20,
    seconds: Annotated[float, typer.Option(min=0, help="maximum seconds per row")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Measure parameters, operations, milliseconds per case, cases per second and memory of networks."""
    configs = [configure(name, None, None, False) for name in experiments]

    from heldout.evaluate.profile import profile as measure

    path, record = measure(configs, repeats=repeats, seconds=seconds)
    if as_json:
        print_json(record)
        return
    from rich.table import Table

    table = Table(title=f"{record['machine']}, torch {record['torch']}", title_justify="left")
    for column in ("name", "M params", "GFLOP", "batch", "tta", "precision", "ms/case", "p95", "cases/s", "peak MB"):
        table.add_column(column, justify="left" if column in ("name", "tta", "precision") else "right")
    for row in record["rows"]:
        cells = (f"{row['parameters'] / 1e6:.2f}", f"{row['flops'] / 1e9:.2f}", row["batch"], row["tta"] or "none")
        times = [row[name] for name in ("ms_per_case_median", "ms_per_case_p95", "cases_per_second", "peak_mb")]
        table.add_row(row["name"], *map(str, cells), row["precision"], *(f"{value:.1f}" for value in times))
    console().print(table)
    finish(path, "leaderboard")
