"""Memory that read cases may take together, so that a full queue of volumes does not fill the machine."""

from __future__ import annotations

import threading


class Room:
    """A number of bytes. Whoever waits reads one more case once fewer are taken, however large the case is.

    Args:
        size: The number.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken = 0
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Wait for room."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self.size)

    def take(self, size: int) -> None:
        """Take some bytes."""
        with self._changed:
            self._taken += size

    def give(self, size: int) -> None:
        """Give them back."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()
