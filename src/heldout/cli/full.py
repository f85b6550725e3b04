"""The command that takes experiments from their data to a sealed decision and its report, step by step."""

from __future__ import annotations

import contextlib
import io
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout import files
from heldout.cli.queue import refuse_failed
from heldout.cli.shared import Budget, Track, command, finish, print_next
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.launch.plan import Fit
    from heldout.tasks import Task

_MOST_WORKERS = 16
_SPARED_CORES = 2  # for the loop itself and for bringing predictions back to their grids

Execute = Callable[[Sequence[str]], object]


@command("python run.py full fracatlas --minutes 25 --pack fracatlas.pack")
def full(
    context: typer.Context,
    full_run: Annotated[
        str,
        typer.Argument(metavar="NAME", help="a full run listed in exps/full_runs.py, or a root experiment: exp040"),
    ],
    budget: Budget = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="name of the decision; that of the full run, while a root needs one to be blended"
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="time limit; training stops after the current epoch")
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a packed dataset to unpack first, if the raw one is not available"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="data loading processes; by default one per core")] = None,
    test: Annotated[bool, typer.Option("--test", help="also evaluate on the locked test part, once")] = False,
    download: Annotated[bool, typer.Option("--download", help="download datasets that are not here first")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="serve the sealed decision at the end")] = False,
    track: Track = None,
) -> None:
    """Train the experiments of record of a dataset, blend and seal them under its name, and write the report.

    Finished steps and fits are skipped, and the same command resumes an interrupted one. Of a root experiment, which is
    trained with its descendants, nothing is blended without --name.
    """
    from heldout.config import listed_blend, listed_minutes
    from heldout.tasks import load_experiments

    configs = load_experiments(full_run, budget)
    specs, listed = [config.spec for config in configs], listed_minutes(full_run)
    if name is None and listed:
        name = full_run if budget is None else f"{full_run}-{budget}"
    for option, what in ((test, "--test evaluates"), (serve, "--serve serves")):
        if option and name is None:
            raise UserError(f"{what} a sealed decision: add --name NAME, under which the experiments are blended")
    from heldout.track.trackers import check_trackers

    check_trackers(track or ())
    if serve:
        from heldout.cli.serve import require_packages

        require_packages()
    step = _Steps(context.obj, files.home() / "working" / "full" / f"{name or full_run}.log")
    if pack is not None:
        step.run("unpack", "unpack", str(pack))
    if download:
        step("download", lambda: _download(configs))
    step("folds", lambda: _folds(configs))
    _print_budget(configs, listed)
    step("train", lambda: _train(configs, minutes, workers, track))
    if left := sum(not fit.is_finished() for config in configs for fit in _fits(config)):
        again = f"full {full_run}" + ("" if minutes is None else f" --minutes {minutes:g}")
        print(f"Stopped with {left} fits left, which stay in the queue")
        print_next(again)
        return
    if name is None:
        finish("all fits; to blend and seal them, add --name NAME", "leaderboard")
        return
    told = [word for tracker in track or () for word in ("--track", tracker)]
    if _is_sealed(name):
        step("blend", lambda: f"{name} is sealed already")
    else:
        step.run("blend", "blend", *specs, "--name", name, *listed_blend(full_run), *told)
        step.run("freeze", "freeze", name, *told)
    if test and (evals := _test_evals(name)):
        step("test", lambda: f"evaluated before, {evals} times: not repeated")
    elif test:
        step.run("test", "test", name, *told)
    step.run("report", "report", *specs, name, "--name", name)
    finish(f"the sealed decision {name}", "leaderboard")
    if serve:
        step.execute(["serve", name])


