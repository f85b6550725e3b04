"""Commands that tell what runs and blends are worth: leaderboard, report, results, and what looks into networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from heldout.cli.engines import Address, EngineName, EngineOptions, Submit, Workers
from heldout.cli.shared import (
    AsForm,
    AsJson,
    Experiment,
    Form,
    Name,
    command,
    configure,
    console,
    finish,
    print_in,
    print_json,
    print_table,
    shown,
)
from heldout.errors import UserError


@command("python run.py leaderboard --compare exp040 exp042")
def leaderboard(
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="NAME NAME", help="compare two runs or blends: paired difference with its interval"),
    ] = None,
    as_json: AsJson = False,
    form: AsForm = None,
    engine: EngineName = None,
    workers: Workers = None,
    address: Address = None,
    submit: Submit = None,
) -> None:
    """Rank all runs and blends by held-out scores with intervals; also written as Markdown and HTML.

    With --engine, the intervals of a slow metric of your own are shared by processes or nodes; no result changes.
    """
    options, refused = EngineOptions(engine, workers, None, address, None, submit), []
    if options.is_given:
        from heldout.launch.blocks import spread_intervals

        refused = spread_intervals(lambda: options.make([]), lambda line: print(line, file=sys.stderr, flush=True))
    if compare:
        if form not in (None, Form.json):
            raise UserError(f"--compare gives a sentence, not a table: leave out --format {form}, or set --format json")
        _compare(*compare, as_json=as_json or form == Form.json)
        return
    from heldout.evaluate.collect import collect

    rows = collect()
    if refused:  # rows say so only of single runs
        raise refused[0]
    if as_json or form:
        from heldout.report.columns import flat_table

        print_in(form or Form.json, *flat_table(rows), [row.to_dict() for row in rows])
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


@command("python run.py bench fracture exp040_lite0")
def bench(
    system: Annotated[str | None, typer.Argument(help="a protocol in exps/protocols.py")] = None,
    names: Annotated[list[str] | None, typer.Argument(help="runs or blends; none takes the best")] = None,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """Score by another system's own protocol: theirs, ours by theirs, ours by ours, and what differs."""
    from heldout.evaluate.collect import collect
    from heldout.report.protocols import lines_of, table_of

    protocol, lines = lines_of(system, names or [], collect())
    columns, cells = table_of(protocol, lines)
    if as_json or form:
        print_in(form or Form.json, columns, cells, [line.to_json() for line in lines])
        return
    print_table(protocol.title, columns, cells, words=("who",))
    for line in lines:
        print(f"{line.who}: {line.cases}; {line.differs}")


@command("python run.py lb exp042 --public 0.81")
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
    shown_ = {"public": entry.public, "private": entry.private}
    told = ", ".join(f"{part} {value:g}" for part, value in shown_.items() if value is not None)
    print(f"{name}: {told}; out-of-fold {entry.metric} {number(entry.score)}")
    if entry.submission is None:
        print(f"  note: there is no submissions/{name}.csv or .zip; the score is noted all the same")
    finish(public_scores_path(), "leaderboard")


@command("python run.py results")
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


@command("python run.py report exp040 exp042 frac1 --name fractures")
def report(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="runs and blends, such as exp040 exp042@quick frac1")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="folder of the report; by default the joined names")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write an article for LaTeX into this folder instead")
    ] = None,
    slides: Annotated[bool, typer.Option("--slides", help="write a deck of slides instead, one HTML file")] = False,
) -> None:
    """Write one HTML page, and Markdown with figures: scores, curves, overlays, reliability, failures, comparisons."""
    if latex is not None:
        from heldout.report.article import write_article

        path = write_article(names, latex)
        print(f"cd {latex} && pdflatex article && bibtex article && pdflatex article && pdflatex article")
        finish(f"{shown(path)} with figures/ and references.bib", "leaderboard")
        return
    if slides:
        from heldout.report.sections.write import write_slides

        finish(write_slides(names, name), "leaderboard")
        return
    from heldout.report.sections.write import write_report

    path = write_report(names, name)
    finish(f"{shown(path)} and, as Markdown, {shown(path.with_suffix('.md'))}", "leaderboard")


