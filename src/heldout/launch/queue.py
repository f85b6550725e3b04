"""The queue of trainings: what is to be trained, kept in ``working/queue/queue.json``. Free of torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.launch.plan import Fit
from heldout.records import Number, Record, read_record
from heldout.tasks import load_task

SCHEMA = 1


class QueueEntry(Record):
    """One experiment in the queue.

    Attributes:
        spec: The experiment.
        minutes: Training time of a fold that decides the number of epochs, or None.
        folds: Folds to train; None is what the experiment says.
        seeds: Seeds to train; None is what the experiment says.
        paused: Whether it waits until it is resumed.
        added: When.
    """

    spec: str
    minutes: Number | None = None
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    paused: bool = False
    added: str

    def fits(self) -> Iterator[Fit]:
        """The fits it asks for, seed by seed.

        Raises:
            UserError: the experiment is gone or damaged.
        """
        config = load_task(self.spec)
        for seed in config.seeds if self.seeds is None else self.seeds:
            for fold in config.fold_list if self.folds is None else self.folds:
                yield Fit(self.spec, seed, fold, self.minutes)


class QueuedFit(Record):
    """A running fit, or one that failed.

    Attributes:
        spec: The experiment.
        seed: Its seed.
        fold: The fold held out.
        minutes: Training time of the fold, or None.
        time: When it began, or failed; seconds since 1970.
        log: The file that holds what it printed.
        message: The last line of that, of a fit that failed.
    """

    spec: str
    seed: int
    fold: int
    minutes: Number | None = None
    time: Number
    log: str
    message: str = ""

    @property
    def fit(self) -> Fit:
        """The fit."""
        return Fit(self.spec, self.seed, self.fold, self.minutes)


class QueueRecord(Record):
    """The queue, ``queue.json``.

    Attributes:
        entries: What is to be trained, in the order in which it was added.
        running: Running fits; of a runner that was killed they are not.
        failed: Fits that failed since the runner was started.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    entries: tuple[QueueEntry, ...] = ()
    running: tuple[QueuedFit, ...] = ()
    failed: tuple[QueuedFit, ...] = ()


def folder() -> Path:
    """Where the queue and its logs lie."""
    return files.home() / "working" / "queue"


def runner_lock() -> contextlib.AbstractContextManager[None]:
    """Held by the process that runs the queue.

    Raises:
        UserError: another process runs it.
    """
    return files.lock(folder() / "runner", "running the queue")


def is_run() -> bool:
    """Whether a process runs the queue now."""
    try:
        with runner_lock():
            return False
    except UserError:
        return True


def read_queue() -> QueueRecord:
    """The queue as it is now; empty where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder() / "queue.json"
    if not path.exists():
        return QueueRecord()
    return read_record(path, QueueRecord, SCHEMA, "delete it and add the experiments again; no training is lost")


def change(edit: Callable[[QueueRecord], QueueRecord]) -> QueueRecord:
    """Change the queue; of several processes one after the other.

    Raises:
        UserError: the file is damaged, or ``edit`` refuses.
    """
    with files.lock(folder(), "changing the queue", wait=True):
        queue = edit(read_queue())
        files.write_json(folder() / "queue.json", queue.to_json())
    return queue


def add(
    spec: str,
    minutes: float | None = None,
    folds: tuple[int, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> QueueEntry:
    """Add an experiment, or folds and seeds to one that is in the queue; None means all of them.

    Returns:
        Its entry.
    """
    entry = QueueEntry(spec=spec, minutes=minutes, folds=folds, seeds=seeds, added=time.strftime("%F %T"))

    def edit(queue: QueueRecord) -> QueueRecord:
        nonlocal entry
        same = [other for other in queue.entries if (other.spec, other.minutes) == (spec, minutes)]
        for other in same:
            entry = entry.model_copy(
                update={"folds": _union(other.folds, entry.folds), "seeds": _union(other.seeds, entry.seeds)}
            )
        kept = tuple(other for other in queue.entries if other not in same)
        return queue.model_copy(update={"entries": (*kept, entry)})

    change(edit)
    return entry


def remove(spec: str) -> None:
    """Take an experiment out of the queue; what is trained of it stays.

    Raises:
        UserError: it is not in the queue.
    """

    def edit(queue: QueueRecord) -> QueueRecord:
        _check_queued(queue, spec)
        return queue.model_copy(update={"entries": tuple(one for one in queue.entries if one.spec != spec)})

    change(edit)


def pause(spec: str, paused: bool = True) -> None:
    """Pause an experiment, or resume it.

    Raises:
        UserError: it is not in the queue.
    """

    def edit(queue: QueueRecord) -> QueueRecord:
        _check_queued(queue, spec)
        entries = [one.model_copy(update={"paused": paused}) if one.spec == spec else one for one in queue.entries]
        return queue.model_copy(update={"entries": tuple(entries)})

    change(edit)


def _union(one: tuple[int, ...] | None, two: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if one is None or two is None else tuple(sorted({*one, *two}))


def _check_queued(queue: QueueRecord, spec: str) -> None:
    names = list(dict.fromkeys(entry.spec for entry in queue.entries))
    if spec not in names:
        known = f"it holds {', '.join(names)}" if names else "it is empty"
        raise UserError(f"{spec} is not in the queue: {known}; name one of those, or `queue add` it")
