"""Signals that ask a process to end. Each raises once; an error that comes after one is taken to be of its making.

What a signal raises may be lost: Python swallows it in a finalizer, a library may catch everything, and one in C++
turns it into an error of its own. It is raised again then.
"""

from __future__ import annotations

import os
import signal
import sys

PATIENCE = 5.0  # seconds until what a signal raised is looked for; it is lost where no code is handling it
AT_ONCE = 0.05  # seconds, where Python says that it is lost


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): not an error of what runs, and not to be handled by it."""


_came: list[int] = []


def heed() -> None:
    """Let SIGTERM raise :class:`Terminated` and SIGINT :class:`KeyboardInterrupt`, from now on.

    A SIGINT that whoever started the process chose to ignore stays ignored.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.default_int_handler):
        signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGALRM, _insist)  # a timer of the system: a thread could wait for what is interrupted
    sys.unraisablehook = _insist_soon


def arrived() -> None:
    """What a signal raised has ended the work: it is not raised again."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def exit_quietly(code: int) -> None:
    """Where a signal comes from now on, end with this exit code: what ran is over, and nothing would catch an error."""
    arrived()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(code))


def came() -> int | None:
    """Number of the signal that asked this process to end, or None."""
    return _came[0] if _came else None


def _stop(number: int, frame: object) -> None:  # noqa: ARG001 - what a handler of signals takes
    _came.append(number)
    # loading processes may end as well: torch would call that an error
    signal.signal(signal.SIGCHLD, lambda *_: None)  # not SIG_DFL: Python complains where a signal is on its way
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, PATIENCE)
    raise _error(number)


def _error(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def _insist(number: int, frame: object) -> None:  # noqa: ARG001 - what a handler of signals takes
    """Raise once more what a signal raised, unless it is being handled."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt | Terminated):
            return
        error = error.__context__
    if _came:
        raise _error(_came[-1])


def _insist_soon(ignored: sys.UnraisableHookArgs) -> None:
    """Where a signal came while Python could raise nothing, as in a finalizer, raise it once more."""
    if ignored.exc_type in (Terminated, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AT_ONCE, PATIENCE)
    else:
        sys.__unraisablehook__(ignored)
