"""Patch and batch size for an amount of memory: ``python -m heldout.launch.sizes SPEC SAMPLES SIDE...`` measures one.

As nnU-Net's planner does (Isensee et al., Nature Methods 18, 2021), the patch begins as the median prepared case and is
cut along the axis that is longest against it until two samples fit; then the batch grows.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.launch.worker import own_modules
from heldout.tasks import Task, load_task

MULTIPLES = {2: 32, 3: 16}  # of a side, which networks halve several times
LEFT_FREE = 0.9  # share of the memory that is planned for
MOST_OF_DATASET = 0.05  # of all voxels, in one batch
_OUT_OF_MEMORY = 4


@dataclass(frozen=True)
class SizeProposal:
    """Sizes that fit into an amount of memory.

    Attributes:
        size: Patch, or the image where the experiment takes whole ones.
        batch_size: Samples.
        peak_bytes: Most memory of a training step with these, measured.
        field: The field that holds the size.
    """

    size: tuple[int, ...]
    batch_size: int
    peak_bytes: int
    field: str


def propose(config: Task, dataset: Dataset, budget: int, peak: Callable[..., int | None] | None = None) -> SizeProposal:
    """The largest patch, and then the largest batch, whose training step keeps within an amount of memory.

    Args:
        config: The experiment.
        dataset: Its checked dataset.
        budget: Bytes: of the GPU, or where there is none of the process.
        peak: Measures a step: experiment, size and samples to bytes, None where the memory did not suffice.

    Raises:
        UserError: not even the smallest patch fits, or a step cannot be measured.
    """
    from heldout.data.prepare import open_prepared

    measure = measured_peak if peak is None else peak
    prepared = open_prepared(dataset, config)
    shapes = [prepared.geometry(case_id).prepared for case_id in dataset.part("train")["case_id"]]
    middle = [float(median(sides)) for sides in zip(*shapes, strict=True)]
    step = MULTIPLES[config.dimensions]
    fixed = config.patch_size is None
    largest = (
        config.image_size if fixed and config.image_size else [max(step, int(side) // step * step) for side in middle]
    )
    size = list(largest)
    small = size if fixed else [max(step, side // 2 // step * step) for side in size]

    base, slope, least = _line(config, small, size, fixed, measure)
    room = LEFT_FREE * budget - base
    while not fixed and slope * 2 * math.prod(size) > room:
        axis = max(range(len(size)), key=lambda k: (size[k] > step, size[k] / middle[k]))
        if size[axis] <= step:
            raise UserError(
                f"a patch of {_text(size)} needs more than {budget / 2**30:.1f} GiB: take a smaller network"
            )
        size[axis] -= step
    most = MOST_OF_DATASET * sum(map(math.prod, shapes)) / math.prod(size)
    batch = int(min(room / (slope * math.prod(size)), max(2.0, most)))
    field = "image_size" if fixed else "patch_size"
    while batch >= least:
        found = measure(config, size, batch)
        if found is not None and found <= budget:
            return SizeProposal(tuple(size), batch, found, field)
        batch = batch - 1 if batch < 8 else batch * 7 // 8
    raise UserError(
        f"a batch of {least} of size {_text(size)} needs more than {budget / 2**30:.1f} GiB: take a smaller network"
    )


def _line(
    config: Task, small: Sequence[int], large: Sequence[int], fixed: bool, measure: Callable[..., int | None]
) -> tuple[float, float, int]:
    """Bytes of a step as a line over voxels of the batch: what it starts from, its slope, and the smallest batch."""
    least = 1
    try:
        y0 = measure(config, small, least)
    except UserError:  # batch norm has nothing to average over in a single sample whose features are a voxel
        least = 2
        y0 = measure(config, small, least)
    samples = (2 if fixed or list(small) == list(large) else 4) * least
    x0, x1, y1 = least * math.prod(small), samples * math.prod(small), measure(config, small, samples)
    if y0 is None or y1 is None:
        raise UserError(f"a step on a batch of {_text(small)} needs more memory than there is: take a smaller network")
    slope = max((y1 - y0) / (x1 - x0), 1.0)
    return max(y0 - slope * x0, 0.0), slope, least


def _text(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def measured_peak(config: Task, size: Sequence[int], samples: int) -> int | None:
    """Most memory of two training steps on a random batch, in a process of their own; None where it does not suffice.

    Raises:
        UserError: the network does not take such a batch.
    """
    words = ["-m", "heldout.launch.sizes", config.spec, str(samples), *map(str, size)]
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, **own_modules()}, capture_output=True, text=True, check=False
    )
    if done.returncode in (_OUT_OF_MEMORY, -9):
        return None
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1]
        raise UserError(f"{config.spec} cannot be trained on a batch of {samples} of size {_text(size)}: {reason}")
    return int(done.stdout.split()[-1])


def main() -> int:
    """Train two steps on a random batch, and print the most memory that they took in bytes."""
    import numpy as np
    import torch

    from heldout.data.cases import open_dataset
    from heldout.launch.processes import peak_bytes
    from heldout.predict.models import widened
    from heldout.tasks.dry_run import random_batch
    from heldout.train.state import build_state, train_step

    config, samples, size = load_task(sys.argv[1]), int(sys.argv[2]), tuple(map(int, sys.argv[3:]))
    config = config.model_copy(
        update={"patch_size" if config.patch_size else "image_size": size, "batch_size": samples}
    )
    dataset = open_dataset(config)
    classes, exclusive = len(dataset.classes), dataset.exclusive
    labels = np.eye(classes)[np.arange(max(samples, 2)) % classes]
    try:
        state = build_state(config, dataset, labels, (0, 0), 2)
        _, batch = random_batch(widened(config, classes), classes, exclusive, size, samples)
        for step in range(2):
            float(train_step(config, state, dict(batch), step))
    except torch.OutOfMemoryError:
        return _OUT_OF_MEMORY
    device = state.fabric.device
    print(torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
