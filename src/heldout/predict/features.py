"""Pooled features of a network, picked up while it predicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from heldout.errors import UserError


class Pooler:
    """The outputs of one layer, averaged over their positions, of every case that the network predicts.

    Args:
        network: The network.
        layer: Name of the layer; see :func:`widest_layer`.

    Attributes:
        rows: (F,) float32 of every case so far, in their order; None where the layer did not act.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        self.rows: list[np.ndarray | None] = []
        self._calls: list[Tensor] = []
        network.get_submodule(layer).register_forward_hook(self._note)

    def _note(self, module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            self._calls.append(_pooled(module, output.detach()))

    def begin(self) -> None:
        """A batch comes next; what other uses of the network left is dropped."""
        self._calls.clear()

    def end(self, cases: int) -> None:
        """A batch of cases went through: its flips and windows are averaged."""
        parts = [call.reshape(cases, -1, call.shape[-1]).mean(1) for call in self._calls if len(call) % cases == 0]
        if parts:
            self.rows += list(torch.stack(parts).mean(0).float().cpu().numpy())
        else:
            self.rows += [None] * cases
        self._calls.clear()


def _pooled(module: nn.Module, output: Tensor) -> Tensor:
    """(rows, F) of an output (rows, F, *S), or (rows, ..., F) of a linear layer."""
    if isinstance(module, _ConvNd):
        return output.flatten(2).mean(2)
    return output.reshape(len(output), -1, output.shape[-1]).mean(1)


@torch.inference_mode()
def widest_layer(network: nn.Module, shape: Sequence[int]) -> str:
    """Name of the last of the layers that give most features at several positions: a U-Net's bottleneck, a head.

    Args:
        network: The network.
        shape: (C, *S) of an image that it takes.

    Raises:
        UserError: it has no such layer.
    """
    widths: dict[str, int] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, _ConvNd | nn.Linear):

            def note(module: nn.Module, _: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor) and output.ndim > 2:
                    widths[name] = output.shape[1 if isinstance(module, _ConvNd) else -1]

            hooks.append(module.register_forward_hook(note))
    network.eval()
    parameter = next(network.parameters())
    network(torch.zeros((1, *shape), device=parameter.device, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    if not widths:
        raise UserError("the network has no layer with features at several positions")
    return [name for name, width in widths.items() if width == max(widths.values())][-1]
