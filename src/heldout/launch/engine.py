"""What an engine must do: start a fit somewhere, tell whether it has ended, and stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from heldout.launch.plan import Fit

TIME_IS_UP = 3  # exit code of a fit that stopped after an epoch, and can be resumed


class Job(Protocol):
    """A running fit."""

    def poll(self) -> int | None:
        """Its exit code; None while it works."""
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

    def start(self, fit: Fit, log: Path) -> Job:
        """Start a fit, or resume it; what it prints is appended to ``log``."""
        ...
