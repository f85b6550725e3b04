"""Runs fits on an engine until nothing is left that can be trained: those of the queue, or those of a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from heldout.errors import UserError
from heldout.launch import queue as queues
from heldout.launch.engine import HERE, STOPPED, TIME_IS_UP, Engine, Job, is_lost
from heldout.launch.order import longest_first
from heldout.launch.plan import Fit
from heldout.launch.queue import QueuedFit, QueueEntry, QueueRecord
from heldout.launch.schedule import Schedule, progress, schedule
from heldout.launch.worth import Worth

POLL_SECONDS = 0.3
MOST_KILLS = 3  # of a fit that finishes no epoch in between

Say = Callable[[str], None]
Edit = Callable[[QueueRecord], QueueRecord]


class Fits(Protocol):
    """What is to be trained, and what becomes of it."""

    again: str  # how what was stopped is resumed

    def read(self) -> QueueRecord:
        """As it is now."""
        ...

    def change(self, edit: Edit) -> object:
        """Note what becomes of it."""
        ...

    def stamp(self) -> int:
        """Another number whenever it has changed."""
        ...

    def schedule(self) -> Schedule:
        """What is missing, in the order in which it is to be trained."""
        ...


class Watcher(Protocol):
    """Shows the fits that run."""

    def show(self, plan: Schedule, running: Collection[QueuedFit]) -> None:
        """Called a few times a second."""
        ...


@dataclass
class StoredFits:
    """Those of the queue on the disk, to which other commands add; ``only`` these experiments, or all."""

    only: Collection[str] | None = None
    again: str = "`queue run` resumes it"

    def read(self) -> QueueRecord:
        """The queue."""
        queue = queues.read_queue()
        if self.only is None:
            return queue
        return queue.model_copy(update={"entries": tuple(one for one in queue.entries if one.spec in self.only)})

    def change(self, edit: Edit) -> object:
        """Change the queue on the disk."""
        return queues.change(edit)

    def stamp(self) -> int:
        """Time of the last change."""
        return (queues.folder() / "queue.json").stat().st_mtime_ns

    def schedule(self) -> Schedule:
        """By expected gain an hour."""
        return schedule(self.read())


@dataclass
class ListedFits:
    """Those of one command."""

    queue: QueueRecord
    again: str = "the same command resumes it"

    def read(self) -> QueueRecord:
        """The list."""
        return self.queue

    def change(self, edit: Edit) -> object:
        """Change the list."""
        self.queue = edit(self.queue)
        return self.queue

    def stamp(self) -> int:
        """Nobody else changes it."""
        return 0

    def schedule(self) -> Schedule:
        """Those that many others wait for, and long ones, first."""
        plan = schedule(self.queue)
        found = {one.fit: one for one in plan.waiting}
        order = longest_first(
            {fit: one.worth.minutes for fit, one in found.items()}, {fit: one.needs for fit, one in found.items()}
        )
        return replace(plan, waiting=tuple(found[fit] for fit in order))


def run_queue(engine: Engine, say: Say, only: Collection[str] | None = None) -> tuple[QueuedFit, ...]:
    """Train what the queue holds, and what is added meanwhile; one process at a time may do so.

    A fit that fails does not stop the others; it is tried again by the next call. A fit whose experiment is paused or
    removed meanwhile is stopped, and can be resumed.

    Args:
        engine: Where fits are trained.
        say: Called with a line for every fit that starts or ends.
        only: Train these experiments of the queue, and what they depend on; None trains all.

    Returns:
        The fits that failed.

    Raises:
        UserError: another process runs the queue, or its file is damaged.
        KeyboardInterrupt: the running fits are stopped then; the next call resumes them.
    """
    with queues.runner_lock():
        queues.change(lambda queue: queue.model_copy(update={"running": (), "failed": ()}))
        again = StoredFits.again if only is None else ListedFits.again
        return _run(engine, say, StoredFits(only, again), None)


def run_fits(
    engine: Engine, entries: Sequence[QueueEntry], say: Say, watcher: Watcher | None = None
) -> tuple[QueuedFit, ...]:
    """Train the missing fits of experiments, and what they depend on; several processes may do so at once.

    Args:
        engine: Where fits are trained.
        entries: The experiments.
        say: Called with a line for every fit that starts or ends.
        watcher: Shows the running fits.

    Returns:
        The fits that failed.

    Raises:
        KeyboardInterrupt: the running fits are stopped then; the next call resumes them.
    """
    return _run(engine, say, ListedFits(QueueRecord(entries=tuple(entries))), watcher)


def _run(engine: Engine, say: Say, fits: Fits, watcher: Watcher | None) -> tuple[QueuedFit, ...]:
    runner = _Runner(engine, say, fits)
    try:
        while runner.step():
            if watcher is not None:
                watcher.show(runner.plan, [about for _, about in runner.jobs.values()])
            time.sleep(POLL_SECONDS)
        if watcher is not None:
            watcher.show(runner.plan, [])
    finally:
        runner.stop_all()
        engine.close()
    for spec, reason in runner.plan.problems.items():
        say(f"{spec} cannot be planned: {reason}")
    return fits.read().failed


class _Runner:
    """The running fits, and what comes next."""

    def __init__(self, engine: Engine, say: Say, fits: Fits) -> None:
        self.engine, self.say, self.fits = engine, say, fits
        self.jobs: dict[Fit, tuple[Job, QueuedFit]] = {}
        self.failed: set[Fit] = set()
        self.kills: dict[Fit, tuple[int, int]] = {}  # how often in a row, and the epochs that were finished then
        self.seen = -1
        self.plan = Schedule((), (), {})

    def step(self) -> bool:
        """Look once at what has ended, changed or can begin; whether a fit is running."""
        ended = [fit for fit, (job, _) in self.jobs.items() if job.poll() is not None]
        for fit in ended:
            self._end(fit)
        if not ended and self.fits.stamp() == self.seen:
            return bool(self.jobs)
        self.plan = self.fits.schedule()
        wanted = {one.fit for one in self.plan.waiting}
        for fit in [fit for fit in self.jobs if fit not in wanted and not fit.is_finished()]:  # those end by themselves
            self._stop(fit)
        ready = [
            one.fit for one in self.plan.waiting if not one.needs and one.fit not in self.jobs.keys() | self.failed
        ]
        if ready and len(self.jobs) < self.engine.workers and not self._time_is_up():
            with self.engine.together():
                for fit in ready:
                    if len(self.jobs) < self.engine.workers:
                        self._start(fit)
        self.seen = self.fits.stamp()
        return bool(self.jobs)

    def _time_is_up(self) -> bool:
        return self.engine.until is not None and time.time() > self.engine.until

    def stop_all(self) -> None:
        """Stop what is running."""
        for job, _ in self.jobs.values():
            job.interrupt()
        for fit in list(self.jobs):
            self._stop(fit)

    def _start(self, fit: Fit) -> None:
        log = queues.folder() / "logs" / f"{fit}.log".replace(" ", "-")
        about = _queued(fit, log)
        try:
            job = self.engine.start(fit, log)
        except UserError as error:
            self._fail(fit, log, str(error))
            return
        self.jobs[fit] = job, about
        self._note(lambda queue: {"running": (*queue.running, about)})
        self.say(f"{_clock()} {fit}: started, log in {log}")

    def _stop(self, fit: Fit) -> None:
        job, about = self.jobs.pop(fit)
        job.stop()
        self._note(lambda queue: {"running": _without(queue.running, about)})
        self.say(f"{_clock()} {fit}: stopped; {self.fits.again}")

    def _end(self, fit: Fit) -> None:
        job, about = self.jobs.pop(fit)
        code = job.poll()
        assert code is not None, "it has ended"
        self._note(lambda queue: {"running": _without(queue.running, about)})
        if code == 0 and fit.is_finished():
            self.say(f"{_clock()} {fit}: finished")
        elif code == TIME_IS_UP:
            self.say(f"{_clock()} {fit}: stopped after an epoch, as the time is up; the same command resumes it")
        elif is_lost(code) and (kills := self._count_kill(fit)) < MOST_KILLS:
            self.say(f"{_clock()} {fit}: {job.where} is gone ({kills}); it is resumed after its last epoch")
        else:
            log = Path(about.log)
            self._fail(fit, log, _gone(code) if is_lost(code) else last_line(log) or f"exit code {code}", job.where)

    def _count_kill(self, fit: Fit) -> int:
        """How often it was killed without having finished an epoch in between."""
        done = progress(fit, 0.0, Worth()).done
        times, epochs = self.kills.get(fit, (0, done))
        self.kills[fit] = (times + 1 if epochs == done else 1), done
        return self.kills[fit][0]

    def _fail(self, fit: Fit, log: Path, message: str, where: str = HERE) -> None:
        failure = _queued(fit, log, message)
        self.failed.add(fit)
        self._note(lambda queue: {"failed": (*queue.failed, failure)})
        place = "" if where == HERE else f" in {where}"
        self.say(f"{_clock()} {fit}: failed{place}: {failure.message}")

    def _note(self, update: Callable[[QueueRecord], dict[str, tuple[QueuedFit, ...]]]) -> None:
        self.fits.change(lambda queue: queue.model_copy(update=update(queue)))


def _gone(code: int) -> str:
    killed = f"killed {MOST_KILLS} times without an epoch in between"
    if code == STOPPED:
        return f"{killed} (asked to end), as by a cluster that cancels its jobs: give them more time"
    return f"{killed} (signal {-code}), mostly for want of memory: lower --workers or batch_size"


def _queued(fit: Fit, log: Path, message: str = "") -> QueuedFit:
    return QueuedFit(
        spec=fit.spec,
        seed=fit.seed,
        fold=fit.fold,
        minutes=fit.minutes,
        time=round(time.time(), 3),
        log=str(log),
        message=message,
    )


def _without(fits: tuple[QueuedFit, ...], one: QueuedFit) -> tuple[QueuedFit, ...]:
    return tuple(other for other in fits if other.fit != one.fit)


def last_line(log: Path) -> str:
    """What a process said last; an error without that word."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip().removeprefix("error: ") for line in reversed(lines) if line.strip()), "")


def _clock() -> str:
    return time.strftime("%H:%M:%S")
