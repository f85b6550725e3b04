"""The searches of a blend on disk; see :mod:`heldout.train.journal`."""

from __future__ import annotations

from pathlib import Path

from heldout.train.journal import Record

__all__ = ["Journal", "Record"]


class Journal:
    """Searches of one blend.

    Args:
        path: The file; made with the first trial's study where missing.
        identity: What the searches depend on, as text. Searches of another identity are kept, and never continued.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def record(self, part: str, direction: str) -> Record:
        """The trials of the search on one part of the cases; see :class:`Record`."""
        return Record(self.path, f"{self.identity[:16]} {part}", direction)
