"""A folder predicted in parts, each in a process on an engine: ``python -m heldout.launch.parts ORDER`` is one of them.

The parts write below one output, which every node must see; whichever ends last writes the table.
"""

from __future__ import annotations

import csv
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from heldout import files
from heldout.blend.apply import OpenDecision
from heldout.deliver.case_log import Part, finished_cases, is_begun
from heldout.deliver.predict_folder import Outcome, predict_folder
from heldout.errors import InUse, UserError
from heldout.launch.engine import Engine, Job
from heldout.launch.runner import MOST_KILLS, POLL_SECONDS, last_line
from heldout.launch.worker import end_with_parent, exit_code

TOLD_EVERY = 60.0  # seconds between two lines on how many cases are finished


@dataclass(frozen=True)
class FolderOrder:
    """A folder that is to be predicted; see :func:`heldout.deliver.predict_folder.predict_folder`.

    Attributes:
        name: The decision, or the folder of a bundle.
        folder, output: Where from and to, absolute.
        skip_bad, force, uncertainty, dicomseg: As that function takes them.
        trust: Run the code of a bundle that was made elsewhere.
    """

    name: str
    folder: str
    output: str
    skip_bad: bool = False
    force: bool = False
    uncertainty: bool = False
    dicomseg: bool = False
    trust: bool = False

    def open(self) -> OpenDecision:
        """The verified decision; a bundle needs no dataset.

        Raises:
            UserError: it changed, or its code is not trusted.
        """
        if (Path(self.name) / "bundle.json").is_file():
            from heldout.deliver.kernel.runtime import open_bundle

            return OpenDecision(open_bundle(Path(self.name).resolve(), trust=self.trust).decision)
        from heldout.blend.verify import open_decision

        return open_decision(self.name)

    def predict(self, opened: OpenDecision, part: Part | None) -> Outcome:
        """Predict a part of it, or what is left, in this process.

        Raises:
            UserError: as :func:`heldout.deliver.predict_folder.predict_folder`.
        """
        return predict_folder(
            opened,
            Path(self.folder),
            Path(self.output),
            skip_bad=self.skip_bad,
            force=self.force,
            uncertainty=self.uncertainty,
            dicomseg=self.dicomseg,
            part=part,
        )

    def command(self, part: str) -> list[str]:
        """What to call for a part, without the name of the interpreter."""
        return ["-m", "heldout.launch.parts", json.dumps({**asdict(self), "part": part})]


def predict_parts(engine: Engine, order: FolderOrder, say: Callable[[str], None]) -> Counter[str]:
    """Predict a folder on an engine, one part for each of its workers.

    Args:
        engine: Where to.
        order: The folder.
        say: Called with a line for every part that starts or ends.

    Returns:
        Cases by their status.

    Raises:
        UserError: a part failed, and the others were stopped, or files came or went meanwhile; the same command goes on
            after the last cases.
        KeyboardInterrupt: all were stopped; the same command goes on.
    """
    table, running = Path(order.output) / "predictions.csv", _Running(engine, order, say)
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
                say(f"{finished_cases(Path(order.output))} cases finished")
            time.sleep(POLL_SECONDS)
    finally:
        running.stop()
        engine.close()
    if not running.is_complete():
        raise UserError(f"{order.folder} changed while it was predicted: the same command goes on with what is missing")
    with open(table, encoding="utf-8", newline="") as handle:
        return Counter(row["status"] for row in csv.DictReader(handle))


class _Running:
    """The parts that are predicted at the moment."""

    def __init__(self, engine: Engine, order: FolderOrder, say: Callable[[str], None]) -> None:
        self.engine, self.order, self.say = engine, order, say
        self.jobs: dict[str, tuple[Job, Path]] = {}
        self.kills: dict[str, tuple[int, int]] = {}  # how often in a row, and the cases that were finished then
        self.earlier = self._stamp()  # of a table that --force replaces

    def start(self, part: str) -> None:
        """Start a part, or let it go on."""
        name = f"predict-{Path(self.order.output).name}-{part.replace('/', 'of')}.log"
        log = files.home() / "working" / "queue" / "logs" / name
        what = f"part {part} of {self.order.folder}"
        self.jobs[part] = self.engine.start_command(what, self.order.command(part), log), log
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
        if code == 0 or self.is_complete():  # then it came when the last case was finished
            self.say(f"part {part}: finished")
            return False
        done = finished_cases(Path(self.order.output))
        times, before = self.kills.get(part, (0, done))
        self.kills[part] = (times + 1 if before == done else 1), done
        if code < 0 and self.kills[part][0] < MOST_KILLS:
            self.say(f"part {part}: {job.where} is gone; it goes on after its last case")
            return True
        raise UserError(f"part {part} failed ({last_line(log) or f'exit code {code}'}): see {log}")

    def is_complete(self) -> bool:
        """Whether the table of all cases has been written."""
        return self._stamp() not in (None, self.earlier) and not is_begun(Path(self.order.output))

    def _stamp(self) -> int | None:
        table = Path(self.order.output) / "predictions.csv"
        return table.stat().st_mtime_ns if table.exists() else None

    def stop(self) -> None:
        """Stop what is running."""
        for job, _ in self.jobs.values():
            job.interrupt()
        for job, _ in self.jobs.values():
            job.stop()


def _predict(order: FolderOrder, part: Part) -> None:
    """Predict a part, once another process that does so has ended: one of a lost node may live on for a while."""
    opened, outcome = order.open(), None
    while outcome is None:
        try:
            outcome = order.predict(opened, part)
        except InUse:
            time.sleep(2)
    print(", ".join(f"{count} {status}" for status, count in outcome.counts.items()), flush=True)


def main() -> int:
    """Predict the part of the order; 0 done, 2 the user can mend it, 130 stopped."""
    words = json.loads(sys.argv[1])
    part = Part.parse(words.pop("part"))
    threading.Thread(target=end_with_parent, daemon=True).start()
    return exit_code(lambda: _predict(FolderOrder(**words), part))


if __name__ == "__main__":
    sys.exit(main())
