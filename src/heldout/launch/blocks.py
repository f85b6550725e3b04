"""Intervals of a slow metric of the user's own, on an engine: ``python -m heldout.launch.blocks ORDER`` is a part.

A block is scored the same wherever that is, and its bounds depend on the cases alone: bits do not depend on the engine.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heldout import files
from heldout.data.parallel import START_SECONDS
from heldout.deliver.case_log import Part
from heldout.errors import UserError
from heldout.launch.engine import Engine
from heldout.launch.in_parts import run_in_parts
from heldout.launch.worker import end_with_parent, exit_code
from heldout.metrics.left_out import ScoresLeftOut, score_blocks_by
from heldout.metrics.registry import get_metric

WORK = "work.pickle"


def spread_intervals(make: Callable[[], Engine], say: Callable[[str], None]) -> list[UserError]:
    """Let an engine score a metric of the user's own without each patient, wherever that takes long from now on.

    Args:
        make: Makes the engine, whose workers see this folder.
        say: Called with a line for every part that starts or ends.

    Returns:
        Filled later: why an engine could not be made, which who scores may take for a fault of the metric.
    """
    refused: list[UserError] = []

    def make_or_note() -> Engine:
        try:
            return make()
        except UserError as error:
            refused.append(error)
            raise

    score_blocks_by(lambda work: _score(work, make_or_note, say))
    return refused


def _score(work: ScoresLeftOut, make: Callable[[], Engine], say: Callable[[str], None]) -> Iterator[np.ndarray]:
    """Every block in order, by the engine where the first one says that this is worth it.

    Raises:
        UserError: as :func:`heldout.launch.in_parts.run_in_parts`.
    """
    begun = time.perf_counter()
    first = work.block(0)
    seconds = time.perf_counter() - begun
    yield first
    if seconds * (work.left_out.blocks - 1) < 2 * START_SECONDS:
        yield from map(work.block, range(1, work.left_out.blocks))
        return
    data = pickle.dumps(work)
    name = hashlib.sha256(data + get_metric(work.metric).code.encode()).hexdigest()[:16]
    blocks = _Blocks(files.home() / "working" / "queue" / "intervals" / name, work.metric, work.left_out.blocks)
    files.write_bytes(blocks.folder / WORK, data)
    if not blocks.is_complete():
        run_in_parts(make(), blocks, say)
    yield from map(blocks.read, range(1, blocks.count))
    shutil.rmtree(blocks.folder)


@dataclass(frozen=True)
class _Blocks:
    """The blocks of an interval but the first, as :func:`heldout.launch.in_parts.run_in_parts` knows them.

    Attributes:
        folder: Where the work lies and finished blocks are written.
        metric: Name of the score.
        count: How many blocks there are.
    """

    folder: Path
    metric: str
    count: int
    unit = "block"

    @property
    def name(self) -> str:
        return f"interval-{self.folder.name}"

    def __str__(self) -> str:
        return f"the interval of {self.metric}"

    def command(self, part: str) -> list[str]:
        return ["-m", "heldout.launch.blocks", json.dumps({"folder": str(self.folder), "part": part})]

    def done(self) -> int:
        return sum(self.path(number).exists() for number in range(1, self.count))

    def is_complete(self) -> bool:
        return self.done() == self.count - 1

    def path(self, number: int) -> Path:
        return self.folder / f"{number}.npy"

    def read(self, number: int) -> np.ndarray:
        return np.asarray(np.load(self.path(number), allow_pickle=False))


def _score_part(folder: Path, part: Part) -> None:
    """Score the blocks of a part that are missing."""
    work: ScoresLeftOut = pickle.loads((folder / WORK).read_bytes())
    blocks = _Blocks(folder, work.metric, work.left_out.blocks)
    for number in part.of(list(range(1, blocks.count))):
        if not blocks.path(number).exists():
            buffer = io.BytesIO()
            np.save(buffer, work.block(number))
            files.write_bytes(blocks.path(number), buffer.getvalue())
    print(f"part {part} is finished", flush=True)


def main() -> int:
    """Score the part of the order; 0 done, 2 the user can mend it, 130 stopped."""
    words = json.loads(sys.argv[1])
    threading.Thread(target=end_with_parent, daemon=True).start()
    return exit_code(lambda: _score_part(Path(words["folder"]), Part.parse(words["part"])))


if __name__ == "__main__":
    sys.exit(main())
