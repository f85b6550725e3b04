"""How fast the command line answers: help, and the leaderboard with ten runs and two blends."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement, record

REPEATS = 7
RUNS = 10


def call(home: Path, *words: str) -> float:
    """Seconds that one command takes from start to exit."""
    environment = {**os.environ, "HELDOUT_HOME": str(home)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "run.py", *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {done.stderr}")
    return time.perf_counter() - start


def median(home: Path, *words: str) -> float:
    """Median seconds of several calls, after one that warms the file cache."""
    call(home, *words)
    return statistics.median(call(home, *words) for _ in range(REPEATS))


def main() -> int:
    """Train ten short runs, then time the listing commands over them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        specs = [f"exp004+epochs=1,seeds=(0,),steps_per_epoch=2,lr={0.001 * (n + 1):g}" for n in range(RUNS)]
        for spec in specs:
            call(home, "train", spec)
        for number in (1, 2):
            call(home, "blend", *specs[number : number + 2], "--name", f"pair{number}", "--trials", "5")
        first = call(home, "leaderboard")
        (home / "working" / "cache" / "scores.json").unlink()
        cold = call(home, "leaderboard")
        return record(
            "cli_speed",
            [
                Measurement("python run.py --help", median(home, "--help"), "s", 0.6),
                Measurement("python run.py train --help", median(home, "train", "--help"), "s", 0.6),
                Measurement("python run.py experiments", median(home, "experiments"), "s", 0.6),
                Measurement(f"python run.py leaderboard, {RUNS} runs", median(home, "leaderboard"), "s", 1.5),
                Measurement("the same, first call after training", first, "s"),
                Measurement("the same, every score computed anew", cold, "s"),
            ],
        )


if __name__ == "__main__":
    sys.exit(main())
