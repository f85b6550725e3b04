"""How long a newcomer waits: the demo and the test suite, once everything is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from record import REPOSITORY, Measurement, record


def timed(*target: str) -> tuple[float, str]:
    """Minutes that a make target takes, and what it prints.

    Raises:
        SystemExit: the target failed.
    """
    begun = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name not in ("HELDOUT_HOME", "HELDOUT_DATA")}
    done = subprocess.run(
        ["make", *target], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"make {' '.join(target)} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")
    return (time.perf_counter() - begun) / 60, done.stdout


def main() -> int:
    """Run both; what is not installed yet is installed before the clock starts."""
    timed("venv")
    demo, printed = timed("demo")
    tests, _ = timed("test")
    return record(
        "journey",
        [
            Measurement("make demo, after installation", demo, "min", 8),
            Measurement("make demo ends by naming the leaderboard", int("leaderboard" in printed[-500:]), "", 1, True),
            Measurement("make test, after installation", tests, "min", 10),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
