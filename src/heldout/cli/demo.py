"""The command that shows the whole journey on phantoms, in a home of its own, through the commands a user types."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from heldout import files
from heldout.cli.shared import command, enter_project, shown
from heldout.cli.start import lay_out
from heldout.progress import is_plain

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Check every case, look for leaks, lock a test part away, make the folds", ("folds exp001",)),
    ("Train two experiments, 2 folds x 2 seeds each; every case is predicted while held out", ("exp001", "exp002")),
    (
        "Tune a blend on those out-of-fold predictions, and score it by cross-fitting",
        ("blend exp001 exp002 --name demo",),
    ),
    ("Seal it: from here on, changed weights, folds or data are refused", ("freeze demo",)),
    ("Evaluate on the locked test part; the ledger counts it", ("test demo",)),
    ("Write the file a competition asks for", ("submit demo",)),
    ("Draw its errors", ("overlay demo",)),
    ("Rank everything", ("leaderboard",)),
)


@command("python run.py demo")
def demo(context: typer.Context) -> None:
    """Run the full workflow on synthetic images, in minutes on a CPU; your own work is not touched."""
    path = run_demo(context.obj)
    print(f"\nThe leaderboard is in {shown(path)}")


def run_demo(execute: Callable[[Sequence[str]], object]) -> Path:
    """Run every step.

    Args:
        execute: Runs one command, given as its words, and raises what goes wrong.

    Returns:
        The leaderboard's file.
    """
    home = files.home() / "working" / "demo"
    start = time.monotonic()
    with files.lock(home, "running the demo"), fresh_project(home):
        for number, (what, commands) in enumerate(STEPS, start=1):
            print(f"\n{_bold(f'[{number}/{len(STEPS)}] {what}')}")
            for words in commands:
                print(f"$ python run.py {words}", flush=True)
                execute(words.split())
    print(f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes; its files are in {home}")
    return home / "working" / "leaderboard.md"


@contextmanager
def fresh_project(home: Path) -> Iterator[None]:
    """Make a folder a new project and enter it for a while, so that no other work is touched."""
    for entry in home.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()
    lay_out(home)
    before = {name: os.environ.get(name) for name in ("HELDOUT_HOME", "HELDOUT_PROJECT")}
    os.environ["HELDOUT_HOME"] = str(home)
    enter_project(home)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and not is_plain() else text
