"""What a kernel runs over a folder of test cases: the package's own prediction and its submission file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from heldout import files
from heldout.deliver.kernel.bundle import Bundle, read_bundle
from heldout.deliver.kernel.failsafe import MOST_FAILURES, FailSafe
from heldout.deliver.kernel.packages import imported_packages


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle, and let this process find its weights and experiments.

    Raises:
        UserError: it is missing, damaged or was changed.
    """
    os.environ["HELDOUT_HOME"] = str(folder)
    sys.path.insert(0, str(folder))
    return read_bundle(folder)


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
    bundle = open_bundle(bundle_folder)

    from heldout.config import load
    from heldout.data.sources import source_class
    from heldout.deliver.submission.write import SubmissionWriter

    config = load(bundle.decision.members[0].spec)
    source = source_class(config.source)(inputs, **config.source_options)
    writer = SubmissionWriter(bundle.decision, source.loose(inputs), inputs)
    rows = writer.cases.to_dict("records")
    safe = FailSafe(bundle, source, len(rows), writer.watch, most_failures)
    path = writer.write(safe.predict(rows), working / "submission")
    write_log(working, bundle, safe, time.perf_counter() - started)
    print(f"{len(rows)} cases, {len(safe.failures)} with the prior: wrote {path}", flush=True)
    return path


def write_log(working: Path, bundle: Bundle, safe: FailSafe, seconds: float) -> None:
    """Write ``kernel_log.json``: what predicted how many cases, which of them failed, and how long that took."""
    log = {
        "schema": 1,
        "decision": bundle.decision.name,
        "identity": bundle.decision.identity,
        "cases": len(safe.seconds),
        "failures": safe.failures,
        "packages": imported_packages(),
        **safe.timing(seconds),
    }
    files.write_json(working / "kernel_log.json", log)
