"""Damaged files and records by the thousand: every one must be read or refused in one sentence, within a gigabyte."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from record import REPOSITORY, Measurement, record

INPUTS = 2000  # of each format and record
TESTS = ("tests/data/test_fuzz.py", "tests/attacks/test_records.py")
# Tests of whole commands are few inputs each, and import all libraries of training.
CHOSEN = "(files_are_read or damaged_record) and not commands"


def main() -> int:
    """Run the tests of damaged files and records with more inputs, each file of tests in a process of its own."""
    failed = [test for test in TESTS if _run(test)]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return record(
        "fuzz",
        [
            Measurement(
                f"files of tests of which one of {INPUTS} damaged inputs per format or record fails",
                float(len(failed)),
                "",
                0,
            ),
            Measurement("peak memory", memory, "MiB", 1024),
        ],
    )


def _run(test: str) -> int:
    """Exit status of a file of tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, "-k", CHOSEN]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "HELDOUT_FUZZ": str(INPUTS)}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
