"""A network whose outputs are in the unit of the targets, while it learns standardized ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Rescaled(nn.Module):
    """Outputs times the deviation of the training targets, plus their mean; both are kept with the weights.

    Args:
        network: From images to (B, K), or a dictionary of such under ``label``, or a list of them.
        targets: Number K.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, targets: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(targets))
        self.register_buffer("std", torch.ones(targets))
        for name in ("input_size", "multiple"):  # what an encoder demands of images
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def fit(self, labels: np.ndarray) -> None:
        """Take mean and deviation of (cases, K) training targets."""
        self.mean.copy_(torch.as_tensor(np.asarray(labels, np.float64).mean(0)))
        self.std.copy_(deviation(labels))

    def forward(self, image: Tensor) -> Any:
        """Numbers in the targets' unit, in the form that the network gives them."""
        return self._scaled(self.network(image))

    def _scaled(self, outputs: Any) -> Any:
        if isinstance(outputs, dict):
            return {key: self._scaled(value) for key, value in outputs.items()}
        if isinstance(outputs, list | tuple):
            return [self._scaled(value) for value in outputs]
        return outputs.float() * self.std + self.mean


def deviation(labels: np.ndarray) -> Tensor:
    """Standard deviation (K,) float32 of (cases, K) targets; 1 where all are equal."""
    found = np.asarray(labels, np.float64).std(0)
    return torch.as_tensor(np.where(found > 0, found, 1.0), dtype=torch.float32)
