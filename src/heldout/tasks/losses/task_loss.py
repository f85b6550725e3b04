"""From a task's outputs and a batch to a scalar: targets in the loss's form, float32, deep supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heldout.errors import UserError
from heldout.tasks.losses.bce import BinaryCrossEntropy
from heldout.tasks.losses.ce import CrossEntropy
from heldout.tasks.losses.dice import Dice, PositiveDice
from heldout.tasks.losses.dice_bce import DiceBCE
from heldout.tasks.losses.dice_ce import DiceCE
from heldout.tasks.losses.focal import Focal
from heldout.tasks.losses.tversky import Tversky

if TYPE_CHECKING:
    from heldout.tasks.base import Task

SIGMOID_ONLY = {"bce": "ce", "dice_bce": "dice_ce"}
SOFTMAX_ONLY = {"ce": "bce", "dice_ce": "dice_bce"}


class TaskLoss(nn.Module):
    """The loss of a task, always computed in float32, whatever precision the network ran in.

    Outputs under ``"aux"`` count half as much as the one before them (Dou et al. 2016, deep supervision).

    Args:
        config: The experiment, whose field ``loss`` names the loss.
        exclusive: The dataset's classes exclude each other.
        positive_weight: Weight (K,) of each class's positives, or None.
    """

    def __init__(self, config: Task, exclusive: bool, positive_weight: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.exclusive = exclusive
        self.positive_weight = positive_weight
        self.loss: nn.Module | None = None

    def forward(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:
        """Compute the loss of ``{"label"|"mask": logits, "aux": [...]}`` against a batch with the same key."""
        key = self.config.output
        logits = outputs[key]
        softmax = self.exclusive and logits.shape[1] > 1
        if self.loss is None:
            # only now the number of channels is known, and with it whether one class stands alone
            self.loss = build(self.config, logits.shape[1], softmax, self.positive_weight).to(logits.device)
        with torch.autocast(logits.device.type, enabled=False):
            target = batch["label"].float() if key == "label" else one_hot(batch["mask"], logits.shape[1], softmax)
            total, weights = self.loss(logits.float(), target), 1.0
            for level, extra in enumerate(outputs.get("aux", []), start=1):
                total = total + 0.5**level * self.loss(extra.float(), target)
                weights += 0.5**level
        return total / weights


def one_hot(mask: Tensor, channels: int, softmax: bool) -> Tensor:
    """Masks (B, M, *S) to float 0/1 targets (B, channels, *S), with the background first for softmax.

    Raises:
        ValueError: the mask's channels do not fit the network's.
    """
    if softmax:
        values = torch.arange(channels, device=mask.device).view(1, channels, *[1] * (mask.ndim - 2))
        return (mask == values).float()
    if mask.shape[1] != channels:
        raise ValueError(f"masks of {mask.shape[1]} channels for a network of {channels}")
    return (mask > 0).float()


def build(config: Task, channels: int, softmax: bool, positive_weight: Tensor | None) -> nn.Module:
    """Make the loss that an experiment names, for ``channels`` logits.

    Raises:
        UserError: the loss or the weights do not fit the dataset's classes.
    """
    name = _resolve(config, softmax)
    background = softmax and config.kind == "segmentation"
    weight = _class_weight(config, channels, background)
    if softmax and positive_weight is not None:
        if background:
            positive_weight = torch.cat([positive_weight.new_ones(1), positive_weight])
        weight = positive_weight if weight is None else weight * positive_weight
    smoothing = config.label_smoothing
    cross_entropy: nn.Module = (
        CrossEntropy(weight, smoothing) if softmax else BinaryCrossEntropy(weight, positive_weight, smoothing)
    )
    match name:
        case "bce" | "ce":
            return cross_entropy
        case "focal":
            return Focal(softmax, config.focal_gamma, weight, None if softmax else positive_weight)
        case "tversky":
            return Tversky(softmax, config.tversky_alpha, config.tversky_beta, config.batch_dice, weight)
    dice = PositiveDice(softmax, weight) if config.dice_positives else Dice(softmax, config.batch_dice, weight)
    match name:
        case "dice":
            return dice
        case "dice_ce":
            return DiceCE(dice, cross_entropy, config.dice_weight)
        case "dice_bce":
            return DiceBCE(dice, cross_entropy, config.dice_weight)
    raise AssertionError(name)


def _resolve(config: Task, softmax: bool) -> str:
    """The loss's name, with ``auto`` settled, once it is sure that it fits the classes."""
    name = config.loss
    if name == "auto":
        return ("dice_" if config.kind == "segmentation" else "") + ("ce" if softmax else "bce")
    if softmax and name in SIGMOID_ONLY:
        raise UserError(f"loss = {name!r} does not fit exclusive classes: set loss = {SIGMOID_ONLY[name]!r} or 'auto'")
    if not softmax and name in SOFTMAX_ONLY:
        raise UserError(f"loss = {name!r} needs several exclusive classes: set loss = {SOFTMAX_ONLY[name]!r} or 'auto'")
    return name


def _class_weight(config: Task, channels: int, background: bool) -> Tensor | None:
    if config.class_weights is None:
        return None
    classes = channels - background
    if len(config.class_weights) != classes:
        raise UserError(f"class_weights = {config.class_weights} needs one number for each of the {classes} classes")
    return torch.tensor([1.0] * background + list(config.class_weights))
