"""What a fold is trained with: network, average, optimizer, schedule, loss and augmentation, on one device."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from heldout.data.dataset import Dataset
from heldout.data.sides import mirror_order
from heldout.predict.models import build
from heldout.tasks import Task
from heldout.tasks.augment.sides import swap_sides
from heldout.train.checkpoint import Stateful
from heldout.train.ema import ModelEma
from heldout.train.optim import build_optimizer, build_schedule, machine_precision
from heldout.train.sampling import derive_seed, seed_globals
from heldout.train.small_convolutions import Float32SmallConvolutions
from heldout.train.warm_start import WarmStart


@dataclass(eq=False)
class TrainState:
    """Everything that training changes or calls.

    Attributes:
        fabric: Device and precision.
        network: The bare network, which holds the weights.
        model: The same network as it is called in training: in mixed precision, perhaps compiled.
        average: Its running average.
        optimizer: Steps through Fabric, which scales gradients where float16 needs it.
        schedule: Learning rate, per optimizer step.
        loss: From outputs and batch to a scalar.
        augment: Augmentation on the device, or None.
        bare_optimizer: The optimizer itself, which holds the state.
        memory_format: How images lie in memory.
        sides: For each class the one that it is in a volume flipped from left to right; None where none has a side.
    """

    fabric: Fabric
    network: nn.Module
    model: nn.Module
    average: ModelEma
    optimizer: Any
    schedule: LambdaLR
    loss: Callable[[dict[str, Any], dict[str, Tensor]], Tensor]
    augment: nn.Module | None
    bare_optimizer: Optimizer
    memory_format: torch.memory_format
    sides: list[int] | None

    @property
    def stateful(self) -> dict[str, Stateful]:
        """What a checkpoint has to keep, by name."""
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.bare_optimizer,
            "schedule": self.schedule,
            "precision": self.fabric.strategy.precision,
        }

    def to_device(self, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Move a batch to the device and augment it there."""
        batch = self.fabric.to_device(batch)
        if self.augment is not None:
            generator = torch.Generator().manual_seed(seed % 2**63)
            image, mask = self.augment(batch["image"], batch.get("mask"), generator)
            batch = {**batch, "image": image, **({} if mask is None else {"mask": mask})}
            mirrored = getattr(self.augment, "mirrored", None)
            if self.sides is not None and mirrored is not None:
                batch = swap_sides(batch, mirrored, self.sides)
        batch["image"] = batch["image"].contiguous(memory_format=self.memory_format)
        return batch

    def forward_guard(self) -> AbstractContextManager[Any]:
        """What to call :attr:`model` in."""
        needed = self.fabric.device.type == "cpu" and self.fabric.strategy.precision.precision == "bf16-mixed"
        return Float32SmallConvolutions() if needed else nullcontext()

    def is_finite(self) -> bool:
        """Whether every parameter and buffer is a number still."""
        values = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        return bool(torch.stack([torch.isfinite(value).all() for value in values]).all())


def seed_everything(*place: int | str) -> int:
    """Seed every global generator for a place in a run; returns the seed."""
    seed = derive_seed(*place)
    seed_globals(seed)
    torch.manual_seed(seed)
    return seed


def build_parts(
    config: Task,
    dataset: Dataset,
    labels: np.ndarray,
    key: tuple[int, ...],
    steps: int,
    warm_start: WarmStart | None = None,
) -> TrainState:
    """Make the parts of a fold as training starts with them.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        labels: Labels (cases, K) of the training cases.
        key: Seed and fold.
        steps: Batches per epoch.
        warm_start: Weights to begin with; None begins with random ones.
    """
    _silence()
    precision = machine_precision(config.precision)
    fabric = Fabric(accelerator="auto", devices=1, precision=precision)
    # batches of one shape: a GPU may try which convolution is fastest; prediction sets its own way back
    torch.backends.cudnn.benchmark = fabric.device.type == "cuda"
    seed_everything(*key, "network")
    network = build(config, dataset)
    if warm_start is not None:
        warm_start.fill(network)
    layout = torch.contiguous_format
    if config.channels_last:
        layout = torch.channels_last if config.dimensions == 2 else torch.channels_last_3d
    network.to(memory_format=layout)
    bare = build_optimizer(config, network, precision)
    shown = cast("nn.Module", torch.compile(network)) if config.compile else network  # typed as a function by torch
    model, optimizer = fabric.setup(shown, bare)
    loss = config.task_loss(dataset.exclusive, config.positive_weight(labels, dataset.exclusive))
    augment = config.build_augment() if config.dimensions == 3 else None
    return TrainState(
        fabric=fabric,
        network=network,
        model=model,
        average=ModelEma(network, config.ema_decay),
        optimizer=optimizer,
        schedule=build_schedule(config, bare, -(-steps // config.accumulate)),
        loss=loss.to(fabric.device) if isinstance(loss, nn.Module) else loss,
        augment=augment.to(fabric.device) if isinstance(augment, nn.Module) else augment,
        bare_optimizer=bare,
        memory_format=layout,
        sides=mirror_order(config, len(dataset.classes)),
    )


def _silence() -> None:
    """Drop what Fabric and the schedule say on every start and what asks for nothing."""
    for name in ("lightning.fabric", "lightning.fabric.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # a step skipped for float16's sake makes the schedule believe that it is called too early
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    warnings.filterwarnings("ignore", module=r"lightning\.fabric")
