"""Training steps with and without kept memory, in both memory layouts and precisions, on synthetic batches.

Every variant runs in a process of its own, those to be compared one after the other. Stop other work first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

from record import Measurement, record

os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line has it; read when torch is imported

from heldout.config import load
from heldout.predict.allocator import SWITCH, keep_freed_memory

WARM_UP = 2
NETWORKS = {
    "Lite0 classifier, 16 x 224 x 224": ("exp020_lite0+encoder_weights=None", (16, 3, 224, 224)),
    "2D U-Net on ResNet-18, 16 x 256 x 256": ("exp040+image_size=(256,256)", (16, 1, 256, 256)),
    "2D U-Net on Lite0, 16 x 256 x 256": ("exp040_lite0+encoder_weights=None", (16, 1, 256, 256)),
    "3D U-Net, 4 x 40 x 56 x 40": ("exp030", (4, 1, 40, 56, 40)),
}
LAYOUTS = {"contiguous": False, "channels-last": True}


def measure(spec: str, shape: tuple[int, ...], fields: dict[str, Any], keep: bool, seconds: float) -> dict[str, float]:
    """Wall seconds, processor seconds and page faults of a step, each the median; and the peak of memory in MB."""
    import numpy as np
    import torch

    from heldout.train.state import build_state, train_step

    os.environ[SWITCH] = str(int(keep))
    keep_freed_memory()
    config = load(spec).model_copy(update={**fields, "channels": shape[1], "augment": "none"})
    classes = 2 if config.dimensions == 3 else 1
    dataset: Any = SimpleNamespace(classes=tuple("ab"[:classes]), exclusive=classes > 1)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.rand(shape, generator=generator),
        "label": torch.ones(shape[0], classes),
        "mask": torch.randint(0, classes + 1, (shape[0], 1, *shape[2:]), generator=generator, dtype=torch.uint8),
    }
    state = build_state(config, dataset, np.ones((8, classes), np.float32), (0, 0), 1000)
    found: list[tuple[float, float, int]] = []
    end = time.perf_counter() + seconds
    while len(found) < WARM_UP + 2 or time.perf_counter() < end:
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        train_step(config, state, dict(batch), seed=0)
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.perf_counter() - begun, cpu, after.ru_minflt - before.ru_minflt))
    wall, cpu, faults = (statistics.median(values) for values in zip(*found[WARM_UP:], strict=True))
    return {"wall": wall, "cpu": cpu, "faults": faults, "peak": after.ru_maxrss / 1024}


def main() -> int:
    """Measure every variant with and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each variant")
    arguments = parser.parse_args()
    import heldout.train.state  # noqa: F401 - imported once, before the processes fork

    context = multiprocessing.get_context("fork")
    rows: list[Measurement] = []
    for network, (spec, shape) in NETWORKS.items():
        for precision in ("32-true", "bf16-mixed"):
            for layout, last in LAYOUTS.items():
                fields = {"channels_last": last, "precision": precision}
                found = []
                for keep in (False, True):
                    with context.Pool(1) as pool:
                        found.append(pool.apply(measure, (spec, shape, fields, keep, arguments.seconds)))
                without, kept = found
                print(network, layout, precision, without, kept, file=sys.stderr)
                what = f"{network}, {layout}, {precision}"
                rows += [
                    Measurement(f"{what}: a step, memory given back", without["wall"], "s"),
                    Measurement(f"{what}: a step, memory kept", kept["wall"], "s"),
                    Measurement(
                        f"{what}: processor time, given back / kept (page faults a step {without['faults']:.0f} / "
                        f"{kept['faults']:.0f}, peak {without['peak']:.0f} / {kept['peak']:.0f} MB)",
                        without["cpu"] / kept["cpu"],
                        "times",
                        0.97,
                        True,
                    ),
                ]
    return record(
        "allocator",
        rows,
        "Synthetic batches, two threads. Processor times decide. The bar of 0.97 leaves room for noise.",
    )


if __name__ == "__main__":
    sys.exit(main())
