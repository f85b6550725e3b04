"""The queue of trainings: show it, add to it, run it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.shared import (
    AsForm,
    AsJson,
    Budget,
    Form,
    Minutes,
    ReadableGroup,
    Settings,
    SkipBad,
    Track,
    app,
    choose,
    command,
    configure,
    print_in,
    print_table,
)
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.launch.queue import QueuedFit
    from heldout.launch.schedule import Waiting

_FAILED = "failed: "  # before the reason
Experiments = Annotated[list[str], typer.Argument(metavar="EXPERIMENT", help="exp042, exp042@quick, ...")]


group = typer.Typer(cls=ReadableGroup, invoke_without_command=True, rich_markup_mode="rich")
app.add_typer(group, name="queue")


@group.callback(epilog="Example: python run.py queue add exp041 exp042 --minutes 60")
def show(context: typer.Context, as_json: AsJson = False, form: AsForm = None) -> None:
    """Show what is trained, when it ends, and what waits; or change and run the queue."""
    if context.invoked_subcommand is not None:
        return
    from heldout.launch import queue as queues

    rows = _rows()
    if not rows and not (as_json or form):
        print("The queue is empty: python run.py queue add EXPERIMENT")
        return
    columns, cells = ("fit", "state", "gain/h", "minutes", "ends"), []
    for row in rows:
        gain = "unknown" if row.gain_per_hour is None else f"{row.gain_per_hour:.3f}"
        minutes = "?" if row.minutes is None else f"{row.minutes:.0f}"
        known = row.ends_after if row.ends is None else row.ends
        ends = "?" if known is None else time.strftime("%a %H:%M", time.localtime(known))
        ends = ends if row.ends is not None or known is None else f"after {ends}"
        cells.append((row.fit, row.state, gain, minutes, ends))
    if as_json or form:
        print_in(form or Form.json, columns, cells, [asdict(row) for row in rows])
        return
    reasons: dict[str, list[str]] = {}
    for place, (fit, state, *_) in enumerate(cells):
        if state.startswith(_FAILED):
            reasons.setdefault(state, []).append(fit)
            cells[place] = (fit, "failed", *cells[place][2:])
    print_table("", columns, cells, words=("fit", "state"))
    for reason, fits in reasons.items():
        print(f"{', '.join(fits)} {reason}")
    if not queues.is_run():
        print("Nothing of it is training; times are those of a start now: python run.py queue run")
    print("gain/h: expected from finished fits (mean gain over the best other experiment on the same fold, per hour)")


@command("python run.py queue add exp041 exp042 --minutes 60", group=group)
def add(
    experiments: Experiments,
    fold: Annotated[list[int] | None, typer.Option(help="a fold to train; may be repeated; all by default")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="a seed to train; may be repeated; all by default")] = None,
    minutes: Minutes = None,
    budget: Budget = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
) -> None:
    """Add experiments to the queue; what they depend on is trained first."""
    from heldout.launch import queue
    from heldout.train.minutes import refuse_epochs

    configs = [configure(spec, budget, settings, skip_bad) for spec in experiments]
    for config in configs:
        choose(fold, config.fold_list, "fold", config.spec)
        choose(seed, config.seeds, "seed", config.spec)
        if minutes is not None:
            refuse_epochs(config)
    for config in configs:
        queue.add(config.spec, minutes, tuple(fold) if fold else None, tuple(seed) if seed else None)
        print(f"{config.spec}: in the queue")
    print("Next: python run.py queue" if queue.is_run() else "Next: python run.py queue run")


@command("python run.py queue run", group=group)
def run(
    nice: Annotated[
        int, typer.Option(min=0, max=19, help="priority: 19 gives way to all other work on the machine, 0 to none")
    ] = 19,
    track: Track = None,
) -> None:
    """Train what the queue holds, one fit at a time, with what other work leaves over; resumes where it was stopped."""
    from heldout.launch.local import LocalEngine
    from heldout.launch.runner import run_queue
    from heldout.track.follow import tracked

    with tracked(track, *_tracked_runs()):
        refuse_failed(run_queue(LocalEngine(nice=nice), lambda line: print(line, flush=True)))
    print("Nothing is left to train\nNext: python run.py leaderboard")


def _tracked_runs() -> list[str]:
    """What trackers are told of: the runs of the queue."""
    from heldout.launch import queue
    from heldout.track.read import run_source

    return list(dict.fromkeys(run_source(entry.spec, entry.minutes) for entry in queue.read_queue().entries))


def refuse_failed(failed: Sequence[QueuedFit]) -> None:
    """Name fits that could not be trained.

    Raises:
        UserError: there are any.
    """
    if failed:
        names = ", ".join(str(one.fit) for one in failed)
        raise UserError(
            f"{len(failed)} fits failed: {names}; see {failed[0].log}, fix the cause and run the command again, or "
            "`queue remove` the experiment"
        )


@command("python run.py queue pause exp042", group=group)
def pause(experiments: Experiments) -> None:
    """Pause experiments of the queue; a running fit is stopped and can be resumed."""
    from heldout.launch import queue

    for spec in experiments:
        queue.pause(_spec(spec))
        print(f"{spec}: paused")
    print(f"Next: python run.py queue resume {experiments[0]}")


@command("python run.py queue resume exp042", group=group)
def resume(experiments: Experiments) -> None:
    """Resume paused experiments."""
    from heldout.launch import queue

    for spec in experiments:
        queue.pause(_spec(spec), paused=False)
        print(f"{spec}: resumed")
    print("Next: python run.py queue")


@command("python run.py queue remove exp042", group=group)
def remove(experiments: Experiments) -> None:
    """Take experiments out of the queue; a running fit is stopped, and what is trained stays."""
    from heldout.launch import queue

    for spec in experiments:
        queue.remove(_spec(spec))
        print(f"{spec}: removed")
    print("Next: python run.py queue")


def _spec(text: str) -> str:
    from heldout.config.legacy import today_spec

    return today_spec(text)


@dataclass(frozen=True)
class _Row:
    """A fit that is running, waiting, paused or failed, as ``--json`` prints it; None where unknown."""

    fit: str
    state: str
    gain_per_hour: float | None = None
    minutes: float | None = None
    ends: float | None = None
    ends_after: float | None = None  # where only a part of what comes before it is known


def _rows() -> list[_Row]:
    from heldout.launch import queue as queues
    from heldout.launch.schedule import progress, schedule

    queue = queues.read_queue()
    plan = schedule(queue)
    running = {one.fit: one for one in queue.running} if queues.is_run() else {}
    failed = {one.fit: one for one in queue.failed}
    clock, exact = time.time(), True
    rows = []
    for one in sorted(plan.waiting, key=lambda one: (one.fit not in running, one.fit in failed)):
        if one.fit in failed:
            rows.append(_row(one, f"{_FAILED}{failed[one.fit].message}"))
            continue
        if one.fit in running:
            far = progress(one.fit, float(running[one.fit].time), one.worth)
            state = "training" if far.epochs is None else f"training, epoch {far.done} of {far.epochs} done"
            seconds = far.seconds
        else:
            state = f"waits for {one.needs[0]}" if one.needs else "waits"
            seconds = None if one.worth.minutes is None else 60 * one.worth.minutes
        clock, exact = clock + (seconds or 0.0), exact and seconds is not None
        rows.append(_row(one, state, clock if exact else None, clock))
    rows += [_row(one, "paused") for one in plan.paused]
    return rows + [_Row(spec, f"{_FAILED}{reason}") for spec, reason in plan.problems.items()]


def _row(one: Waiting, state: str, ends: float | None = None, ends_after: float | None = None) -> _Row:
    return _Row(str(one.fit), state, one.worth.gain_per_hour, one.worth.minutes, ends, ends_after)