@command("python run.py ablate exp040@quick exp043@quick --tta none")
def ablate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="EXPERIMENT", help="finished runs; all of them by default")
    ] = None,
    tta: Annotated[
        list[str] | None,
        typer.Option(metavar="AXES", help="also predict with these flips: none, hv, xy; may be repeated"),
    ] = None,
) -> None:
    """Score single runs at cross-fitted thresholds, by which they are ranked, and with other flips."""
    from heldout.evaluate.ablation import tune_text, variants_of
    from heldout.files import home
    from heldout.train.runs import read_info, run_folders

    specs = names or [folder.name for folder in run_folders() if read_info(folder) is not None]
    if not specs:
        raise UserError(f"{home() / 'working' / 'runs'} holds no finished run: train first, `python run.py exp001`")
    for spec in specs:
        for run in variants_of(spec, tta or []):
            print(f"  {run.name}: {tune_text(run)}", flush=True)
    finish(home() / "working" / "ablations", "results")


@command("python run.py card frac1")
def card(name: Name) -> None:
    """Write the model card of a run or a blend: data, scores, calibration, limits, hashes."""
    from heldout.report.card import write_card

    path = write_card(name)
    finish(f"{shown(path)} and {shown(path.with_suffix('.yaml'))}", f"report {name}")


@command("python run.py uncertainty exp020")
def uncertainty(
    experiment: Experiment,
    passes: Annotated[int, typer.Option(min=2, help="forward passes with dropout active")] = 20,
    limit: Annotated[int | None, typer.Option(min=2, help="maximum number of cases; all by default")] = None,
    form: AsForm = None,
) -> None:
    """Measure how well the uncertainty of a run detects its errors, on held-out cases."""
    from heldout.evaluate.uncertainty import METHODS, assess
    from heldout.report.charts import write_risk_coverage
    from heldout.report.format import number

    found = assess(experiment, passes, limit)
    record, chart = found.record, write_risk_coverage(found)
    columns = ("from", "measure", "of", "cases", "wrong", "AUROC", "AURC")
    rows = (
        (METHODS[row.method], row.measure, row.stratum, row.cases, row.wrong, number(row.auroc), f"{row.aurc:.4f}")
        for row in record.rows
    )
    if form:
        print_in(form, columns, rows)
        return
    title = f"AUROC of finding errors: {record.cases} held-out cases, {record.wrong} wrong"
    print_table(title, columns, rows, words=("from", "measure", "of"))
    print(f"AURC of a random ranking {record.mean_risk:.4f}, of an oracle {record.oracle_aurc:.4f}")
    finish(f"{shown(found.folder)}/ (cases.csv, summary.json, {chart.name})", f"explain {experiment}")


@command("python run.py explain exp020 --case Y1")
def explain(
    experiment: Experiment,
    case: Annotated[list[str] | None, typer.Option(metavar="ID", help="a held-out case; may be repeated")] = None,
) -> None:
    """Draw Grad-CAM maps of out-of-fold classifiers: the best, worst and least certain held-out cases."""
    from heldout.report.gradcam import explain as draw

    finish(draw(experiment, case or ()), f"overlay {experiment}")


@command("python run.py profile exp026 exp025 exp027")
def profile(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT", help="exp042, exp042@quick ...")],
    repeats: Annotated[int, typer.Option(min=3, help="timed passes per row")] = 20,
    seconds: Annotated[float, typer.Option(min=0, help="maximum seconds per row")] = 10.0,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """Measure parameters, operations, milliseconds per case, cases per second and memory of networks."""
    configs = [configure(name, None, None, False) for name in experiments]

    from heldout.evaluate.profile import profile as measure

    path, record = measure(configs, repeats=repeats, seconds=seconds)
    columns = ("name", "M params", "GFLOP", "batch", "tta", "precision", "ms/case", "p95", "cases/s", "peak MB")
    rows = (
        (
            *(row.name, f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.2f}", row.batch),
            *(row.tta or "none", row.precision),
            *(f"{value:.1f}" for value in (row.ms_per_case_median, row.ms_per_case_p95)),
            *(f"{value:.1f}" for value in (row.cases_per_second, row.peak_mb)),
        )
        for row in record.rows
    )
    if as_json or form:
        print_in(form or Form.json, columns, rows, record.to_json())
        return
    title = f"{record.machine}, torch {record.torch}"
    print_table(title, columns, rows, words=("name", "tta", "precision"))
    finish(path, "leaderboard")
