"""The HTTP service: throughput, latency, mixed requests with a killed process, hostile uploads, bits of answers.

Clients have one core to themselves, what they ask the other. What is compared runs in turns, round after round, so that
other programs of the machine disturb all alike; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from record import record
from service.answers import equal, hostile, mixed
from service.programs import CORES, make_decisions
from service.speed import latency, throughput


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="where the decisions are kept; by default a temporary folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=64, help="images of a round")
    parser.add_argument("--only", nargs="*", default=(), help="parts to measure; nothing is recorded")
    given = parser.parse_args()
    parts = {
        "throughput": lambda home, folder: throughput(home, folder, given.rounds, given.count),
        "latency": latency,
        "mixed": lambda home, folder: mixed(home, folder, 2000),
        "hostile": hostile,
        "equal": equal,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = given.home or folder / "home"
        os.environ["HELDOUT_HOME"] = str(home)
        make_decisions(home)
        os.sched_setaffinity(0, {CORES[0]})
        with contextlib.suppress(OSError):  # of root alone: what is measured then runs before other programs
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        found = []
        for part, act in parts.items():
            if not given.only or part in given.only:
                (folder / part).mkdir()
                found += act(home, folder / part)
        os.sched_setaffinity(0, CORES)
    if given.only:
        for one in found:
            print(
                f"{one.what}: {one.value:.4g} {one.unit} {'' if one.kept is None else 'ok' if one.kept else 'MISSED'}"
            )
        return 0
    return record("serving", found, about(given.rounds, given.count))


def about(rounds: int, count: int) -> str:
    """What the measurements depend on."""
    return (
        "Network: EfficientNet-Lite0 at 256 x 256 with four flips, as exp049_lite0, one thread; small image: 64 x "
        "64, ResNet-10t. Clients are pinned to one core, service, bare network and the rest to another. The machine "
        f"was shared with other programs on both cores (load {os.getloadavg()[1]:.0f}), so all of this ran with "
        f"real-time priority; what is compared ran in {rounds} turns of {count} images and medians count; processor "
        "time is what a program itself used."
    )


if __name__ == "__main__":
    sys.exit(main())
