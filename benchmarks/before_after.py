"""Commands of two checkouts over the same home, in alternation: seconds of processor and of waiting, and their ratios.

    python benchmarks/before_after.py OTHER_CHECKOUT HOME NAME

``NAME`` is a sealed blend in ``HOME``, which is copied and stays as it is.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement, record

REPEATS = 5


def call(checkout: Path, home: Path, *words: str) -> tuple[float, float]:
    """Seconds of processor and of waiting that one command takes."""
    environment = {**os.environ, "HELDOUT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's commands are compiled once
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "run.py", *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    waited, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(words)} failed: {done.stderr}")
    return now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, waited


def main() -> int:
    """Time every command in both checkouts, one after the other, and record the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("name")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    chosen = parser.parse_args()
    commands = {
        f"submit of {chosen.name}": (["submit", chosen.name], 1 / 1.5),
        f"test of {chosen.name}": (["test", chosen.name, "--look-again", "timing"], 1.0),
        "leaderboard": (["leaderboard"], 1.0),
        "predict --help": (["predict", "--help"], 1.0),
    }
    measurements, start = [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"before": chosen.before, "after": REPOSITORY}
        for what in checkouts:
            shutil.copytree(chosen.home, Path(folder) / what)
        for what, (words, bar) in commands.items():
            seconds: dict[str, list[tuple[float, float]]] = {"before": [], "after": []}
            for turn in range(chosen.repeats + 1):
                for which, checkout in checkouts.items():
                    one = call(checkout, Path(folder) / which, *words)
                    if turn:  # the first warms the caches
                        seconds[which].append(one)
            for number, clock in enumerate(("processor", "waiting")):
                before, after = (statistics.median(one[number] for one in seconds[which]) for which in checkouts)
                measurements += [
                    Measurement(f"{what}, {clock}, before", before, "s"),
                    Measurement(f"{what}, {clock}, after", after, "s"),
                    Measurement(f"{what}, {clock}, after / before", after / before, "", bar if number == 0 else None),
                ]
    load = " and ".join(f"{value:.1f}" for value in (start, os.getloadavg()[0]))
    about = f"median of {chosen.repeats} runs of each checkout, in alternation; one thread"
    return record("before_after", measurements, f"{about}; load {load} at start and end")


if __name__ == "__main__":
    sys.exit(main())
