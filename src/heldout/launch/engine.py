"""What an engine must do: start a fit somewhere, tell whether it has ended, and stop it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from heldout.errors import UserError
from heldout.launch.plan import Fit
from heldout.train import numerics

TIME_IS_UP = 3  # exit code of a fit that stopped after an epoch, and can be resumed
STOPPED = 130  # exit code of a process that was asked to end
HERE = "its process"  # where a fit runs on this machine


class Job(Protocol):
    """A running fit; ``where`` names what is gone when it was killed."""

    @property
    def where(self) -> str:
        """What it runs in."""
        ...

    def poll(self) -> int | None:
        """Its exit code; None while it works, negative where its process or its node is gone."""
        ...

    def interrupt(self) -> None:
        """Ask it to end, keeping what is on the disk; returns at once."""
        ...

    def stop(self) -> None:
        """End it, keeping what is on the disk; returns when it has ended."""
        ...


class Engine(Protocol):
    """Where fits are trained.

    Attributes:
        workers: How many fits it trains at once.
        until: When fits stop after their current epoch and no other one starts, in seconds since 1970; None is never.
    """

    workers: int
    until: float | None

    def together(self) -> AbstractContextManager[None]:
        """Fits that are started within are handed over at once, where the engine can."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Give back what it holds, once nothing runs."""
        return

    def start(self, fit: Fit, log: Path) -> Job:
        """Start a fit, or resume it; what it prints is appended to ``log``.

        Raises:
            UserError: the fit needs what the engine cannot give it.
        """
        ...

    def start_command(self, what: str, command: Sequence[str], log: Path) -> Job:
        """Start something else than a fit, with the engine's share of the cores, where this folder is seen.

        Args:
            what: Named where there is no room for it.
            command: What to call, without the name of the interpreter.
            log: File that what it prints is appended to.

        Raises:
            UserError: it needs what the engine cannot give it.
        """
        ...


def is_lost(code: int) -> bool:
    """Whether a job has ended by no doing of its own or of this command: it is worth another start.

    Its process or node is gone, or somebody else asked it to end, as a cluster does that preempts or cancels it.
    """
    return code < 0 or code == STOPPED


def threads_of(fit: Fit, share: int | None) -> int | None:
    """CPU threads that a fit is given: those that its run has, else its share of the machine; None leaves it as it is.

    Raises:
        UserError: the experiment is gone, or a record is damaged.
    """
    config, folder = fit.config(), fit.folder()
    recorded = None if config is None or folder is None else numerics.fit_threads(config, folder)
    return share if recorded is None else recorded


def refuse_threads(fit: Fit, threads: int, workers: int, cores: int, where: str) -> None:
    """Refuse threads that would not have a core each, which makes every fit several times slower.

    One fit alone may have more threads than there are cores, as when a run is continued on a smaller machine.

    Raises:
        UserError: they do not.
    """
    if workers > 1 and workers * threads > cores:
        raise UserError(
            f"{fit} has {threads} threads, and {workers} of such fits at once need {workers * threads} cores where "
            f"{where} has {cores}: set --workers {max(1, cores // threads)}, or train it apart with --set threads="
            f"{max(1, cores // workers)}"
        )
