"""Precision, optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from heldout.config import BaseConfig

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
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    # a fused optimizer unscales float16 gradients by itself, and could not clip them then
    return torch.optim.AdamW(groups, lr=config.lr, fused=precision != "16-mixed")


def lr_factor(step: int, total: int, schedule: str, warmup_fraction: float) -> float:
    """Learning rate of an optimizer step, as a share of ``config.lr``.

    ``cosine`` and ``constant`` warm up linearly; cosine then falls to 0 (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983). ``one_cycle`` rises and falls on half cosines, from 1/25 to 1 to 1/250000 (Smith
    and Topin 2018, https://arxiv.org/abs/1708.07120; their rise takes ``warmup_fraction = 0.3``).

    Args:
        step: Optimizer steps done, from 0.
        total: Optimizer steps of the whole run.
        schedule: ``cosine``, ``one_cycle`` or ``constant``.
        warmup_fraction: Share of the steps spent on the rise.
    """
    warmup = round(warmup_fraction * total)
    if step < warmup:
        if schedule == "one_cycle":
            return _half_cosine(ONE_CYCLE_START, 1.0, step / warmup)
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return _half_cosine(1.0, ONE_CYCLE_END if schedule == "one_cycle" else 0.0, progress)


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def build_schedule(config: BaseConfig, optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Make the schedule; it is stepped once per optimizer step.

    Args:
        config: The experiment.
        optimizer: What it drives.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    total = config.epochs * steps_per_epoch
    return LambdaLR(optimizer, lambda step: lr_factor(step, total, config.schedule, config.warmup_fraction))
