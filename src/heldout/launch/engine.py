"""What an engine must do: start a fit somewhere, tell whether it has ended, and stop it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from heldout.launch.plan import Fit


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
    """

    workers: int

    def start(self, fit: Fit, log: Path) -> Job:
        """Start a fit, or resume it; what it prints is appended to ``log``."""
        ...
