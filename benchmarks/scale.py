"""Many fits on many nodes: what scheduling costs on Ray, a simulation of 1,000 fits on 200 nodes, and the forecast.

Each part writes results of its own. ``overhead``, ``experiment`` and ``intervals`` need
``pip install 'heldout[scale]'``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from fanout.cluster import experiment, overhead
from fanout.folder import predict
from fanout.forecast import forecast
from fanout.intervals import shared_intervals
from fanout.simulation import simulate
from record import Measurement, record

PARTS: dict[str, Callable[[argparse.Namespace], list[Measurement]]] = {
    "simulation": lambda _: simulate(),
    "overhead": lambda arguments: overhead(arguments.workers),
    "experiment": lambda _: experiment(),
    "predict": lambda _: predict(),
    "forecast": lambda _: forecast(),
    "intervals": lambda _: shared_intervals(),
}


def main() -> int:
    """Measure the parts asked for; those that have no bar missed exit with 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    arguments = parser.parse_args()
    codes = [record(f"scale_{part}", PARTS[part](arguments)) for part in arguments.parts]
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
