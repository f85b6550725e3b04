"""Signals that ask a process to end. Each raises once; an error that comes after one is taken to be of its making."""

from __future__ import annotations

import os
import signal
import sys
import threading


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): not an error of what runs, and not to be handled by it."""


_came: list[int] = []


def heed() -> None:
    """Let SIGTERM raise :class:`Terminated` and SIGINT :class:`KeyboardInterrupt`, from now on and in every thread.

    A SIGINT that whoever started the process chose to ignore stays ignored.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.default_int_handler):
        signal.signal(signal.SIGINT, _stop)
    sys.unraisablehook = _send_again


def exit_quietly(code: int) -> None:
    """Where a signal comes from now on, end with this exit code: what ran is over, and nothing would catch an error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(code))


def came() -> int | None:
    """Number of the signal that asked this process to end, or None.

    What it raised may have been lost: a library may catch everything, and one in C++ turns it into an error of its own.
    """
    return _came[0] if _came else None


def _stop(number: int, frame: object) -> None:  # noqa: ARG001 - what a handler of signals takes
    _came.append(number)
    # loading processes may end as well: torch would call that an error
    signal.signal(signal.SIGCHLD, lambda *_: None)  # not SIG_DFL: Python complains where a signal is on its way
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _send_again(ignored: sys.UnraisableHookArgs) -> None:
    """Where a signal came while Python could raise nothing, as in a finalizer, send it once more."""
    number = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(ignored.exc_type)
    if number is None:
        sys.__unraisablehook__(ignored)
        return
    timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
