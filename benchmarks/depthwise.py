"""Training steps in bfloat16 with and without large depthwise convolutions in float32, on synthetic batches.

Every variant runs in a process of its own, those to be compared one after the other. Stop other work first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
from contextlib import nullcontext

from allocator import NETWORKS, measure
from record import Measurement, record

BATCHES = {name: batch for name, batch in NETWORKS.items() if "Lite0" in name}
PAIRS = 3


def processor_time(spec: str, shape: tuple[int, ...], guarded: bool, seconds: float) -> float:
    """Processor seconds of a step."""
    import heldout.train.state as state

    if not guarded:
        state.Float32Convolutions = nullcontext  # type: ignore[assignment,misc]
    return measure(spec, shape, {"precision": "bf16-mixed"}, True, seconds)["cpu"]


def main() -> int:
    """Measure pairs of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each variant")
    arguments = parser.parse_args()
    import heldout.train.state  # noqa: F401 - imported once, before the processes fork

    context = multiprocessing.get_context("fork")
    rows: list[Measurement] = []
    for network, (spec, shape) in BATCHES.items():
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(PAIRS):
            for guarded, times in found.items():
                with context.Pool(1) as pool:
                    times.append(pool.apply(processor_time, (spec, shape, guarded, arguments.seconds)))
        plain, ours = (statistics.median(times) for times in found.values())
        ratio = statistics.median(a / b for a, b in zip(*found.values(), strict=True))
        rows += [
            Measurement(f"{network}: a step, all in bfloat16", plain, "s"),
            Measurement(f"{network}: a step, large depthwise convolutions in float32", ours, "s"),
            Measurement(f"{network}: all in bfloat16 over ours", ratio, "times", 1.2, True),
        ]
    return record("depthwise", rows, f"processor time of a step on two threads, medians of {PAIRS} pairs")


if __name__ == "__main__":
    sys.exit(main())
