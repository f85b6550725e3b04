"""Commands up to out-of-fold predictions: folds, train."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.engines import Address, EngineName, EngineOptions, GpusPerFit, Shared, Spread, Submit, Workers, spread
from heldout.cli.shared import (
    AsForm,
    AsJson,
    Budget,
    Experiment,
    Form,
    Minutes,
    Settings,
    SkipBad,
    Track,
    choose,
    command,
    configure,
    finish,
    print_in,
    print_table,
    shown,
)
from heldout.escape import visible

if TYPE_CHECKING:
    from heldout.data.report import LeakReport
    from heldout.tasks import Task


@command("python run.py train exp042 --fold 0 --set lr=1e-4")
def train(
    experiments: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT...", help="exp042, exp042@quick or exp042+lr=0.001")
    ],
    fold: Annotated[list[int] | None, typer.Option(help="a fold to train; may be repeated; all by default")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="a seed to train; may be repeated; all by default")] = None,
    budget: Budget = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    minutes: Minutes = None,
    engine: EngineName = None,
    workers: Workers = None,
    gpus_per_fit: GpusPerFit = None,
    address: Address = None,
    shared: Shared = None,
    submit: Submit = None,
    devices: Annotated[int | None, typer.Option(min=1, help="devices that train a fold together: devices=N")] = None,
    track: Track = None,
) -> None:
    """Train the missing folds and seeds of experiments, and predict each held-out fold."""
    settings = [*(settings or []), *([] if devices is None else [f"devices={devices}"])]
    configs = [configure(spec, budget, settings, skip_bad) for spec in experiments]
    chosen = [
        (choose(fold, config.fold_list, "fold", config.spec), choose(seed, config.seeds, "seed", config.spec))
        for config in configs
    ]
    options = EngineOptions(engine, workers, gpus_per_fit, address, shared, submit)
    if len(configs) == 1 and not options.is_given:
        finish(*_train_here(configs[0], *chosen[0], minutes, track))
        return

    from heldout.cli.queue import refuse_failed
    from heldout.launch.display import FitsDisplay
    from heldout.launch.queue import QueueEntry
    from heldout.launch.runner import run_fits
    from heldout.launch.schedule import missing_fits
    from heldout.track.follow import tracked
    from heldout.track.read import run_source
    from heldout.train import runs
    from heldout.train.fit import open_checked
    from heldout.train.minutes import refuse_epochs

    now, entries = time.strftime("%F %T"), []
    for config, (folds, seeds) in zip(configs, chosen, strict=True):
        if minutes is not None:
            refuse_epochs(config)
        open_checked(config, [(fold, seed) for seed in seeds for fold in folds])
        entries.append(QueueEntry(spec=config.spec, minutes=minutes, folds=tuple(folds), seeds=tuple(seeds), added=now))
    made = options.make(configs)
    sources = [run_source(entry.spec, minutes) for entry in entries]
    with tracked(track, *sources, here=options.trains_here), FitsDisplay(len(missing_fits(entries))) as display:
        failed = run_fits(made, entries, display.say, display)
    for entry in entries:
        trained = next(entry.fits()).config()
        next_command = entry.spec if trained is None else _summary(trained)
    refuse_failed(failed)
    finish(runs.run_folder(entries[-1].spec) if len(entries) == 1 else f"{len(entries)} runs", next_command)


def _train_here(
    config: Task, folds: list[int], seeds: list[int], minutes: float | None, track: list[str] | None
) -> tuple[Path, str]:
    """Train in this process, one fit after the other; what was written, and the command that comes next."""
    if minutes is not None:
        from heldout.train.minutes import within_minutes

        config, record = within_minutes(config, minutes, seeds[0], folds[0])
        print(
            f"{config.spec}: {record.epochs} epochs of {record.steps} steps fit into {minutes:g} minutes at "
            f"{record.step_seconds:g} s a step ({record.machine}, {record.measured})"
        )

    from heldout.track.follow import tracked

    with tracked(track, f"runs/{config.spec}"):
        from heldout.train.fit import run_experiment

        done = run_experiment(config, folds, seeds)
    return done[0].parents[1] if len(done) > 1 else done[0], _summary(config)


@command("python run.py folds exp042")
def folds(
    experiment: Experiment,
    budget: Budget = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="check and split again after the raw data changed")
    ] = False,
    as_json: AsJson = False,
    form: AsForm = None,
    ray: Spread = None,
) -> None:
    """Check every case of a dataset, search for leaks, lock the test part and make the folds."""
    config = configure(experiment, budget, settings, skip_bad)
    spread(ray)

    from heldout.data.cases import index_dataset, leak_report, open_dataset
    from heldout.data.grids import check_axes, describe_grids
    from heldout.data.outside import outside_lines, outside_report
    from heldout.deliver.submission.write import check_form
    from heldout.tasks.check import check_fields

    check_fields(config)
    dataset = index_dataset(config, progress=not (as_json or form)) if rebuild else open_dataset(config)
    check_fields(config, dataset.classes)
    check_axes(config, dataset.source, dataset.cases)
    check_form(config, dataset)
    report, grids = leak_report(dataset), describe_grids(dataset, config)
    outside = outside_report(dataset, progress=not as_json)
    if as_json or form:
        told = {"outside": None if outside is None else outside.to_json()}
        print_in(form or Form.json, *_parts(report), {**report.to_json(), "grids": grids, **told})
        return
    _print_report(config, report, grids, [] if outside is None else outside_lines(outside))
    finish(f"{shown(dataset.folder)}/ (cases.parquet, folds.csv, leaks.json, skipped.csv)", f"{config.spec}")


def _summary(config: Task) -> str:
    """Print the scores of the finished fits; returns the command that comes next."""
    from heldout.evaluate.collect import run_row
    from heldout.report.format import duration, interval_text, number

    row = run_row(config.spec)
    if row is None:
        print(f"{config.spec}: no fit finished")
        return config.spec
    for fit in row.fits:
        score = number(fit.score)
        print(f"  seed {fit.seed} fold {fit.fold}  {row.metric} {score}  {duration(fit.train_seconds)}")
    print(f"{row.name}: {row.done} of {row.planned} fits finished")
    if row.complete and row.score is not None:
        print(f"out-of-fold {row.metric} {interval_text(row)} over {row.cases} cases of {row.patients} patients")
    return config.spec if row.done < row.planned else f"blend {config.spec} --name NAME"


def _print_report(config: Task, report: LeakReport, grids: list[str], told: list[str]) -> None:
    print_table(f"{config.dataset}: cases per part", *_parts(report), words=("part",))
    for line in grids:
        print(line)
    kinds = [(report.exact, "exact duplicates"), (report.conflicts, "duplicates with different labels")]
    kept_apart = "duplicate" if config.near_duplicates else "exact duplicate"
    apart = "in train and test" if config.accept_leaks else "in two folds, or in train and test"
    print(f"Leak report: no patient and no {kept_apart} is {apart}")
    if not config.near_duplicates:
        print("  near-duplicates were not searched: near_duplicates = False")
    else:
        kinds.insert(1, (report.near, "near-duplicates"))
    for sets, what in kinds:
        example = f", such as {visible(', '.join(sets[0][:3]))}" if sets else ""
        print(f"  {len(sets)} sets of {what}{example}")
    print(f"  {len(report.skipped)} cases set aside")
    for line in _shortened([f"{case.case_id}: {case.reason}" for case in report.skipped], 5, "skipped.csv"):
        print(f"    {visible(line)}")
    for line in told:
        print(f"  without the pixels: {visible(line)}")
    for line in [*report.caveats, *_shortened(report.found, 10, "leaks.json")]:
        print(f"  note: {visible(line)}")


def _parts(report: LeakReport) -> tuple[list[str], list[list[object] | None]]:
    """Headings and cells of the table of parts, with a line above the sum of the folds."""
    rows: list[list[object] | None] = []
    for row in report.rows:
        rows += [None] if row.part == "train" else []
        rows.append(["" if value is None else value for value in row.to_json().values()])
    return list(report.rows[0].to_json()), rows


def _shortened(lines: list[str], most: int, file: str) -> list[str]:
    """The first lines, and how many more there are in a file."""
    return lines if len(lines) <= most else [*lines[:most], f"{len(lines) - most} more in {file}"]
