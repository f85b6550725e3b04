"""What a GPU gives: training steps of exp037 and exp040 in full, formats of prediction, and two fits on one GPU.

Batches are synthetic and no dataset is needed. On a GPU it takes eight minutes at most. ``--tiny`` runs on a CPU,
to see that it works, and writes nothing.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

from record import Measurement, record

SPECS = ("exp037", "exp040")
FORMATS = ("32-true", "tf32", "16-mixed", "bf16-mixed")
VOLUME, WINDOW, FILTERS = (182, 218, 182), (96, 96, 96), (32, 64, 128, 256)
TINY_VOLUME, TINY_WINDOW, TINY_FILTERS = (24, 28, 24), (16, 16, 16), (4, 6, 8)
WARM_UP = 5


class Usage:
    """Mean use of the GPU in percent, and its most memory in GB, of what is done inside; NaN without one."""

    def __enter__(self) -> Usage:
        self.samples: list[float] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _sample(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception:  # no driver, or no library for it
            return
        while not self.ended.wait(0.2):
            self.samples.append(float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu))

    @property
    def percent(self) -> float:
        """Mean of the samples."""
        return sum(self.samples) / len(self.samples) if self.samples else float("nan")


def steps_per_second(spec: str, seconds: float, tiny: bool) -> tuple[float, float, float]:
    """Training steps a second on batches in memory, use of the GPU in percent, and peak of its memory in GB."""
    import numpy as np
    import torch

    from heldout.tasks import load_task
    from heldout.train.state import build_state, seed_everything, train_step

    config = load_task(spec)
    volumes = config.dimensions == 3
    classes = 2 if volumes else 1
    size = config.patch_size or config.image_size
    if tiny:
        size = (32, 32, 32) if volumes else (64, 64)
        changes: dict[str, Any] = {"batch_size": 2}
        if volumes:  # as many levels, with few filters
            changes |= {"filters": tuple(range(4, 4 + len(config.filters))), "patch_size": size}
        config = config.model_copy(update=changes)
    shape = (config.batch_size, config.channels, *size)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.rand(shape, generator=generator),
        "label": torch.ones(shape[0], classes),
        "mask": torch.randint(0, classes + 1, (shape[0], 1, *size), generator=generator, dtype=torch.uint8),
    }
    if torch.cuda.is_available():
        batch = {name: value.pin_memory() for name, value in batch.items()}
    dataset: Any = SimpleNamespace(classes=tuple("ab"[:classes]), exclusive=classes > 1)
    state = build_state(config, dataset, np.ones((8, classes), np.float32), (0, 0), 1000)
    for step in range(WARM_UP if not tiny else 1):
        train_step(config, state, dict(batch), seed_everything(0, 0, 0, "step", step))
    _wait()
    done, begun = 0, time.perf_counter()
    with Usage() as usage:
        while done < 2 or time.perf_counter() - begun < seconds:
            float(train_step(config, state, dict(batch), seed_everything(0, 0, 1, "step", done)))
            done += 1
    elapsed = time.perf_counter() - begun
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else float("nan")
    return done / elapsed, usage.percent, peak


def predictions(tiny: bool) -> dict[str, tuple[float, Any]]:
    """Seconds and the most probable class of every voxel, by format."""
    import numpy as np
    import torch

    import heldout.predict.forward as forward
    from heldout.predict.precision import number_format
    from heldout.tasks import Segment3D

    window, size = (TINY_WINDOW, TINY_VOLUME) if tiny else (WINDOW, VOLUME)
    fields = {"patch_size": window, "filters": TINY_FILTERS if tiny else FILTERS, "normalize": "zscore"}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network = Segment3D.create(overrides=fields).build_model(3, True).eval().to(device)
    image = np.random.default_rng(0).standard_normal((1, 1, *size), np.float32)
    found = {}
    for name in FORMATS:
        config = Segment3D.create(overrides={**fields, "predict_precision": "32-true" if name == "tf32" else name})

        def exact(asked: str, where: torch.device, name: str = name) -> Any:
            context = number_format(asked, where)
            return _with_tf32(context) if name == "tf32" else context

        original = forward.number_format
        forward.number_format = exact
        try:
            forward.answer_batch(config, network, image, True, [()])
            _wait()
            begun = time.perf_counter()
            values = forward.answer_batch(config, network, image, True, [()]).values
            seconds = time.perf_counter() - begun
        finally:
            forward.number_format = original
        background = 1 - values.sum(axis=1, keepdims=True)
        found[name] = seconds, np.concatenate([background, values], axis=1).argmax(axis=1).astype(np.uint8)
    return found


def _with_tf32(context: Any) -> Any:
    import contextlib

    import torch

    @contextlib.contextmanager
    def allowed() -> Any:
        with context, torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=True):
            torch.backends.cuda.matmul.allow_tf32 = True
            yield

    return allowed()


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(arguments: list[str]) -> int:
    """Measure, and write what was found with the machine's name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of every training")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    import torch

    if not options.tiny and not torch.cuda.is_available():
        print("there is no GPU: --tiny runs on a CPU", file=sys.stderr)
        return 2
    seconds = 0.1 if options.tiny else options.seconds
    context = multiprocessing.get_context("spawn")
    rows: list[Measurement] = []
    alone: dict[str, float] = {}
    for spec in SPECS:
        with context.Pool(1) as pool:
            alone[spec], percent, peak = pool.apply(steps_per_second, (spec, seconds, options.tiny))
        rows += [Measurement(f"{spec}, training", alone[spec], "steps/s")]
        rows += [Measurement(f"{spec}, use of the GPU", percent, "%"), Measurement(f"{spec}, its memory", peak, "GB")]
    for spec in SPECS:
        with context.Pool(2) as pool:
            both = pool.starmap(steps_per_second, [(spec, seconds, options.tiny)] * 2, chunksize=1)
        gain = sum(one[0] for one in both) / alone[spec]
        rows.append(Measurement(f"{spec}, steps/s of two fits at once over one", gain, "x"))
    with context.Pool(1) as pool:
        found = pool.apply(predictions, (options.tiny,))
    exact_seconds, exact = found["32-true"]
    bars = {"16-mixed": 0.9999, "bf16-mixed": 0.999}
    for name, (spent, voxels) in found.items():
        rows.append(Measurement(f"prediction in {name}", spent, "s"))
        if name != "32-true":
            rows.append(Measurement(f"prediction, 32-true over {name}", exact_seconds / spent, "x"))
            same = float((voxels == exact).mean())
            bar = None if options.tiny else bars.get(name)
            rows.append(Measurement(f"voxels of the same class in {name}", same, "", bar, True))
    rows = [row for row in rows if not math.isnan(row.value)]  # of a GPU where there is none
    for row in rows:
        print(f"{row.what}: {row.value:.5g} {row.unit}")
    if options.tiny:
        return 0
    size = " x ".join(map(str, VOLUME))
    about = f"{torch.cuda.get_device_name(0)}; synthetic batches; prediction of {size} by windows of {WINDOW[0]}³"
    return record("gpu", rows, about)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
