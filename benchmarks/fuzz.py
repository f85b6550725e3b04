"""Damaged files and records by the thousand: every one must be read or refused in one sentence, within a gigabyte."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from record import REPOSITORY, Measurement, record

INPUTS = 2000  # of each format and record


def main() -> int:
    """Run the test of damaged files with more inputs."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/data/test_fuzz.py",
            "tests/attacks/test_records.py",
            "-k",
            "files_are_read or damaged_record",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "HELDOUT_FUZZ": str(INPUTS)},
        check=False,
    )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return record(
        "fuzz",
        [
            Measurement(
                f"formats and records of which one of {INPUTS} damaged files fails", float(done.returncode != 0), "", 0
            ),
            Measurement("peak memory", memory, "MiB", 1024),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
