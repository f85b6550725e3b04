"""What a kernel runs: the package's own prediction, and a net below it that a bad case cannot tear."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import files
from heldout.deliver.kernel.bundle import Bundle, read_bundle
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.blend.apply import Blended
    from heldout.data.image import Image
    from heldout.data.sources import Source

    Images = Iterator[tuple[str, Image]]

MOST_FAILURES = 0.02  # share of cases that may get the prior


class FailSafe:
    """Predicts case by case; a case that fails gets the class prior and an empty mask, and goes on record.

    Args:
        bundle: What predicts.
        source: Reads the cases.
        rows: The cases, as :meth:`Source.loose` lists them.
        watch: Sees every image pass.
        most: Share of cases that may fail; more than that is no accident, and submitting priors would hide it.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Source,
        rows: list[dict[str, Any]],
        watch: Callable[[Images], Images],
        most: float = MOST_FAILURES,
    ) -> None:
        self.bundle, self.source, self.rows, self.watch, self.most = bundle, source, rows, watch, most
        self.failures: dict[str, str] = {}
        self._at = 0

    def predict(self) -> Iterator[Blended]:
        """One result per case, in order.

        Raises:
            UserError: more cases fail than may.
        """
        from heldout.blend.apply import apply_decision

        results: Iterator[Blended] | None = None
        while self._at < len(self.rows):
            row = self.rows[self._at]
            try:
                results = results or apply_decision(self.bundle.decision, self.watch(self._images()))
                result = next(results)
            except Exception as error:  # one case must never end a submission
                results = None
                result = self._failed(row, error)
            self._at += 1
            yield result

    def _images(self) -> Images:
        while self._at < len(self.rows):
            row = self.rows[self._at]
            yield row["case_id"], self.source.read_image(row, salvage=True)

    def _failed(self, row: dict[str, Any], error: Exception) -> Blended:
        from heldout.blend.apply import Blended

        self.failures[row["case_id"]] = f"{type(error).__name__}: {error}"
        print(f"case {row['case_id']} gets the prior: {self.failures[row['case_id']]}", flush=True)
        allowed = int(self.most * len(self.rows))
        if len(self.failures) > allowed:
            raise UserError(
                f"{len(self.failures)} of {len(self.rows)} cases fail, more than the {allowed} that may: the last is "
                f"{row['case_id']} ({error}); mend the kernel, or raise most_failures"
            )
        decision = self.bundle.decision
        scores = np.array([self.bundle.prior[name] for name in decision.classes], np.float32)
        if decision.kind == "classification":
            return Blended(row["case_id"], scores, None, None)
        channels = 1 if decision.exclusive or len(decision.classes) == 1 else len(decision.classes)
        return Blended(row["case_id"], scores, None, np.zeros((channels, *self._shape(row)), np.uint8))

    def _shape(self, row: dict[str, Any]) -> tuple[int, ...]:
        """The case's grid, if that much can be read; an empty mask of one voxel says nothing, but can be written."""
        try:
            return self.source.read_image(row, salvage=True).full_shape
        except Exception:
            return (1,) * self.source.dimensions


def imported_packages() -> list[str]:
    """Installed packages that this process uses, with their versions: what the kernel's image must have."""
    known = packages_distributions()
    names = {name for module in list(sys.modules) if "." not in module for name in known.get(module, [])}
    return sorted(f"{name}=={version(name)}" for name in names if name != "heldout")


def run(bundle_folder: Path, inputs: Path, working: Path, *, most_failures: float = MOST_FAILURES) -> Path:
    """Predict a competition's test cases and write its submission file into ``working``.

    Args:
        bundle_folder: The dataset that ``kernel`` wrote; may be read-only.
        inputs: Folder of the test cases, with the sample submission where the experiment names one.
        working: Folder to write to: the submission, and ``kernel_log.json``.
        most_failures: Share of cases that may get the prior.

    Returns:
        The submission file.

    Raises:
        UserError: the bundle was changed, the inputs are not what the experiment expects, or too many cases fail.
    """
    started = time.perf_counter()
    os.environ["HELDOUT_HOME"] = str(bundle_folder)
    sys.path.insert(0, str(bundle_folder))
    bundle = read_bundle(bundle_folder)

    from heldout.config import load
    from heldout.data.sources import source_class
    from heldout.deliver.submission import SubmissionWriter

    config = load(bundle.decision.members[0]["spec"])
    source = source_class(config.source)(inputs, **config.source_options)
    writer = SubmissionWriter(bundle.decision, source.loose(inputs), inputs)
    safe = FailSafe(bundle, source, writer.cases.to_dict("records"), writer.watch, most_failures)
    path = writer.write(safe.predict(), working / "submission")
    seconds = time.perf_counter() - started
    log = {
        "schema": 1,
        "decision": bundle.decision.name,
        "identity": bundle.decision.identity,
        "cases": len(safe.rows),
        "failures": safe.failures,
        "packages": imported_packages(),
        "seconds": round(seconds, 1),
        "seconds_per_case": round(seconds / len(safe.rows), 3),
    }
    files.write_json(working / "kernel_log.json", log)
    print(f"{len(safe.rows)} cases in {seconds:.0f} s, {len(safe.failures)} with the prior: wrote {path}", flush=True)
    return path
