"""Moving average of a network's weights, exponential or even."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class ModelEma:
    """Moving average of a network's parameters; its buffers are copies of the network's.

    The decay warms up as ``min(decay, (1 + n) / (10 + n))`` over the updates n, as TensorFlow's
    ExponentialMovingAverage does it, so that short runs do not remember their random start.

    Args:
        network: The network to follow, already on its device.
        decay: Share of an exponential average (EMA) that one update keeps; None follows the network exactly.
        even_from: Updates after which all later weights count alike (SWA, Izmailov et al. 2018,
            https://arxiv.org/abs/1803.05407); None never.
    """

    def __init__(self, network: nn.Module, decay: float | None, even_from: int | None = None) -> None:
        self.decay = decay
        self.even_from = even_from
        self.updates = 0
        self.averages = decay is not None or even_from is not None
        self.module = copy.deepcopy(network).requires_grad_(False) if self.averages else network
        # walking through the modules again for every step would take longer than the average itself
        self._parameters: list[Tensor] = list(self.module.parameters())
        self._values: list[Tensor] = list(network.parameters())
        self._buffers = list(zip(self.module.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network; to be called after every optimizer step."""
        if not self.averages:
            return
        torch._foreach_lerp_(self._parameters, self._values, 1 - self._kept())
        for average, value in self._buffers:
            average.copy_(value)
        self.updates += 1

    def _kept(self) -> float:
        """Share of the average that the next update keeps."""
        if self.even_from is not None and self.updates >= self.even_from:
            counted = self.updates - self.even_from
            return counted / (counted + 1)
        return 0.0 if self.decay is None else min(self.decay, (1 + self.updates) / (10 + self.updates))

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs, in plain types."""
        module = self.module.state_dict() if self.averages else {}
        return {"updates": self.updates, "module": module}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.updates = state["updates"]
        if self.averages:
            self.module.load_state_dict(state["module"])
