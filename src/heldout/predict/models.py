"""Networks on disk: safetensors in, safetensors out, and a clear word where a file does not fit its experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.overrides import TorchFunctionMode

from heldout import files
from heldout.errors import UserError
from heldout.tasks import Task


class HasClasses(Protocol):
    """A dataset or a source."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other."""
        ...


def build(config: Task, dataset: HasClasses) -> nn.Module:
    """Make an experiment's network for a dataset, as training starts with it: random but for pretrained parts."""
    config = widened(config, len(dataset.classes))
    model = config.build_model(len(dataset.classes), dataset.exclusive)
    config.load_pretrained(model)
    return model


def widened(config: Task, classes: int) -> Task:
    """The experiment as its network sees it: with a channel more per class where a first stage shows its maps."""
    if config.first_stage is None or config.first_stage_use != "channel":
        return config
    return config.model_copy(update={"channels": config.channels + classes})


def save_model(model: nn.Module, path: Path) -> str:
    """Write a network's parameters and buffers atomically.

    Returns:
        SHA-256 of the file.
    """
    # safetensors takes neither views nor channels-last tensors
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    files.write_bytes(path, save(state))
    return files.sha256_file(path)


class _NoDraws(TorchFunctionMode):
    """Leaves tensors as they are where an initialization would fill them with random numbers that weights replace."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


# functions of torch.nn.init that are not listed call these methods
_DRAWS = (
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
)


def load_model(config: Task, weights: Path, classes: int | Sequence[str], exclusive: bool) -> nn.Module:
    """Make an experiment's network and fill it from a file. Draws nothing from the global random numbers.

    Args:
        config: The experiment.
        weights: File that :func:`save_model` wrote.
        classes: The dataset's classes, or their number.
        exclusive: The classes exclude each other.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        UserError: the file is missing or damaged, or holds another network.
    """
    try:
        state = load(weights.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{weights} does not exist: train {config.spec} again, or restore the file") from None
    except SafetensorError as error:
        raise UserError(f"{weights} is damaged ({error}): restore it or train {config.spec} again") from None
    count = classes if isinstance(classes, int) else len(classes)
    with torch.random.fork_rng(devices=[]), _NoDraws():
        model = widened(config, count).build_model(count, exclusive)
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    stored = {key: tuple(value.shape) for key, value in state.items()}
    differing = sorted(key for key in own.keys() | stored.keys() if own.get(key) != stored.get(key))
    if differing:
        key = differing[0]
        raise UserError(
            f"{weights} does not fit the network of {config.spec}: {key} is {stored.get(key, 'absent')} in the file "
            f"and {own.get(key, 'absent')} in the network ({len(differing)} differ); train it again"
        )
    model.load_state_dict(state)
    return model.eval()
