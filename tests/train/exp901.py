"""Bright squares: a small network with everything in it that has a state or draws random numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from heldout.data import sources
from heldout.data.cases import open_dataset
from heldout.tasks.segment import Segment2D
from heldout.train.fit import fit_fold
from tests.data import toy

CASES, SIDE = 24, 32


class TinyNetwork(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, classes, 1)
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask": self.body(image)}


class Exp901(Segment2D):
    dataset = "squares"
    source = "toy"
    test_fraction = 0.2
    fold_count = 2
    near_duplicates = False
    normalize = "unit"
    patch_size = (24, 24)
    positive_fraction = 0.7
    augment = "strong"
    epochs = 4
    batch_size = 4
    lr = 2e-2
    accumulate = 2
    workers = 0
    validate_every = 2
    metric = "dice_all"
    budgets = {"quick": {"epochs": 1}}

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return TinyNetwork(classes)


def write_squares(folder: Path, cases: int = CASES, unlabeled: int = 0) -> None:
    """Noisy images, two in three with a bright square; every case is a patient, and the last ones have no mask."""
    generator = np.random.default_rng(0)
    rows, images, masks = [], {}, {}
    for number in range(cases):
        case_id = f"c{number:03d}"
        rows.append({"case_id": case_id, "patient_id": case_id})
        image, mask = generator.integers(0, 90, (1, SIDE, SIDE)), np.zeros((1, SIDE, SIDE), np.uint8)
        if number % 3:
            top, left = generator.integers(2, SIDE - 12, 2)
            mask[0, top : top + 9, left : left + 9] = 1
        images[case_id], masks[case_id] = (image + 120 * mask).astype(np.uint8), mask
    for row in rows[cases - unlabeled :]:
        row["split"] = "submit"
        del masks[row["case_id"]]
    toy.write_toy(folder, rows, images, masks)


def main() -> None:
    """Train fold 0; for tests that kill it. Environment as usual, arguments: overrides as Python literals."""
    sources.SOURCES["toy"] = "Toy"
    sys.modules["heldout.data.sources.toy"] = toy
    torch.set_num_threads(1)
    config = Exp901.create(overrides=eval(sys.argv[1]) if len(sys.argv) > 1 else {})
    print(fit_fold(config, open_dataset(config), 0, 0))
