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

from heldout.blend.apply import OpenDecision
from heldout.deliver.case_log import Part, finished_cases, is_begun
from heldout.deliver.predict_folder import Outcome, predict_folder
from heldout.errors import InUse, UserError
from heldout.launch.engine import Engine
from heldout.launch.in_parts import run_in_parts
from heldout.launch.worker import end_with_parent, exit_code


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
    folder = _Folder(order, _stamp(order))
    run_in_parts(engine, folder, say)
    if not folder.is_complete():
        raise UserError(f"{order.folder} changed while it was predicted: the same command goes on with what is missing")
    with open(Path(order.output) / "predictions.csv", encoding="utf-8", newline="") as handle:
        return Counter(row["status"] for row in csv.DictReader(handle))


@dataclass(frozen=True)
class _Folder:
    """A folder as :func:`heldout.launch.in_parts.run_in_parts` knows it; ``earlier`` is of a table to be replaced."""

    order: FolderOrder
    earlier: int | None
    unit = "case"

    @property
    def name(self) -> str:
        return f"predict-{Path(self.order.output).name}"

    def __str__(self) -> str:
        return self.order.folder

    def command(self, part: str) -> list[str]:
        return self.order.command(part)

    def done(self) -> int:
        return finished_cases(Path(self.order.output))

    def is_complete(self) -> bool:
        """Whether the table of all cases has been written."""
        return _stamp(self.order) not in (None, self.earlier) and not is_begun(Path(self.order.output))


def _stamp(order: FolderOrder) -> int | None:
    table = Path(order.output) / "predictions.csv"
    return table.stat().st_mtime_ns if table.exists() else None


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
