"""Lesions, seen beside what exp911 found of them."""

import torch
from exps.exp911 import Exp911
from torch import nn


class Small(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, outputs, 3, padding=1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask": self.body(image)}


class Exp916(Exp911):
    first_stage = "exp911"
    seeds = (0,)
    epochs = 1

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        return Small(self.channels, self.mask_channels(classes, exclusive))