@dataclass
class _Steps:
    """Does the steps and prints a line for each: what it came to, and how long it took.

    Attributes:
        execute: Runs a command, given as its words.
        log: File for what commands print.
    """

    execute: Execute
    log: Path
    number: int = 0

    def __call__(self, what: str, work: Callable[[], str]) -> None:
        """Do one step, which returns its state in a few words."""
        self.number += 1
        start = time.monotonic()
        state = work()
        print(f"[{self.number}] {what}: {state} ({time.monotonic() - start:.0f} s)", flush=True)

    def run(self, what: str, *words: str) -> None:
        """Do one step by a command."""
        self(what, lambda: self._quietly(words))

    def _quietly(self, words: Sequence[str]) -> str:
        """Run a command whose print goes to the log; its state is its last line of results, else what it wrote."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                self.execute(words)
        finally:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a", encoding="utf-8") as log:
                log.write(f"$ python run.py {shlex.join(words)}\n{printed.getvalue()}")
        lines = [line.strip() for line in printed.getvalue().splitlines() if not line.startswith("Next: ")]
        told = [line for line in lines if not line.startswith("Wrote ")]
        return (told or lines or ["done"])[-1]


def _download(configs: Sequence[Task]) -> str:
    """Download what is not here."""
    from heldout.data.download import download_missing

    return ", ".join(dict.fromkeys(download_missing(config) for config in configs))


def _folds(configs: Sequence[Task]) -> str:
    """Check every dataset; what is checked already is opened only."""
    from heldout.data.cases import open_dataset

    found = {}
    for config in configs:
        dataset = open_dataset(config)
        found[dataset.folder] = (
            f"{config.dataset or config.source}: {len(dataset.cases)} cases in {config.fold_count} folds"
        )
    return ", ".join(dict.fromkeys(found.values()))


def _train(configs: Sequence[Task], minutes: float | None, workers: int | None, track: list[str] | None) -> str:
    """Train what is missing through the queue, with a line for every fit."""
    from heldout.launch import queue
    from heldout.launch.local import LocalEngine
    from heldout.launch.runner import run_queue
    from heldout.track.follow import tracked
    from heldout.track.read import run_source

    fits = [fit for config in configs for fit in _fits(config)]
    before = sum(fit.is_finished() for fit in fits)
    if before < len(fits):
        for config in configs:
            queue.add(config.spec)
        engine = LocalEngine(
            nice=0,
            loaders=loading_processes() if workers is None else workers,
            until=None if minutes is None else time.time() + 60 * minutes,
        )
        specs = [config.spec for config in configs]
        with tracked(track, *(run_source(spec, None) for spec in specs)):
            refuse_failed(run_queue(engine, lambda line: print(line, flush=True), set(specs)))
    done = sum(fit.is_finished() for fit in fits)
    return f"{done} of {len(fits)} fits are finished, {done - before} of them now"


def _fits(config: Task) -> list[Fit]:
    from heldout.launch.plan import Fit

    return [Fit(config.spec, seed, fold) for seed in config.seeds for fold in config.fold_list]


def _print_budget(configs: Sequence[Task], listed: dict[str, float]) -> None:
    """Tell how long what is missing takes: as fits here took, else as listed."""
    from heldout.launch.worth import Worths

    worths, total, unknown = Worths(), 0.0, False
    for config in configs:
        left = sum(not fit.is_finished() for fit in _fits(config))
        here = worths.of(config.spec).minutes
        each = listed.get(config.experiment) if here is None else here
        source = "on two cores, as listed" if here is None else "as those finished here"
        time_text = "of unknown length" if each is None else f"of about {each:.0f} minutes of training ({source})"
        print(f"{config.spec}: {left} fits left, {time_text}" if left else f"{config.spec}: finished")
        total, unknown = total + left * (each or 0.0), unknown or (each is None and left > 0)
    if total:
        print(f"together {'more than ' if unknown else 'about '}{total / 60:.1f} hours; predictions come on top")


def _is_sealed(name: str) -> bool:
    from heldout.blend.decision import read_decision

    return (files.home() / "working" / "blends" / name / "decision.json").exists() and read_decision(
        name
    ).seal is not None


def _test_evals(name: str) -> int:
    """How often the decision was evaluated as it is now."""
    from heldout.evaluate.collect import find_row

    return find_row(name).test_evals


def loading_processes() -> int:
    """Loading processes for this machine."""
    from heldout.data.parallel import cores

    return max(1, min(_MOST_WORKERS, cores() - _SPARED_CORES))
