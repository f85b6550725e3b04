"""The running average of the weights, which is what a fold keeps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class ModelEma:
    """Exponential moving average (EMA) of a network's parameters; its buffers are copies of the network's.

    The decay warms up as ``min(decay, (1 + n) / (10 + n))`` over the updates n, as TensorFlow's
    ExponentialMovingAverage does it, so that short runs do not remember their random start.

    Args:
        network: The network to follow, already on its device.
        decay: Share of the average that one update keeps; None follows the network exactly.
    """

    def __init__(self, network: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self.updates = 0
        self.module = network if decay is None else copy.deepcopy(network).requires_grad_(False)
        # walking through the modules again for every step would take longer than the average itself
        self._parameters: list[Tensor] = list(self.module.parameters())
        self._values: list[Tensor] = list(network.parameters())
        self._buffers = list(zip(self.module.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network; to be called after every optimizer step."""
        if self.decay is None:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._parameters, self._values, 1 - decay)
        for average, value in self._buffers:
            average.copy_(value)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs, in plain types."""
        module = {} if self.decay is None else self.module.state_dict()
        return {"updates": self.updates, "module": module}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.updates = state["updates"]
        if self.decay is not None:
            self.module.load_state_dict(state["module"])
