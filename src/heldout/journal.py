"""Trials of a search on disk, so that a search that was stopped resumes where it was.

The file is an Optuna journal: one line of JSON per entry, which Optuna's own tools read too. A trial is written when it
is finished, in one line, so that none is ever left running. A line cut off by a kill or a full disk is taken away by
whoever writes next; Optuna alone could neither read nor continue such a file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heldout import claims
from heldout.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Direction = Literal["maximize", "minimize"]
_TAIL = 1 << 16
_NO_JOURNAL = (ValueError, KeyError, TypeError, AttributeError, AssertionError)  # of Optuna, where a line is none
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Journal:
    """The searches of one file.

    Args:
        path: The file; made with the first search where missing.
        identity: What the searches depend on, as text. Searches of another identity are kept, and never continued.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def record(self, part: str, direction: Direction) -> TrialStore:
        """The trials of one search; see :class:`TrialStore`."""
        return TrialStore(self.path, f"{self.identity[:16]} {part}", direction)


def latest_trials(path: Path) -> list[FrozenTrial]:
    """Trials of the search that a journal was last written by, in order; nothing is written or locked.

    Raises:
        UserError: the journal is damaged, or no journal.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if not path.exists():
        return []
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        names = [study.study_name for study in storage.get_all_studies()]
        loaded = [optuna.load_study(study_name=name, storage=storage) for name in names]
        searches = [found for study in loaded if (found := study.get_trials(deepcopy=False))]
        return max(searches, key=lambda trials: ended_at(trials[-1]), default=[])
    except _NO_JOURNAL:
        raise _damaged(path) from None


def ended_at(trial: FrozenTrial) -> float:
    """When a trial was recorded; seconds since 1970."""
    assert trial.datetime_complete is not None, "only trials that ended are recorded"
    return trial.datetime_complete.timestamp()


class TrialStore:
    """Finished trials of one search, shared by all processes that work on it.

    Args:
        path: The journal.
        name: Name of the search.
        direction: ``maximize`` or ``minimize``.

    Raises:
        UserError: the journal is damaged, or no journal, or the disk is full.
    """

    def __init__(self, path: Path, name: str, direction: Direction) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        self.path, self.name, self.direction = path, name, direction
        self._writer = uuid.uuid4().hex
        self._read = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _WriteLock(path)
        lock.acquire()
        lock.release()
        try:
            _check_last_line(path)
            with _explained(path):
                backend = JournalFileBackend(str(path), lock_obj=lock)  # type: ignore[arg-type]  # its base is private
                storage = JournalStorage(backend)
                if name in [study.study_name for study in storage.get_all_studies()]:
                    self._study = optuna.load_study(storage=storage, study_name=name)
                else:
                    self._study = optuna.create_study(storage=storage, study_name=name, direction=direction)
            trials = self._study.get_trials(deepcopy=False)
            optuna.create_study(direction=direction).add_trials(trials)  # refuses what cannot be a trial
            if not all(trial.state.is_finished() for trial in trials):
                raise ValueError("only trials that ended are recorded")
        except _NO_JOURNAL:
            raise _damaged(path) from None

    def trials(self) -> list[FrozenTrial]:
        """All finished trials in the order in which they were recorded."""
        return self._study.get_trials(deepcopy=False)

    def new(self) -> list[FrozenTrial]:
        """Trials that others recorded since the last call; the first call gives those of earlier runs."""
        trials = self.trials()
        new = [trial for trial in trials[self._read :] if trial.user_attrs.get("writer") != self._writer]
        self._read = len(trials)
        return new

    def add(self, trial: FrozenTrial) -> None:
        """Record a trial that is complete, pruned or failed, durably.

        Raises:
            UserError: the disk is full.
        """
        import optuna

        # What a sampler remembers stays out: it can be computed again, and some of it is pickled code.
        finished = optuna.trial.create_trial(
            state=trial.state,
            value=trial.value,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
            user_attrs={**trial.user_attrs, "writer": self._writer},
        )
        with _explained(self.path):
            self._study.add_trial(finished)


class _WriteLock:
    """What Optuna holds while it appends: a lock that dies with its process, under which the file's end is fixed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: Any = None
        self._claim = ExitStack()

    def acquire(self) -> bool:
        if not claims.locks_hold(self._path.parent):
            claim = self._path.with_name(f".{self._path.name}.holder")
            self._claim.enter_context(claims.claimed(claim, "a search", wait=True))
        handle = open(self._path.with_name(f".{self._path.name}.lock"), "a")  # noqa: SIM115 - closed by release
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _cut_torn_line(self._path)
        except BaseException:
            handle.close()
            self._claim.close()
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        self._handle.close()
        self._handle = None
        self._claim.close()


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged or not the journal of a search: delete it and run the command again")


def append_line(path: Path, text: str) -> None:
    """Append a line to a file durably, beside other processes; what a killed writer left of a line is taken away.

    Raises:
        UserError: the disk is full.
    """
    lock = _WriteLock(path)
    lock.acquire()
    try:
        with _explained(path), open(path, "ab") as handle:
            handle.write(text.encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())
    finally:
        lock.release()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(
            f"the disk is full, so {path} cannot grow: free some space and run the command again; finished trials are "
            "kept"
        ) from None


def _check_last_line(path: Path) -> None:
    """Raise ValueError where the last line is not JSON: the one line about which Optuna does not complain."""
    for line in path.read_bytes().splitlines()[-1:] if path.exists() else []:
        json.loads(line)


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last line break."""
    with suppress(FileNotFoundError), open(path, "r+b") as handle:
        end = size = handle.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _TAIL)
            handle.seek(start)
            found = handle.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            handle.truncate(end)
