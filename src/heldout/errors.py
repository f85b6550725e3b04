"""What a user is told besides results: the errors to fix, and notes on the standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

from heldout.escape import visible


class UserError(Exception):
    """A mistake the user can fix: one sentence naming the file or field and the remedy.

    The command line prints it without a traceback and exits with code 2.

    Args:
        sentence: The sentence.
        details: Lines to show below it, such as a diff.
    """

    def __init__(self, sentence: str, details: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.details = tuple(details)


class InUse(UserError):  # noqa: N818 - the name says what happened
    """A folder that another process holds."""


class Diverged(UserError):  # noqa: N818 - the name says what happened
    """A network whose loss, weights or predictions are not finite."""


@cache
def note(text: str) -> None:
    """Print one line on the standard error, once for each text."""
    print(f"note: {visible(text)}", file=sys.stderr)
