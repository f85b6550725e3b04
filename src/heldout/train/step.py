"""One training step, and how long it takes on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from torch import Tensor

from heldout.tasks import Task
from heldout.train.parts import TrainState, seed_everything

if TYPE_CHECKING:
    from heldout.train.loader import Batches

WARM_UP = 4  # steps that choose kernels and use up batches that were loaded meanwhile
MIN_STEPS = 6


def train_step(
    config: Task, parts: TrainState, samples: dict[str, Tensor], seed: int, group: int = 1, *, update: bool = True
) -> Tensor:
    """Train on one batch.

    Args:
        config: The experiment.
        parts: What is trained.
        samples: A batch of the loader.
        seed: Of the augmentation.
        group: Batches whose gradients are averaged.
        update: Whether the batch is the last of its group, so that the optimizer, schedule and average take a step.

    Returns:
        The loss, detached.
    """
    batch = parts.to_device(samples, seed)
    with parts.forward_guard():
        outputs = config.as_outputs(parts.model(batch["image"]))
    loss = parts.loss(outputs, batch)
    parts.fabric.backward(loss / group)
    if update:
        if config.gradient_clip is not None:
            # float16 overflows now and then: its scaler skips such a step
            parts.fabric.clip_gradients(
                parts.model, parts.optimizer, max_norm=config.gradient_clip, error_if_nonfinite=False
            )
        parts.optimizer.step()
        parts.optimizer.zero_grad()
        parts.schedule.step()
        parts.average.update()
    return loss.detach()


def step_seconds(config: Task, parts: TrainState, batches: Batches, key: tuple[int, int], seconds: float) -> float:
    """Wall time of a training step, loading included: the mean over some, after the first few. The parts are changed.

    Args:
        config: The experiment.
        parts: What is trained.
        batches: Of the fold.
        key: Seed and fold.
        seconds: How long to measure; at least six steps, or one epoch, are.
    """
    config.start_epoch(parts.network, 0)
    counted, begun = 0, time.perf_counter()
    warm_up = min(WARM_UP, len(batches) - 1)
    for number, samples in enumerate(batches.epoch(0)):
        float(train_step(config, parts, samples, seed_everything(*key, 0, "step", number)))  # waits for a GPU
        if number + 1 == warm_up:
            begun = time.perf_counter()
        counted = number + 1 - warm_up
        if counted >= MIN_STEPS and time.perf_counter() - begun > seconds:
            break
    return (time.perf_counter() - begun) / counted
