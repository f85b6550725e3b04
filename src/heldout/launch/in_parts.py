"""Work that is done in parts, each in a process on an engine, and goes on after what is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from heldout import files
from heldout.errors import UserError
from heldout.launch.engine import Engine, Job, is_lost
from heldout.launch.runner import MOST_KILLS, POLL_SECONDS, last_line

TOLD_EVERY = 60.0  # seconds between two lines on how much is finished


class Parted(Protocol):
    """Work whose parts write down what they have finished, where every node sees it; as text, what it is done to."""

    @property
    def name(self) -> str:
        """Beginning of the names of its logs."""
        ...

    @property
    def unit(self) -> str:
        """What it consists of, such as ``case``."""
        ...

    def command(self, part: str) -> list[str]:
        """What to call for a part such as ``1/8``, without the name of the interpreter."""
        ...

    def done(self) -> int:
        """How many units are finished."""
        ...

    def is_complete(self) -> bool:
        """Whether all are."""
        ...


def run_in_parts(engine: Engine, work: Parted, say: Callable[[str], None]) -> None:
    """Do the work, one part for each of the engine's workers, and give back what the engine holds.

    A part whose process or node is lost is started again, and goes on after what it has finished.

    Args:
        engine: Where to.
        work: What to do.
        say: Called with a line for every part that starts or ends.

    Raises:
        UserError: a part failed, and the others were stopped; the same command goes on after the last units.
        KeyboardInterrupt: all were stopped; the same command goes on.
    """
    running = _Running(engine, work, say)
    waiting = [f"{number}/{engine.workers}" for number in range(1, engine.workers + 1)]
    told = time.monotonic()
    try:
        while waiting or running.jobs:
            if waiting:
                with engine.together():
                    for part in waiting:
                        running.start(part)
            waiting = [part for part in list(running.jobs) if running.is_to_be_repeated(part)]
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                say(f"{work.done()} {work.unit}s finished")
            time.sleep(POLL_SECONDS)
    finally:
        running.stop()
        engine.close()


class _Running:
    """The parts that are worked on at the moment."""

    def __init__(self, engine: Engine, work: Parted, say: Callable[[str], None]) -> None:
        self.engine, self.work, self.say = engine, work, say
        self.jobs: dict[str, tuple[Job, Path]] = {}
        self.kills: dict[str, tuple[int, int]] = {}  # how often in a row, and the units that were finished then

    def start(self, part: str) -> None:
        """Start a part, or let it go on."""
        log = files.home() / "working" / "queue" / "logs" / f"{self.work.name}-{part.replace('/', 'of')}.log"
        job = self.engine.start_command(f"part {part} of {self.work}", self.work.command(part), log)
        self.jobs[part] = job, log
        self.say(f"part {part}: started, log in {log}")

    def is_to_be_repeated(self, part: str) -> bool:
        """Whether a part has ended because its process or its node is gone.

        Raises:
            UserError: it has failed.
        """
        job, log = self.jobs[part]
        code = job.poll()
        if code is None:
            return False
        del self.jobs[part]
        if code == 0 or self.work.is_complete():  # then it came when the last unit was finished
            self.say(f"part {part}: finished")
            return False
        done = self.work.done()
        times, before = self.kills.get(part, (0, done))
        self.kills[part] = (times + 1 if before == done else 1), done
        if is_lost(code) and self.kills[part][0] < MOST_KILLS:
            self.say(f"part {part}: {job.where} is gone; it goes on after its last {self.work.unit}")
            return True
        raise UserError(f"part {part} failed ({last_line(log) or f'exit code {code}'}): see {log}")

    def stop(self) -> None:
        """Stop what is running."""
        for job, _ in self.jobs.values():
            job.interrupt()
        for job, _ in self.jobs.values():
            job.stop()
