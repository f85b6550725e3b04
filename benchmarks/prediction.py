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
OURS, CONTIGUOUS, INFERER = "heldout", "heldout, channels_last = False", "MONAI"


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
        channels_last = who == OURS

    config: BaseConfig = Volume()
    network = config.build_model(CLASSES, True).eval()
    image = np.random.default_rng(0).standard_normal((1, 1, *size), np.float32)
    first = image[:, :, : window[0], : window[1], : window[2]]
    predict = _inferer(network, batch, window) if who == INFERER else _ours(config, network)
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


def compared(pairs: list, batch: int, faster: float | None = None, memory: float | None = None) -> list[Measurement]:
    """Medians over pairs of measurements of ours and of MONAI's with ``sw_batch_size`` ``batch``."""
    other = f"MONAI's, sw_batch_size {batch}"
    wall, processor = (statistics.median(b[column] / a[column] for a, b in pairs) for column in (0, 1))
    share = statistics.median(a[2] / b[2] for a, b in pairs)
    same = min(float((a[4] == b[4]).mean()) for a, b in pairs)
    return [
        Measurement(f"wall time, {other} over heldout's", wall, "x", faster, True),
        Measurement(f"processor time, {other} over heldout's", processor, "x"),
        Measurement(f"memory, heldout's over {other}", share, "x", memory),
        Measurement(f"voxels of the same most probable class as {other}", same, "", 1.0, True),
    ]


def main(arguments: list[str]) -> None:
    """Measure pairs, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--contiguous", action="store_true", help="once in the memory layout of MONAI's network")
    parser.add_argument("--tiny", action="store_true", help="a small volume, nothing written")
    options = parser.parse_args(arguments)
    size, window = ((40, 48, 40), (32, 32, 32)) if options.tiny else (SIZE, WINDOW)
    about = f"{' x '.join(map(str, size))} voxels, windows of {window[0]}³, overlap 1/2, DynUNet {FILTERS}"
    if options.contiguous:
        ours = [run(who, 1, size, window) for who in (CONTIGUOUS, OURS)]
        four, one = (run(INFERER, batch, size, window) for batch in (4, 1))
        measured = [*compared([(ours[0], four)], 4, 1.3, 0.7), *compared([(ours[0], one)], 1)]
        for name, (wall, processor, megabytes, *_) in zip((CONTIGUOUS, OURS), ours, strict=True):
            measured.append(Measurement(f"seconds, {name}", wall, "s"))
            measured.append(Measurement(f"processor seconds, {name}", processor, "s"))
            measured.append(Measurement(f"megabytes, {name}", megabytes, "MB"))
        for found in measured:
            print(f"{found.what}: {found.value:.4f} {found.unit}")
        if options.tiny:
            return
        sys.exit(record("prediction_contiguous", measured, f"{about}, channels_last = False; one run of each"))
    pairs = []
    for _ in range(options.pairs):
        pairs.append((run(OURS, 1, size, window), run(INFERER, 4, size, window)))
        for name, (wall, processor, megabytes, peak, _) in zip((OURS, INFERER), pairs[-1], strict=True):
            print(f"{name}: {wall:.1f} s, {processor:.1f} CPU s, {megabytes:.0f} MB, peak {peak:.0f}", flush=True)
    measured = compared(pairs, 4, 1.3, 0.7)
    measured += compared([(pairs[0][0], run(INFERER, 1, size, window))], 1)
    half = run(OURS, 1, size, window, "bf16-mixed")
    ours = [pair[0] for pair in pairs]
    measured.append(Measurement("seconds, heldout", statistics.median(row[0] for row in ours), "s"))
    measured.append(Measurement("seconds, heldout in bfloat16", half[0], "s"))
    measured.append(Measurement("megabytes, heldout", statistics.median(row[2] for row in ours), "MB"))
    for one in measured:
        print(f"{one.what}: {one.value:.4f} {one.unit}")
    if not options.tiny:
        sys.exit(record("prediction", measured, f"{about}; medians of {options.pairs} pairs, two threads"))


if __name__ == "__main__":
    main(sys.argv[1:])
