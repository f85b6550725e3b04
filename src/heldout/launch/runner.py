"""Runs the queue on an engine until nothing is left that can be trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from heldout.launch import queue as queues
from heldout.launch.engine import TIME_IS_UP, Engine, Job
from heldout.launch.plan import Fit
from heldout.launch.queue import QueuedFit, QueueRecord
from heldout.launch.schedule import Schedule, schedule

POLL_SECONDS = 0.3

Say = Callable[[str], None]


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
        runner = _Runner(engine, say, only)
        try:
            while runner.step():
                time.sleep(POLL_SECONDS)
        finally:
            runner.stop_all()
        for spec, reason in runner.plan.problems.items():
            say(f"{spec} cannot be planned: {reason}")
    return queues.read_queue().failed


class _Runner:
    """The running fits, and what comes next."""

    def __init__(self, engine: Engine, say: Say, only: Collection[str] | None) -> None:
        self.engine, self.say, self.only = engine, say, only
        self.jobs: dict[Fit, tuple[Job, QueuedFit]] = {}
        self.failed: set[Fit] = set()
        self.seen = -1
        self.plan = Schedule((), (), {})

    def step(self) -> bool:
        """Look once at what has ended, changed or can begin; whether a fit is running."""
        ended = [fit for fit, (job, _) in self.jobs.items() if job.poll() is not None]
        for fit in ended:
            self._end(fit)
        changed = (queues.folder() / "queue.json").stat().st_mtime_ns
        if not ended and changed == self.seen:
            return bool(self.jobs)
        self.plan = schedule(self._read())
        wanted = {one.fit for one in self.plan.waiting}
        for fit in [fit for fit in self.jobs if fit not in wanted]:
            self._stop(fit)
        for one in self.plan.waiting:
            if len(self.jobs) == self.engine.workers or self._time_is_up():
                break
            if not one.needs and one.fit not in self.jobs and one.fit not in self.failed:
                self._start(one.fit)
        self.seen = (queues.folder() / "queue.json").stat().st_mtime_ns
        return bool(self.jobs)

    def _read(self) -> QueueRecord:
        queue = queues.read_queue()
        if self.only is None:
            return queue
        return queue.model_copy(update={"entries": tuple(one for one in queue.entries if one.spec in self.only)})

    def _time_is_up(self) -> bool:
        return self.engine.until is not None and time.time() > self.engine.until

    def stop_all(self) -> None:
        """Stop what is running."""
        for fit in list(self.jobs):
            self._stop(fit)

    def _start(self, fit: Fit) -> None:
        log = queues.folder() / "logs" / f"{fit}.log".replace(" ", "-")
        about = _queued(fit, log)
        self.jobs[fit] = self.engine.start(fit, log), about
        _note(lambda queue: {"running": (*queue.running, about)})
        self.say(f"{_clock()} {fit}: started, log in {log}")

    def _stop(self, fit: Fit) -> None:
        job, about = self.jobs.pop(fit)
        job.stop()
        _note(lambda queue: {"running": _without(queue.running, about)})
        self.say(f"{_clock()} {fit}: stopped; `queue run` resumes it")

    def _end(self, fit: Fit) -> None:
        job, about = self.jobs.pop(fit)
        _note(lambda queue: {"running": _without(queue.running, about)})
        if job.poll() == 0 and fit.is_finished():
            self.say(f"{_clock()} {fit}: finished")
            return
        if job.poll() == TIME_IS_UP:
            self.say(f"{_clock()} {fit}: stopped after an epoch, as the time is up; the same command resumes it")
            return
        failure = _queued(fit, Path(about.log), _last_line(Path(about.log)) or f"exit code {job.poll()}")
        self.failed.add(fit)
        _note(lambda queue: {"failed": (*queue.failed, failure)})
        self.say(f"{_clock()} {fit}: failed: {failure.message}")


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


def _note(update: Callable[[QueueRecord], dict[str, tuple[QueuedFit, ...]]]) -> None:
    queues.change(lambda queue: queue.model_copy(update=update(queue)))


def _without(fits: tuple[QueuedFit, ...], one: QueuedFit) -> tuple[QueuedFit, ...]:
    return tuple(other for other in fits if other.fit != one.fit)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip().removeprefix("error: ") for line in reversed(lines) if line.strip()), "")


def _clock() -> str:
    return time.strftime("%H:%M:%S")
