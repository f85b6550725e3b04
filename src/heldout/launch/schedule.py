"""What the queue does next: the missing fits of its entries, by expected gain an hour. Free of torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from heldout.errors import UserError
from heldout.launch.lengths import epoch_seconds, expected_minutes
from heldout.launch.plan import Fit, missing
from heldout.launch.queue import QueueEntry, QueueRecord
from heldout.launch.worth import Worth, Worths


@dataclass(frozen=True)
class Waiting:
    """A missing fit.

    Attributes:
        fit: The fit.
        needs: Missing fits that must be finished before.
        worth: What it may gain, and how long it takes.
    """

    fit: Fit
    needs: tuple[Fit, ...]
    worth: Worth


@dataclass(frozen=True)
class Schedule:
    """The missing fits of the queue.

    Attributes:
        waiting: In the order in which they are to be trained: what is not known first, then by gain an hour, then as
            added; but each after what it needs.
        paused: Those of paused experiments.
        problems: Experiments that cannot be planned, each with the reason.
    """

    waiting: tuple[Waiting, ...]
    paused: tuple[Waiting, ...]
    problems: dict[str, str]


def schedule(queue: QueueRecord) -> Schedule:
    """Order what the queue asks for."""
    worths, problems = Worths(), {}

    def order(entries: Sequence[QueueEntry]) -> tuple[Waiting, ...]:
        wanted: list[tuple[tuple[int, float], Fit]] = []
        for entry in entries:
            try:
                wanted += [(_worth(fit, worths).rank, fit) for fit in entry.fits()]
            except UserError as error:
                problems[entry.spec] = str(error)
        found: dict[Fit, Waiting] = {}
        for _, fit in sorted(wanted, key=lambda pair: pair[0]):
            try:
                for one in missing(fit):
                    needs = tuple(need for need in one.needs() if not need.is_finished())
                    found.setdefault(one, Waiting(one, needs, _worth(one, worths)))
            except UserError as error:
                problems[fit.spec] = str(error)
        return tuple(found.values())

    waiting = order([entry for entry in queue.entries if not entry.paused])
    known = {one.fit for one in waiting}
    paused = order([entry for entry in queue.entries if entry.paused])
    return Schedule(waiting, tuple(one for one in paused if one.fit not in known), problems)


def missing_fits(entries: Sequence[QueueEntry]) -> list[Fit]:
    """All fits that are missing of experiments and of what they depend on.

    Raises:
        UserError: as :func:`heldout.launch.plan.missing`.
    """
    return list(dict.fromkeys(one for entry in entries for fit in entry.fits() for one in missing(fit)))


def _worth(fit: Fit, worths: Worths) -> Worth:
    config = fit.config()
    found = Worth() if config is None else worths.of(config.spec)
    if found.minutes is not None:
        return found
    if fit.minutes is not None or config is None:
        return replace(found, minutes=fit.minutes)
    return replace(found, minutes=expected_minutes(config))


@dataclass(frozen=True)
class FitProgress:
    """How far a running fit has come.

    Attributes:
        epochs: Of the whole training; None while its number is measured.
        done: Epochs that are finished.
        seconds: Time that is left; None while nothing tells.
    """

    epochs: int | None
    done: int
    seconds: float | None


def progress(fit: Fit, begun: float, worth: Worth) -> FitProgress:
    """How far a running fit has come, by its learning curve, else by how long earlier ones took.

    Args:
        fit: The fit.
        begun: When its process was started; seconds since 1970.
        worth: How long such a fit takes.
    """
    config, folder = fit.config(), fit.folder()
    if config is None or folder is None:
        return FitProgress(None, 0, None)
    if times := epoch_seconds(folder):
        since = max(0.0, time.time() - max(begun, (folder / "metrics.csv").stat().st_mtime))
        return FitProgress(config.epochs, len(times), max(0.0, (config.epochs - len(times)) * fmean(times) - since))
    left = None if worth.minutes is None else max(0.0, 60 * worth.minutes - (time.time() - begun))
    return FitProgress(config.epochs, 0, left)
