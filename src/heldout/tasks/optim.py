"""Precision, optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from heldout.config import BaseConfig
from heldout.tasks.nets.encoder import encoder_of

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

CPU_BF16 = {"avx512_bf16", "amx_bf16"}
AMPERE = (8, 0)
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 25e4


def choose_precision(
    wanted: Precision | Literal["auto"], device: str, capability: tuple[int, int] | None, flags: set[str]
) -> Precision:
    """The number format of training.

    Args:
        wanted: The field ``precision``.
        device: ``cpu``, ``cuda`` or ``mps``.
        capability: Compute capability of the GPU.
        flags: Instruction sets of the CPU, as Linux names them.

    Returns:
        What was wanted; for ``auto``, and for float16 where there is no CUDA to scale it, bfloat16 where the hardware
        multiplies it, else float16 on CUDA and float32 elsewhere.
    """
    if wanted != "auto" and (wanted != "16-mixed" or device == "cuda"):
        return wanted
    if device == "cuda":
        return "bf16-mixed" if capability is not None and capability >= AMPERE else "16-mixed"
    return "bf16-mixed" if device == "cpu" and flags & CPU_BF16 else "32-true"


def machine_precision(wanted: Precision | Literal["auto"]) -> Precision:
    """:func:`choose_precision` for this machine."""
    if torch.cuda.is_available():
        return choose_precision(wanted, "cuda", torch.cuda.get_device_capability(), set())
    if torch.backends.mps.is_available():
        return choose_precision(wanted, "mps", None, set())
    return choose_precision(wanted, "cpu", None, cpu_flags())


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Instruction sets of the CPU; empty where the system does not tell."""
    if not path.exists():
        return set()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def build_optimizer(config: BaseConfig, network: nn.Module, precision: Precision) -> Optimizer:
    """Make the optimizer. Biases and the parameters of normalization layers are not decayed."""
    layer_decay = getattr(config, "layer_decay", None)  # not every task has an encoder
    encoder = [] if layer_decay is None else _encoder_groups(config, encoder_of(network), layer_decay)
    known = {id(parameter) for group in encoder for parameter in group["params"]}
    parameters = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        *encoder,
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    # a fused optimizer unscales float16 gradients by itself, and could not clip them then
    return kind(groups, lr=config.lr, fused=precision != "16-mixed")


def _encoder_groups(config: BaseConfig, encoder: nn.Module, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters of an encoder by layer, with learning rates that fall from the last layer to the first.

    A layer is what the first two parts of a parameter's name say, the second where it is a number: ``blocks.3``.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in getattr(encoder, "model", encoder).named_parameters():
        first, _, rest = name.partition(".")
        number = rest.partition(".")[0]
        layers.setdefault(f"{first}.{number}" if number.isdigit() else first, []).append(parameter)
    groups = []
    for below, parameters in enumerate(reversed(layers.values())):
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        shared = {"lr": config.lr * layer_decay**below}
        groups.append({**shared, "params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay})
        groups.append({**shared, "params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0})
    return groups[::-1]


def lr_factor(
    step: int, total: int, schedule: str, warmup_fraction: float, fall: float = 0.1, fall_every: int | None = None
) -> float:
    """Learning rate of an optimizer step, as a share of ``config.lr``.

    All but ``one_cycle`` warm up linearly; cosine then falls to 0 (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983). ``one_cycle`` rises and falls on half cosines, from 1/25 to 1 to 1/250000 (Smith
    and Topin 2018, https://arxiv.org/abs/1708.07120; their rise takes ``warmup_fraction = 0.3``).

    Args:
        step: Optimizer steps done, from 0.
        total: Optimizer steps of the whole run.
        schedule: ``cosine``, ``one_cycle``, ``step``, or ``constant`` and ``plateau``, which stay at the top.
        warmup_fraction: Share of the steps spent on the rise.
        fall: Factor of each fall of ``step``.
        fall_every: Optimizer steps from one fall of ``step`` to the next; None is a third of all.
    """
    warmup = round(warmup_fraction * total)
    if step < warmup:
        if schedule == "one_cycle":
            return _half_cosine(ONE_CYCLE_START, 1.0, step / warmup)
        return (step + 1) / (warmup + 1)
    if schedule in ("constant", "plateau"):
        return 1.0
    if schedule == "step":
        return fall ** (step // (fall_every or -(-total // 3)))
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return _half_cosine(1.0, ONE_CYCLE_END if schedule == "one_cycle" else 0.0, progress)


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


class LearningRate:
    """The learning rate of a step as a share of the peak, and what a plateau made of it.

    Its attributes are plain numbers and words, which the schedule's state keeps.

    Attributes:
        share: Product of the falls of ``plateau`` so far.
        best: Best value that it saw.
        stale: Looks since then.
    """

    def __init__(self, config: BaseConfig, steps_per_epoch: int) -> None:
        every = config.schedule_every
        self.total = config.epochs * steps_per_epoch
        self.schedule = config.schedule
        self.warmup_fraction = config.warmup_fraction
        self.fall = config.schedule_factor
        self.fall_every = None if every is None else every * steps_per_epoch
        self.patience = config.schedule_patience
        self.share, self.best, self.stale = 1.0, math.inf, 0

    def __call__(self, step: int) -> float:
        """Share of the peak at an optimizer step."""
        factor = lr_factor(step, self.total, self.schedule, self.warmup_fraction, self.fall, self.fall_every)
        return self.share * factor

    def look(self, value: float) -> None:
        """See a value that should fall, after an epoch or a validation."""
        if value < self.best:
            self.best, self.stale = value, 0
            return
        self.stale += 1
        if self.schedule == "plateau" and self.stale > self.patience:
            self.share, self.stale = self.share * self.fall, 0


def build_schedule(config: BaseConfig, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Make the schedule; it is stepped once per optimizer step.

    Args:
        config: The experiment.
        optimizer: What it drives.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    return LambdaLR(optimizer, LearningRate(config, steps_per_epoch))
