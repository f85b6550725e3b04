"""Which lesions an image shows, with a very small network; sealed by earlier code."""

import torch
from torch import nn

from heldout.tasks.classify import Classify2D


class Small(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 6, 5)
        self.last = nn.Linear(6, outputs)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"label": self.last(self.body(image).relu().amax(dim=(2, 3)))}


class Exp923(Classify2D):
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
    workers = 0
    precision = "32-true"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Small(classes)
