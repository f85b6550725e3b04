"""The commands: ``python run.py --help``. Each is a few lines over the rooms; heavy imports happen inside them."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from heldout import files, signals
from heldout.cli.shared import app, enter_project
from heldout.errors import UserError, note
from heldout.escape import visible

_UsageError: Any = typer.BadParameter.__bases__[0]  # of the click that typer uses, its own or the package

# What a signal that ends a command is called, and its exit code.
_STOPPED = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}

# Read by libraries when they are imported, and therefore set before any is.
_ENVIRONMENT = {
    # It would otherwise ask the network, and wait for it where there is none.
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # Threads that wait give their core to whoever has work: data loading, or another run. Spinning made training on
    # two busy cores two to three times slower.
    "OMP_WAIT_POLICY": "passive",
    # It would otherwise search all installed packages for plugins, in every command.
    "PYDANTIC_DISABLE_PLUGINS": "1",
}
_MENDABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG),
    errno.EEXIST,
}

_RENAMED = {"--look-again": "--repeat"}  # options by their earlier name

# Commands and groups of every module, in the order of --help; only the module of the command at hand is imported.
_COMMANDS = {
    "start": ("start",),
    "demo": ("demo",),
    "init": ("init",),
    "doctor": ("doctor",),
    "experiments": ("experiments", "fields", "check", "new"),
    "training": ("train", "folds"),
    "plan": ("plan", "worth"),
    "queue": ("queue",),
    "decisions": ("blend", "accept", "freeze", "test", "submit", "predict", "overlay"),
    "scores": ("evaluate",),
    "exchange": ("import-oof", "export-oof"),
    "kernels": ("kernel", "collect", "push", "check-submission"),
    "serve": ("serve", "bundle", "corrections"),
    "registry": ("registry",),
    "reports": (
        *("leaderboard", "bench", "lb", "results", "report", "ablate", "card", "uncertainty", "explain", "profile"),
    ),
    "datasets": ("download", "pack", "unpack", "pseudo"),
    "search": ("search",),
    "full": ("full",),
    "track": ("track",),
}


def import_commands(name: str = "") -> None:
    """Import what holds a command, so that it can be run; of no name, or of an unknown one, all commands."""
    for module in [module for module, names in _COMMANDS.items() if name in names] or _COMMANDS:
        importlib.import_module(f"heldout.cli.{module}")


def main(project: Path | None = None) -> None:
    """Run the command line and exit: 0 done, 2 the user can fix it, 130 interrupted, 143 terminated.

    Args:
        project: Folder of ``exps/``, of a ``run.py``; None takes the nearest one above the current folder.
    """
    enter_project(project or files.project())
    # libraries create some 600,000 lasting objects when they are imported, which would be searched again and again
    gc.set_threshold(100_000, 20, 100)
    signals.heed()
    code = run(sys.argv[1:])
    with contextlib.suppress(OSError):  # told again where Python ends
        sys.stdout.flush()
    signals.exit_quietly(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; a user's mistake becomes one line on the standard error."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with _home(arguments):
            return execute(arguments)
    except signals.Terminated:
        number = int(signal.SIGTERM)
    except KeyboardInterrupt:
        number = int(signal.SIGINT)
    except Exception as error:
        came = signals.came()
        if came is None:
            return _explain(error)
        number = came
    signals.arrived()
    gc.collect()  # what was interrupted, and what holds it, is let go: progress bars are drawn a last time then
    return _end(number)


@contextlib.contextmanager
def _home(arguments: Sequence[str]) -> Iterator[None]:
    """Where ``HELDOUT_HOME`` is an address, fetch what is finished there before a command, and send it after one."""
    if "://" not in os.environ.get("HELDOUT_HOME", "") or "--help" in arguments or not arguments:
        yield
        return
    from heldout import remote

    address = remote.enter()
    assert address is not None, "it is one"
    try:
        for folder in remote.pull(address):
            note(f"fetched {folder}")
        try:
            yield
        finally:
            for folder in remote.push(address):
                note(f"sent {folder}")
    finally:
        os.environ["HELDOUT_HOME"] = address


def _end(number: int) -> int:
    """What a signal asked for: the processes that work on cases would wait for more."""
    if "heldout.data.parallel" in sys.modules:
        from heldout.data.parallel import end_processes

        end_processes()
    word, code = _STOPPED[signal.Signals(number)]
    print(f"{word}: everything finished is kept, and the same command resumes", file=sys.stderr)
    return code


def _explain(error: Exception) -> int:
    """One line for what the user can fix; anything else is raised."""
    if isinstance(error, UserError):
        return _complain(str(error), error.details)
    if isinstance(error, BrokenPipeError):  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError):
        if error.errno in files.FULL:
            return _complain("the disk is full: free some space and run the command again; nothing is half-written")
        if error.filename is not None and error.errno in _MENDABLE:
            return _complain(f"{error.filename}: {os.strerror(error.errno)}; check the path and its permissions")
    raise error


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever goes wrong is raised, so that commands can run commands.

    Raises:
        UserError: a mistake the user can fix, one in the arguments included.
        KeyboardInterrupt: the user stopped it.
    """
    arguments = sorted(map(_today, arguments), key=lambda word: word != "--plain")  # it may stand anywhere
    arguments = arguments or ["--help"]
    first = arguments.count("--plain")
    if re.match(r"exp\d|.*\.py$", "".join(arguments[first : first + 1])):
        arguments.insert(first, "train")
    import_commands("".join(arguments[first : first + 1]))
    try:
        name = "heldout" if Path(sys.argv[0]).name == "heldout" else "python run.py"  # by which a shell completes
        if name != "heldout" and any(word.endswith("-completion") for word in arguments[:1]):
            raise UserError(
                "shells complete the command heldout, not run.py: install it with `pip install -e .`, then run "
                "`heldout --install-completion`"
            )
        code = app(arguments, prog_name=name, standalone_mode=False, obj=execute)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.Exit as stop:
        code = stop.exit_code
    except _UsageError as error:
        raise UserError(_usage(error)) from None
    if code == _STOPPED[signal.SIGINT][1]:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _today(word: str) -> str:
    """An option under today's name, with a note where the earlier one was used."""
    name, sign, value = word.partition("=")
    if name not in _RENAMED:
        return word
    note(f"{name} is now called {_RENAMED[name]}")
    return f"{_RENAMED[name]}{sign}{value}"


def _usage(error: Any) -> str:
    """One sentence for a mistake in the arguments."""
    command = getattr(getattr(error, "ctx", None), "command_path", "python run.py")
    text = error.format_message().strip().rstrip(".") or "missing command"  # of a group, whose help is printed
    return f"{text[0].lower()}{text[1:]}: see `{command} --help`"


def _complain(message: str, details: Sequence[str] = ()) -> int:
    print(f"error: {visible(message)}", file=sys.stderr)
    for line in details:
        print(f"    {line[: len(line) - len(line.lstrip())]}{visible(line)}", file=sys.stderr)
    return 2
