"""Lesions as points, with a very small network."""

import torch
from torch import nn

from heldout.tasks.detect import Detect2D


class Small(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, outputs, 3, padding=1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask": self.body(image)}


class Exp926(Detect2D):
    dataset = "phantom"
    source = "phantom"
    source_options = {"patients": 20, "images_per_patient": 2, "size": 32}
    fold_count = 2
    seeds = (0,)
    near_duplicates = False
    normalize = "unit"
    epochs = 3
    batch_size = 4
    lr = 2e-2
    augment = "none"
    positive_fraction = 0.6
    workers = 0
    precision = "32-true"
    metric = "froc:3"
    objects = "points"
    heat_sigma = 1.0
    submission = "detections"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Small(self.mask_channels(classes, exclusive))
