"""What the fold loop adds to a bare torch loop over the same network and samples, in 2D and in 3D.

Epochs of `fit_fold` and of the bare loop take turns in one process. All of the fold loop is counted: seeds of
each step, average of the weights, checks for NaN, the state on the disk, the curves. The bare loop loads, augments,
computes the loss and its gradients, clips them and steps.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import Measurement, record

os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line has it; read when torch is imported

import torch
from torch.utils.data import DataLoader

from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.prepare import open_prepared
from heldout.predict.models import build
from heldout.tasks.optim import build_optimizer, machine_precision
from heldout.train.fit import fit_fold
from heldout.train.loader import Batches

SPECS = {
    "2D, U-Net on EfficientNet-Lite0, 8 x 192 x 192": (
        "exp001+encoder='tu-tf_efficientnet_lite0',decoder_channels=(128,64,48,32,16),seeds=(0,),"
        "source_options={'patients':40,'size':192},steps_per_epoch=30,batch_size=8,workers=0"
    ),
    "3D, residual U-Net of 16 to 128 channels, 4 x 32 x 48 x 32": (
        "exp003+filters=(16,32,64,128),patch_size=(32,48,32),spacing=None,"
        "source_options={'dimensions':3,'patients':12,'size':64},steps_per_epoch=30,workers=0"
    ),
}


class BareLoop:
    """The loop that a tutorial of torch shows, on the samples of fold 0."""

    def __init__(self, config: Any) -> None:
        dataset = open_dataset(config)
        training, _ = dataset.fold_cases(0)
        batches = Batches(config, dataset, open_prepared(dataset, config), training, (0, 0))
        self.loader = DataLoader(batches.loader.dataset, batch_size=config.batch_size, sampler=batches.sampler)
        self.config, self.precision = config, machine_precision(config.precision)
        self.layout = torch.channels_last if config.dimensions == 2 else torch.channels_last_3d
        self.network = build(config, dataset).train().to(memory_format=self.layout)
        self.optimizer = build_optimizer(config, self.network, self.precision)
        self.loss = config.task_loss(dataset.exclusive, None)
        self.augment = config.build_augment() if config.dimensions == 3 else None

    def epoch(self) -> None:
        """Train on every batch once."""
        for batch in self.loader:
            if self.augment is not None:
                batch["image"], batch["mask"] = self.augment(batch["image"], batch["mask"], torch.Generator())
            image = batch["image"].contiguous(memory_format=self.layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                outputs = self.network(image)
            loss = self.loss({key: value.float() for key, value in self.config.as_outputs(outputs).items()}, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
            self.optimizer.step()
            self.optimizer.zero_grad()


def now() -> tuple[float, float]:
    """Wall time and processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def compare(spec: str, epochs: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """Wall and processor seconds of each epoch but the first: of the fold loop, then of the bare loop."""
    config = load(f"{spec},epochs={epochs + 1}")
    bare = BareLoop(config)
    times: dict[str, list[tuple[float, float]]] = {"fold": [], "bare": []}
    begun = now()

    def watch(_: Any) -> None:
        nonlocal begun
        between = now()
        times["fold"].append((between[0] - begun[0], between[1] - begun[1]))
        bare.epoch()
        begun = now()
        times["bare"].append((begun[0] - between[0], begun[1] - between[1]))

    fit_fold(config, open_dataset(config), 0, 0, quiet=True, watch=watch)
    fold, plain = ([list(values) for values in zip(*times[name][1:], strict=True)] for name in ("fold", "bare"))
    return fold[0], fold[1], plain[0], plain[1]


def main() -> int:
    """Compare both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    epochs = parser.parse_args().epochs
    rows: list[Measurement] = []
    for what, spec in SPECS.items():
        with tempfile.TemporaryDirectory() as home:
            os.environ["HELDOUT_HOME"] = str(Path(home))
            fold_wall, fold, bare_wall, bare = compare(spec, epochs)
        ratios = [one / two for one, two in zip(fold, bare, strict=True)]
        print(what, ratios, file=sys.stderr)
        rows += [
            Measurement(f"{what}: an epoch of 30 steps, bare", statistics.median(bare_wall), "s"),
            Measurement(f"{what}: an epoch of 30 steps, fold loop", statistics.median(fold_wall), "s"),
            Measurement(f"{what}: processor time, fold loop / bare", statistics.median(ratios), "times", 1.03),
        ]
    return record("fold_loop", rows, f"Medians over {epochs} epochs each.")


if __name__ == "__main__":
    sys.exit(main())
