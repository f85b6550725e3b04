"""What a fold is trained with: network, running average, optimizer, schedule, loss and augmentation, on one device."""

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
from torch.nn.functional import interpolate
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from heldout.data.dataset import Dataset
from heldout.data.sides import mirror_order
from heldout.errors import UserError
from heldout.predict.models import build
from heldout.tasks import Task
from heldout.tasks.augment.sides import swap_sides
from heldout.tasks.nets.recompute import checkpoint_blocks
from heldout.tasks.optim import machine_precision
from heldout.tasks.training import Training
from heldout.train.average import ModelEma
from heldout.train.checkpoint import Stateful
from heldout.train.convolutions import Float32Convolutions
from heldout.train.origins import WarmStart
from heldout.train.sampling import derive_seed, seed_globals
from heldout.train.team import ALONE, Team


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
        exclusive: The classes exclude each other.
        team: The processes that train together.
        sides: For each class the one that it is in a volume flipped from left to right; None where none has a side.
    """

    fabric: Fabric
    network: nn.Module
    model: Any
    average: ModelEma
    optimizer: Any
    schedule: LRScheduler
    loss: Callable[[dict[str, Any], dict[str, Tensor]], Tensor]
    augment: nn.Module | None
    bare_optimizer: Optimizer
    memory_format: torch.memory_format
    sides: list[int] | None
    exclusive: bool = False
    team: Team = ALONE
    size: float = 1.0  # of images or patches in this epoch, as a share of their sides

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
        return batch if self.size == 1 else resized(batch, self.size)

    def forward_guard(self) -> AbstractContextManager[Any]:
        """What to call :attr:`model` in."""
        return _forward_guard(self.fabric)

    def is_finite(self) -> bool:
        """Whether every parameter and buffer is a number still."""
        values = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        return bool(torch.stack([torch.isfinite(value).all() for value in values]).all())


def _forward_guard(fabric: Fabric) -> AbstractContextManager[Any]:
    needed = fabric.device.type == "cpu" and fabric.strategy.precision.precision == "bf16-mixed"
    return Float32Convolutions() if needed else nullcontext()


def resized(batch: dict[str, Tensor], size: float) -> dict[str, Tensor]:
    """A batch with images and masks of other side lengths, as a share of theirs."""
    shape = [max(1, round(size * length)) for length in batch["image"].shape[2:]]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    batch = {**batch, "image": interpolate(batch["image"], shape, mode=mode)}
    if "mask" in batch:
        batch["mask"] = interpolate(batch["mask"].float(), shape, mode="nearest").to(batch["mask"].dtype)
    return batch


def seed_everything(*place: int | str) -> int:
    """Seed every global generator for a place in a run; returns the seed."""
    seed = derive_seed(*place)
    seed_globals(seed)
    torch.manual_seed(seed)
    return seed


def build_state(
    config: Task,
    dataset: Dataset,
    labels: np.ndarray,
    key: tuple[int, ...],
    steps: int,
    warm_start: WarmStart | None = None,
    team: Team = ALONE,
) -> TrainState:
    """Make what a fold is trained with, as training starts with it.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        labels: Labels (cases, K) of the training cases.
        key: Seed and fold.
        steps: Batches per epoch.
        warm_start: Weights to begin with; None begins with random ones.
        team: The processes that train together.
    """
    _silence()
    precision = machine_precision(config.precision)
    fabric = team.fabric(precision)
    # batches of one shape: a GPU may try which convolution is fastest; prediction sets its own way back
    torch.backends.cudnn.benchmark = fabric.device.type == "cuda"
    seed_everything(*key, "network")
    network = build(config, dataset)
    config.fit_targets(network, labels)
    if warm_start is not None:
        warm_start.fill(network)
    layout = torch.contiguous_format
    if config.channels_last:
        layout = torch.channels_last if config.dimensions == 2 else torch.channels_last_3d
    network.to(memory_format=layout)
    bare = config.build_optimizer(network, precision)
    shown = cast("nn.Module", torch.compile(network)) if config.compile else network  # typed as a function by torch
    model, optimizer = fabric.setup(shown, bare)
    loss = config.task_loss(dataset.exclusive, config.positive_weight(labels, dataset.exclusive))
    augment = config.build_augment() if config.dimensions == 3 else None
    per_epoch = -(-steps // config.accumulate)
    swa_from = None if config.swa_start is None else round(config.swa_start * config.epochs * per_epoch)
    average = ModelEma(network, config.ema_decay, swa_from)
    if config.gradient_checkpointing:
        checkpoint_blocks(network, lambda: _forward_guard(fabric))
    if config.progressive_sizes and getattr(network, "input_size", None) is not None:
        raise UserError("progressive_sizes needs a network that takes images of any size: set it to ()")
    return TrainState(
        fabric=fabric,
        network=network,
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=config.build_schedule(bare, per_epoch),
        loss=loss.to(fabric.device) if isinstance(loss, nn.Module) else loss,
        augment=augment.to(fabric.device) if isinstance(augment, nn.Module) else augment,
        bare_optimizer=bare,
        memory_format=layout,
        sides=mirror_order(config, len(dataset.classes)),
        exclusive=dataset.exclusive,
        team=team,
    )


def train_step(
    config: Task, state: TrainState, samples: dict[str, Tensor], seed: int, group: int = 1, *, update: bool = True
) -> Tensor:
    """Train on one batch.

    Args:
        config: The experiment.
        state: What is trained.
        samples: A batch of the loader: of several devices this one's share, or the whole batch where samples are
            augmented or mixed together.
        seed: Of the augmentation.
        group: Batches whose gradients are averaged.
        update: Whether the batch is the last of its group, so that the optimizer, schedule and average take a step.

    Returns:
        The loss, detached.
    """
    generator, team = torch.Generator().manual_seed(derive_seed(seed, "batch") % 2**63), state.team
    batch: dict[str, Any] = config.transform_batch(state.to_device(samples, seed), generator, state.exclusive)
    image = batch["image"] if team.size == 1 or loads_share(config) else team.cut(batch["image"])
    if not team.is_first:
        torch.manual_seed(derive_seed(seed, "device", team.rank) % 2**63)  # other units drop out than on the first
    batch["image"] = image = image.contiguous(memory_format=state.memory_format)
    with state.fabric.no_backward_sync(state.model, enabled=team.size > 1 and not update):
        with state.forward_guard():
            outputs = config.as_outputs(state.model(image))
        # of the whole batch on every device, so that no loss has to know of several
        outputs, batch = _whole(config, team, outputs, batch)
        loss = state.loss(outputs, batch)
        if "other" in batch:
            loss = batch["share"] * loss + (1 - batch["share"]) * state.loss(outputs, batch["other"])
        state.fabric.backward(loss / group if team.size == 1 else loss * (team.size / group))  # DDP takes their mean
    if update:
        if config.gradient_clip is not None:
            # float16 overflows now and then: its scaler skips such a step
            state.fabric.clip_gradients(
                state.model, state.optimizer, max_norm=config.gradient_clip, error_if_nonfinite=False
            )
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.schedule.step()
        state.average.update()
    return loss.detach()


def loads_share(config: Task) -> bool:
    """Whether a device loads its share of a batch, or the whole, which is augmented or mixed together."""
    alone = config.dimensions == 2 or config.augment == "none"
    own = type(config).transform_batch is not Training.transform_batch or config.mixup or config.cutmix
    return config.devices > 1 and alone and not own


def _whole(
    config: Task, team: Team, outputs: dict[str, Any], batch: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and batch of all devices together, as one device has them."""
    if team.size == 1:
        return outputs, batch
    if loads_share(config):
        batch = team.join(batch)
    else:
        batch["image"] = team.join(batch["image"])
    return team.join(outputs), batch


def _silence() -> None:
    """Drop what Fabric and the schedule say on every start and what asks for nothing."""
    for name in ("lightning.fabric", "lightning.fabric.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # a step skipped for float16's sake makes the schedule believe that it is called too early
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    warnings.filterwarnings("ignore", module=r"lightning\.fabric")
    # kernels of one voxel lie in memory both ways at once
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
