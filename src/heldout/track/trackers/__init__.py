"""The trackers by name, each a module with ``check()`` and a class that :func:`open_tracker` makes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from heldout.errors import UserError
from heldout.track.subject import Point, Subject

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio", "tensorboard": "tensorboard"}


class TrackerRun(Protocol):
    """A run that is open in a tracker.

    Attributes:
        id: By which the tracker knows it.
    """

    id: str

    def log(self, points: Sequence[Point], axis: str) -> None:
        """Add points of losses and scores; ``axis`` is what their steps count."""

    def log_system(self, points: Sequence[Point]) -> None:
        """Add samples of the machine's use."""

    def settle(self, subject: Subject) -> None:
        """Set final values, tags, pictures and records; may be called again."""

    def close(self, *, finished: bool) -> None:
        """Let go of it."""


class Tracker(Protocol):
    """An experiment tracker.

    Attributes:
        destination: Where it keeps what it is sent, in words.
    """

    destination: str

    def open(self, subject: Subject, parent: str | None, known: str | None) -> TrackerRun:
        """Open a run.

        Args:
            subject: What it is about.
            parent: Id of the run that it belongs to.
            known: Id of the run that an earlier call opened; None makes one.
        """
        ...


def check_trackers(names: Iterable[str]) -> list[str]:
    """Names of trackers, each once.

    Raises:
        UserError: there is no such tracker, its package is not installed, or it lacks a setting.
    """
    found = list(dict.fromkeys(names))
    for name in found:
        if name not in PACKAGES:
            choices = ", ".join(PACKAGES)
            raise UserError(f"--track {name} is not known: choose of {choices}, and repeat --track for several")
        if importlib.util.find_spec(PACKAGES[name]) is None:
            extra = "trackio" if name == "trackio" else "heldout[track]"
            raise UserError(f"--track {name} needs a package that is not installed: pip install '{extra}'")
        _module(name).check()
    return found


def open_tracker(name: str, pid: int | None = None) -> Tracker:
    """The tracker of that name.

    Args:
        name: One of :data:`PACKAGES`.
        pid: The process that trains now; None where what is sent was made earlier.
    """
    tracker: Tracker = _module(name).open_tracker(pid)
    return tracker


def _module(name: str) -> Any:
    return importlib.import_module(f"heldout.track.trackers.to_{name}")
