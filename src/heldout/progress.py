"""Progress of long work on the error stream: bars, all alike, or in plain mode a line where a step ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
_NARROW = 100  # columns of a terminal
_FIGURES = 38  # columns that numbers and times take


def is_plain() -> bool:
    """Whether output is for a log: no bars, no colors, one line a step (``run.py --plain``)."""
    return "HELDOUT_PLAIN" in os.environ


def set_plain() -> None:
    """Print for a log, in this process and in those that it starts."""
    os.environ.update(HELDOUT_PLAIN="1", NO_COLOR="1", TERM="dumb")


def progress_bar(*, disable: bool = False) -> Progress:
    """A bar with a line per task: what it does, how far it is, the time it took and the time left.

    Descriptions are cut where the terminal is narrow. A task's field ``note`` is shown on a line of its own.

    Args:
        disable: Show nothing.
    """
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    console = Console(stderr=True)
    bar_width = 12 if console.width < _NARROW else 40

    class What(TextColumn):
        def render(self, task: Task) -> Text:
            text = Text(task.description, no_wrap=True)
            text.truncate(max(console.width - bar_width - _FIGURES, 10), overflow="ellipsis")
            return text

    class Bar(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                if note := task.fields.get("note"):
                    yield Text(f"  {note}", no_wrap=True, overflow="ellipsis")

        def stop(self) -> None:
            super().stop()
            for task in self.tasks if is_plain() and not disable else ():
                of = "" if task.total is None else f" of {task.total:g}"
                print(
                    f"{task.description}: {task.completed:g}{of}, {task.elapsed or 0:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )

    figures = (MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Bar(What(""), BarColumn(bar_width), *figures, console=console, disable=disable or is_plain())


def track(items: Iterable[Item], total: int, what: str, *, disable: bool = False) -> Iterator[Item]:
    """Pass items on while a bar shows how many went by.

    Args:
        items: What to work on.
        total: Their number.
        what: Text of the bar.
        disable: Show nothing.
    """
    with progress_bar(disable=disable) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)
