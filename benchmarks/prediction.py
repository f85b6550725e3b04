"""Prediction of a brain-sized volume by sliding windows, against MONAI's SlidingWindowInferer, with one network.

Every measurement runs in a process of its own, those to be compared one after the other. Stop other work first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from record import Measurement, record

os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line has it; read when torch is imported

import numpy as np

SIZE, WINDOW = (182, 218, 182), (96, 96, 96)
FILTERS = (16, 32, 64, 128)
CLASSES = 3
OURS, INFERER = "heldout", "MONAI"


def measure(
    who: str, batch: int, size: tuple[int, ...], window: tuple[int, ...], precision: str, answer: Connection
) -> None:
    """Send wall and processor seconds, megabytes above what was held before, and the most probable class."""
    import torch

    from heldout.config import BaseConfig
    from heldout.tasks import Segment3D

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)

    class Volume(Segment3D):
        arch = "dynunet"
        filters = FILTERS
        patch_size = window
        normalize = "zscore"
        predict_precision = precision

    config: BaseConfig = Volume()
    network = config.build_model(CLASSES, True).eval()
    image = np.random.default_rng(0).standard_normal((1, 1, *size), np.float32)
    first = image[:, :, : window[0], : window[1], : window[2]]
    predict = _ours(config, network) if who == OURS else _inferer(network, batch, window)
    before = _memory("VmRSS")
    predict(first)  # chooses kernels, and imports what is imported late
    Path("/proc/self/clear_refs").write_text("5")
    wall, processor = time.perf_counter(), time.process_time()
    values = predict(image)
    spent = time.perf_counter() - wall, time.process_time() - processor
    peak = _memory("VmHWM")
    background = 1 - values.sum(axis=1, keepdims=True)
    found = np.concatenate([background, values], axis=1).argmax(axis=1).astype(np.uint8)
    answer.send((*spent, peak - before, peak, found))


def _ours(config, network):
    from heldout.predict.allocator import keep_freed_memory
    from heldout.predict.forward import answer_batch

    keep_freed_memory()
    network = network.to(memory_format=__import__("torch").channels_last_3d) if config.channels_last else network
    return lambda image: answer_batch(config, network, image, True, [()]).values


def _inferer(network, batch, window):
    import torch
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(window, sw_batch_size=batch, overlap=0.5, mode="gaussian")

    @torch.inference_mode()
    def predict(image):
        probabilities = inferer(torch.from_numpy(image), lambda part: torch.softmax(network(part), dim=1))
        return probabilities[:, 1:].numpy()

    return predict


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def run(who: str, batch: int, size, window, precision: str = "auto"):
    """One measurement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=measure, args=(who, batch, size, window, precision, its))
    process.start()
    its.close()
    found = mine.recv()
    process.join()
    return found


def main(arguments: list[str]) -> None:
    """Measure pairs, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a small volume, nothing written")
    options = parser.parse_args(arguments)
    size, window = ((40, 48, 40), (32, 32, 32)) if options.tiny else (SIZE, WINDOW)
    rows: dict[tuple[str, int], list] = {(OURS, 1): [], (INFERER, 4): [], (INFERER, 1): []}
    for _ in range(options.pairs):
        for key, found in rows.items():
            found.append(run(*key, size, window))
            wall, processor, megabytes, peak, _ = found[-1]
            print(f"{key[0]} batch {key[1]}: {wall:.1f} s, {processor:.1f} CPU s, {megabytes:.0f} MB, peak {peak:.0f}")
    measured = []
    ours = rows[OURS, 1]
    for batch, bars in ((4, (1.3, 0.7)), (1, (None, None))):
        theirs = rows[INFERER, batch]
        for column, what in ((0, "wall time"), (1, "processor time")):
            gain = statistics.median(b[column] / a[column] for a, b in zip(ours, theirs, strict=True))
            bar = bars[0] if column == 0 else None
            measured.append(
                Measurement(f"{what} of MONAI, sw_batch_size {batch}, over heldout's", gain, "x", bar, True)
            )
        share = statistics.median(a[2] / b[2] for a, b in zip(ours, theirs, strict=True))
        measured.append(Measurement(f"memory of heldout over MONAI's, sw_batch_size {batch}", share, "x", bars[1]))
        same = min(float((a[4] == b[4]).mean()) for a, b in zip(ours, theirs, strict=True))
        measured.append(Measurement(f"equal most probable classes, sw_batch_size {batch}", same, "", 1.0, True))
    half = run(OURS, 1, size, window, "bf16-mixed")
    measured.append(Measurement("seconds, heldout", statistics.median(row[0] for row in ours), "s"))
    measured.append(Measurement("seconds, heldout in bfloat16", half[0], "s"))
    measured.append(Measurement("megabytes, heldout", statistics.median(row[2] for row in ours), "MB"))
    for one in measured:
        print(f"{one.what}: {one.value:.4f} {one.unit}")
    if not options.tiny:
        about = f"{' x '.join(map(str, size))} voxels, windows of {window[0]}³, overlap 1/2, DynUNet {FILTERS}"
        record("prediction", f"Prediction by sliding windows: {about}; medians of {options.pairs} pairs", measured)


if __name__ == "__main__":
    main(sys.argv[1:])
