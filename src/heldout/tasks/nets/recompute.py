"""Gradient checkpointing: activations within a block are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

FEWEST = 2  # layers of a block that is worth it
Guard = Callable[[], AbstractContextManager[Any]]


def checkpoint_blocks(network: nn.Module, guard: Guard = nullcontext) -> None:
    """Let the blocks of a network compute their activations twice; its weights and its answers stay the same.

    A block is a part of a list or sequence of layers that has several layers itself: a residual block, a stage.

    Args:
        network: The network.
        guard: Makes the context in which the network is called; activations are computed again in one like it.
    """
    for block in _blocks(network):
        block.forward = _twice(block, block.forward, guard)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        inner = [part for part in child.modules() if not any(True for _ in part.children())]
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(inner) >= FEWEST:
            yield child
        else:
            yield from _blocks(child)


def _twice(block: nn.Module, forward: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    @contextmanager
    def again() -> Iterator[None]:
        """Keep running statistics as they are: the first pass has counted the batch."""
        norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._NormBase)]
        kept = [{name: value.clone() for name, value in norm.named_buffers(recurse=False)} for norm in norms]
        try:
            with guard():
                yield
        finally:  # torch leaves as soon as it has what it needs
            for norm, values in zip(norms, kept, strict=True):
                for name, value in values.items():
                    getattr(norm, name).copy_(value)

    def run(*arguments: Any, **options: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*arguments, **options)
        return checkpoint(
            forward, *arguments, use_reentrant=False, context_fn=lambda: (nullcontext(), again()), **options
        )

    return run
