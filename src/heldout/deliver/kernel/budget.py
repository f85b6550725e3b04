"""Does a kernel finish in time? What the replay measured, times the cases to expect, against the limits."""

from __future__ import annotations

from dataclasses import dataclass

from heldout.deliver.kernel.replay import Replay
from heldout.deliver.kernel.rsna2025.server import SECONDS_PER_CALL

HOURS = 12.0  # Kaggle's limit for a notebook


@dataclass(frozen=True)
class Budget:
    """The time of a kernel on a machine like the one it was replayed on.

    Attributes:
        replay: What was measured.
        cases: Cases to expect.
        hours: The limit for all of them.
        per_call: Seconds that the answer for one case may take; None where there is no such limit.
    """

    replay: Replay
    cases: int
    hours: float = HOURS
    per_call: float | None = None

    @property
    def expected_hours(self) -> float:
        """Time for all cases, start included."""
        return (self.replay.start_seconds + self.cases * self.replay.seconds_per_case) / 3600

    @property
    def fits(self) -> bool:
        """Whether both limits are kept."""
        return self.expected_hours <= self.hours and (self.per_call is None or self.replay.slowest <= self.per_call)

    def __str__(self) -> str:
        """The sum in words."""
        text = (
            f"{self.cases:,} cases at {self.replay.seconds_per_case:.2f} s, and {self.replay.start_seconds:.0f} s to "
            f"start: {self.expected_hours:.2f} h of {self.hours:g} h"
        )
        if self.per_call is not None:
            text += f"; the slowest answer took {self.replay.slowest:.1f} s of {self.per_call:,.0f} s"
        return f"{text}: {'fits' if self.fits else 'does not fit'} a machine as fast as this one"


def limits(mode: str, hours: float | None) -> tuple[float, float | None]:
    """Hours and seconds per call of a mode: those of RSNA 2025 where a server answers, Kaggle's own otherwise."""
    return HOURS if hours is None else hours, SECONDS_PER_CALL if mode == "server" else None
