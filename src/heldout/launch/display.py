"""One display for all fits that run at once: a bar for each, and one for their sum."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Self

from rich.progress import TaskID

from heldout.errors import UserError
from heldout.escape import visible
from heldout.launch.plan import Fit
from heldout.launch.queue import QueuedFit
from heldout.launch.schedule import Schedule, progress
from heldout.launch.worth import Worth
from heldout.progress import is_plain, progress_bar


class FitsDisplay:
    """Shows how far fits are, and prints a line where one starts or ends; a context manager.

    Args:
        total: Fits that are missing.
    """

    def __init__(self, total: int) -> None:
        self.bar = progress_bar()
        self.total = total
        self.all: TaskID = self.bar.add_task("all fits", total=total)
        self.tasks: dict[Fit, TaskID] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks.values():
            self.bar.remove_task(task)
        self.bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bars; part of it may come from another machine."""
        line = visible(line)
        if is_plain() or not self.bar.console.is_terminal:
            print(line, flush=True)
        else:
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def show(self, plan: Schedule, running: Collection[QueuedFit]) -> None:
        """Draw the running fits."""
        done, missing = float(self.total - len(plan.waiting)), {one.fit for one in plan.waiting}
        for about in running:
            try:
                far = progress(about.fit, float(about.time), Worth())
            except UserError:  # its experiment is being edited
                continue
            if about.fit not in self.tasks:
                self.tasks[about.fit] = self.bar.add_task(str(about.fit), total=far.epochs)
            self.bar.update(self.tasks[about.fit], total=far.epochs, completed=far.done)
            if about.fit in missing:  # or it is finished, as by another command, and its process about to end
                done += far.done / far.epochs if far.epochs else 0.0
        for fit in set(self.tasks) - {about.fit for about in running}:
            self.bar.remove_task(self.tasks.pop(fit))
        self.bar.update(self.all, completed=max(0.0, done))
