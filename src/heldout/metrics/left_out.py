"""Scores without each patient in turn, in blocks that several processes or machines can share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heldout.metrics.registry import get_metric
from heldout.metrics.tables import Columns

MOST_GROUPS = 1000  # of more patients several are left out at a time
_CHUNK = 4_000_000  # weights held at once: 16 MB
_OWN_GROUPS = 8  # that a function of the user's leaves out at once, which may take long


@dataclass(frozen=True)
class LeftOut:
    """What every case counts when each group of patients is left out in turn.

    A group is one patient; more than :data:`MOST_GROUPS` patients are dealt into groups at random, always alike. Groups
    are left out in blocks, whose bounds depend on the cases alone: last bits change with the size of a block.

    Attributes:
        patients: (n,) patient of every case.
        most: Most groups of a block.
    """

    patients: np.ndarray
    most: int = MOST_GROUPS

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self._group[1] // self._step)

    def weights(self, block: int) -> np.ndarray:
        """(some groups, n) float32 array of 0 and 1."""
        group, count = self._group
        first = block * self._step
        return (group != np.arange(first, min(first + self._step, count))[:, None]).astype(np.float32)

    @cached_property
    def _group(self) -> tuple[np.ndarray, int]:
        names, patient = np.unique(self.patients.astype(str), return_inverse=True)
        group = (np.random.default_rng(0).permutation(len(names)) % MOST_GROUPS)[patient]
        return group, min(len(names), MOST_GROUPS)

    @property
    def _step(self) -> int:
        return max(1, min(self.most, _CHUNK // max(1, len(self.patients))))


@dataclass(frozen=True)
class ScoresLeftOut:
    """Scores of tables of the same cases without each group of patients, block by block.

    Attributes:
        metric: Name of the score.
        rows: Columns of every table.
        patients: (n,) patient of every case.
    """

    metric: str
    rows: tuple[Columns, ...]
    patients: np.ndarray

    @cached_property
    def left_out(self) -> LeftOut:
        """The groups."""
        return LeftOut(self.patients, _OWN_GROUPS if self.is_own else MOST_GROUPS)

    @property
    def is_own(self) -> bool:
        """Whether a function of the user's scores them; the others take milliseconds."""
        return bool(get_metric(self.metric).code)

    def block(self, number: int) -> np.ndarray:
        """(tables, groups of the block) scores."""
        return get_metric(self.metric).evaluate_rows(self.rows, self.left_out.weights(number))


_elsewhere: list[Callable[[ScoresLeftOut], Iterable[np.ndarray]]] = []  # none, or one


def score_blocks_by(work: Callable[[ScoresLeftOut], Iterable[np.ndarray]]) -> None:
    """Let several processes or machines score the blocks of a user's own metric.

    Args:
        work: Returns :meth:`ScoresLeftOut.block` of every block in order.
    """
    _elsewhere[:] = [work]


def score_blocks(work: ScoresLeftOut) -> Iterable[np.ndarray]:
    """:meth:`ScoresLeftOut.block` of every block in order."""
    return _elsewhere[0](work) if _elsewhere and work.is_own else map(work.block, range(work.left_out.blocks))
