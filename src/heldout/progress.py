"""Progress bars of long work, all alike, on the error stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
_NARROW = 100  # columns of a terminal
_FIGURES = 38  # columns that numbers and times take


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

    figures = (MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Bar(What(""), BarColumn(bar_width), *figures, console=console, disable=disable)


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
