"""Lesions with a very small network, sealed by earlier code: its blends must stay valid, so this stays as it is."""

import torch
from torch import nn

from heldout.tasks.segment import Segment2D


class Small(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, outputs, 3, padding=1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask": self.body(image)}


class Exp921(Segment2D):
    dataset = "phantom"
    source = "phantom"
    source_options = {"patients": 46, "images_per_patient": 2, "size": 32}
    fold_count = 2
    near_duplicates = False
    normalize = "unit"
    epochs = 3
    batch_size = 4
    lr = 2e-2
    augment = "none"
    positive_fraction = 0.6
    workers = 0
    precision = "32-true"
    metric = "dice_all"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Small(self.channels, self.mask_channels(classes, exclusive))
