"""Bright squares with two heads, trained in three stages."""

from __future__ import annotations

import torch
from torch import nn

from heldout.tasks.multitask import MultiTask2D
from heldout.tasks.nets.multitask2d import TwoHeads
from heldout.tasks.nets.network import Network
from tests.train.exp901 import Exp901


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.layers(image)]


class Decoder(nn.Sequential):
    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        return super().forward(features[-1])


class TinyBody(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(nn.Dropout2d(0.2))
        self.segmentation_head = nn.Conv2d(8, classes, 1)
        self.classification_head = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, classes)
        )


class Exp902(Exp901, MultiTask2D):
    warmup_epochs = 1
    head_epochs = 1
    skip_mask_below = 0.2
    budgets = {"quick": {"epochs": 3}}

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return TwoHeads(Network(TinyBody(classes), standardize=True))
