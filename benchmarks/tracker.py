"""What a tracker costs a training step: epochs of one training, in turn with a follower beside them and without.

W&B writes to its offline folder, so that no network is measured. The epoch in which a follower starts is left out of
the steps, and counted by its processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

from record import Measurement, record

SPEC = "exp003"
FIELDS = ["workers=0", "dataset=volumes", "validate_every=None", "precision='32-true'"]


def main(arguments: list[str]) -> None:
    """Train, and write the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60, help="of an epoch")
    parser.add_argument("--tracker", default="wandb")
    parser.add_argument("--tiny", action="store_true", help="two turns of a few steps, nothing written")
    options = parser.parse_args(arguments)
    turns, steps = (2, 4) if options.tiny else (options.turns, options.steps)
    os.environ["WANDB_MODE"] = "offline"
    with tempfile.TemporaryDirectory() as home:
        os.environ["HELDOUT_HOME"] = home
        found = measure(options.tracker, turns, steps)
    for one in found:
        print(f"{one.what}: {one.value:.4f} {one.unit}")
    if not options.tiny:
        about = f"{SPEC} ({steps} steps an epoch, {turns} turns), tracker {options.tracker}, offline"
        sys.exit(record("tracker", found, about))


def measure(tracker: str, turns: int, steps: int) -> list[Measurement]:
    """Epochs in threes: without a follower, while it starts, and beside it."""
    from heldout.data.cases import open_dataset
    from heldout.tasks import load_task
    from heldout.track.follow import tracked
    from heldout.train.fit import fit_fold

    config = load_task(SPEC, overrides=[*FIELDS, f"steps_per_epoch={steps}", f"epochs={3 * turns + 1}"])
    dataset = open_dataset(config)
    walls: list[list[float]] = [[], [], []]
    processors: list[list[float]] = [[], [], []]
    state: dict[str, Any] = {"processor": time.process_time(), "open": None}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def watch(progress: Any) -> None:
        place = (progress.epoch - 2) % 3  # the first epoch warms up
        if progress.epoch > 1:
            walls[place].append(progress.rows[-1].seconds / steps)
            processors[place].append((time.process_time() - state["processor"]) / steps)
        if place == 0 and progress.epoch > 1:
            state["open"] = contextlib.ExitStack()
            state["open"].enter_context(tracked([tracker], f"runs/{config.spec}"))
        elif place == 2 and state["open"] is not None:
            state["open"].close()
            state["open"] = None
        state["processor"] = time.process_time()

    fit_fold(config, dataset, 0, 0, quiet=True, watch=watch)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ratios = [on / off for off, on in zip(walls[0], walls[2], strict=True)]
    own = [on / off for off, on in zip(processors[0], processors[2], strict=True)]
    return [
        Measurement(
            "processor time of a training step with the tracker over that without", statistics.median(own), "x", 1.01
        ),
        Measurement("wall time of a training step with the tracker over that without", statistics.median(ratios), "x"),
        Measurement("a training step", statistics.median(walls[0]), "s"),
        Measurement("processor time of a follower, from start to end", spent / turns, "s"),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
