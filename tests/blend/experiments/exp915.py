"""Lesions, and which of them an image shows, with a very small network of two heads."""

import torch
from exps.exp911 import Exp911
from torch import nn

from heldout.tasks.multitask import MultiTask2D


class Small(nn.Module):
    def __init__(self, masks: int, labels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU())
        self.mask = nn.Conv2d(6, masks, 3, padding=1)
        self.label = nn.Linear(6, labels)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.encode(image)
        return {"mask": self.decode(features, image), "label": self.classify(features)}

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.body(image)]

    def classify(self, features: list[torch.Tensor]) -> torch.Tensor:
        return self.label(features[-1].amax(dim=(2, 3)))

    def decode(self, features: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return self.mask(features[-1])


class Exp915(Exp911, MultiTask2D):
    seeds = (0,)
    skip_mask_below = 0.3
    tta = "h"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Small(self.mask_channels(classes, exclusive), classes)
