"""The state of an unfinished fold: everything that the next epoch depends on, in one atomic file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from heldout import files
from heldout.errors import UserError
from heldout.train.history import EpochRow
from heldout.train.record import MinedRecord


class Stateful(Protocol):
    """A network, an optimizer, a schedule, ..."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Continue from it."""


@dataclass
class Progress:
    """How far a fold has come.

    Attributes:
        epoch: Finished epochs.
        rows: The finished epochs.
        best_score: Best score of a validation so far.
        best_epoch: The epoch it followed, counted from 1.
        stale: Validations since then.
        best: Averaged weights after that epoch; kept for ``checkpoint = "best"`` only.
        mined: What is on record of each choice of hard negatives.
    """

    epoch: int = 0
    rows: list[EpochRow] = field(default_factory=list)
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0
    best: dict[str, torch.Tensor] | None = None
    mined: list[MinedRecord] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Training time of the finished epochs, validations included."""
        return math.fsum(row.seconds for row in self.rows)

    def add_score(self, score: float, epoch: int, higher_is_better: bool) -> bool:
        """Take note of a validation; a score of NaN is never better.

        Returns:
            Whether it is the best so far.
        """
        sign = 1 if higher_is_better else -1
        better = not math.isnan(score) and (self.best_score is None or sign * score > sign * self.best_score)
        if better:
            self.best_score, self.best_epoch, self.stale = score, epoch, 0
        else:
            self.stale += 1
        return better


def save(path: Path, progress: Progress, parts: dict[str, Stateful]) -> None:
    """Write the state atomically."""
    rows, mined = [vars(row) for row in progress.rows], [one.to_json() for one in progress.mined]
    state = {"schema": 1, "progress": {**vars(progress), "rows": rows, "mined": mined}}
    with files.atomic(path) as handle:
        torch.save({**state, "parts": {name: part.state_dict() for name, part in parts.items()}}, handle)


def load(path: Path, parts: dict[str, Stateful]) -> Progress:
    """Fill ``parts`` from the file, or leave them fresh where there is none.

    Raises:
        UserError: the file cannot be read, or is of another network.
    """
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        stored = state["progress"]
        rows = [EpochRow.of(one) for one in stored["rows"]]
        mined = [MinedRecord.model_validate(one) for one in stored["mined"]]
        return Progress(**{**stored, "rows": rows, "mined": mined})
    except Exception as error:  # torch reports a damaged file in a dozen ways
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be resumed ({first}): delete it, and the fold starts again") from None
