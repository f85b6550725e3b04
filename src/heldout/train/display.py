"""Progress of a fold: a bar with the time left in a terminal, one line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import TaskID

from heldout.progress import is_plain, progress_bar
from heldout.train.history import EpochRow

Item = TypeVar("Item")


class Display:
    """Shows the progress of one fold; a context manager.

    Args:
        label: Name of the fold.
        epochs: Epochs of the run.
        steps: Batches per epoch.
        done: Epochs finished before.
        quiet: Show nothing.
    """

    def __init__(self, label: str, epochs: int, steps: int, done: int, quiet: bool = False) -> None:
        self.label = label
        self.epochs = epochs
        self.steps = steps
        self.quiet = quiet
        self.console = Console(stderr=True, force_terminal=False if is_plain() else None)
        self.bar = progress_bar(disable=quiet or not self.console.is_terminal)
        self.task: TaskID = self.bar.add_task(label, total=epochs * steps, completed=done * steps)
        if done:
            self._say(f"{label}: resuming after epoch {done} of {epochs}")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self) -> None:
        """One batch is done."""
        self.bar.advance(self.task)

    def epoch(self, row: EpochRow, metric: str) -> None:
        """One epoch is done."""
        number, text = row.epoch, f"loss {row.train_loss:.4f}"
        if row.score is not None:
            text += f"  {metric} {row.score:.4f}"
        self.bar.update(self.task, completed=number * self.steps, note=f"epoch {number}/{self.epochs}  {text}")
        left = _duration((self.epochs - number) * row.seconds)
        self._say(
            f"{self.label}: epoch {number}/{self.epochs}  {text}  lr {row.lr:.2g}  {row.seconds:.1f} s, "
            f"about {left} left"
        )

    def track(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """Pass ``items`` on while showing how many went by."""
        self._say(f"{self.label}: {what}")
        task = self.bar.add_task(f"{self.label}: {what}", total=total)
        for item in items:
            yield item
            self.bar.advance(task)
        self.bar.remove_task(task)

    def announce(self, text: str) -> None:
        """Print a line about the fold, in a terminal too."""
        if not self.quiet:
            self.console.print(f"{self.label}: {text}", highlight=False, markup=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        if not self.quiet and not self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
