"""From a task's outputs and a batch to a scalar: targets in the loss's form, float32, deep supervision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heldout.errors import UserError
from heldout.metrics.ignored import IGNORED
from heldout.tasks.losses.asymmetric import Asymmetric
from heldout.tasks.losses.bce import BinaryCrossEntropy
from heldout.tasks.losses.ce import CrossEntropy
from heldout.tasks.losses.dice import Dice, DiceCE, PositiveDice
from heldout.tasks.losses.focal import Focal
from heldout.tasks.losses.ignored import SURE, hide_logits, takes_known
from heldout.tasks.losses.ordinal import Ordinal
from heldout.tasks.losses.tversky import Tversky

PlainLoss = Callable[[Tensor, Tensor], Tensor]
SIGMOID_ONLY = {"bce": "ce", "dice_bce": "dice_ce", "asymmetric": "ce"}
FOCAL_POWER = 0.75
SOFTMAX_ONLY = {"ce": "bce", "dice_ce": "dice_bce", "ordinal": "bce"}


class TaskLoss(nn.Module):
    """The loss of a task, always computed in float32, whatever precision the network ran in.

    Outputs under ``"aux"`` count half as much as the one before them (Dou et al. 2016, deep supervision). Where a mask
    is 255 a voxel is ignored, where a label is NaN a class of a case: the loss gets background there, predicted with
    certainty and without gradient, and where it has a parameter ``known``, that these are to be left out of its mean.

    Args:
        make: From the number of logits and whether they are exclusive (softmax) to a loss of logits and one-hot targets
            of one shape (B, C, *S).
        key: ``"label"`` or ``"mask"``: the output and the target that the loss compares.
        exclusive: The dataset's classes exclude each other.
    """

    def __init__(self, make: Callable[[int, bool], PlainLoss], key: str, exclusive: bool) -> None:
        super().__init__()
        self.make = make
        self.key = key
        self.exclusive = exclusive
        self.loss: PlainLoss | None = None

    def forward(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:
        """Compute the loss of ``{"label"|"mask": logits, "aux": [...]}`` against a batch with the same key."""
        logits = outputs[self.key]
        softmax = self.exclusive and logits.shape[1] > 1
        if self.loss is None:
            # only now the number of channels is known, and with it whether there is one class only
            loss = self.make(logits.shape[1], softmax)
            self.loss = loss.to(logits.device) if isinstance(loss, nn.Module) else loss
        with torch.autocast(logits.device.type, enabled=False):
            total, weights = self._of(self.loss, logits.float(), batch, softmax), 1.0
            for level, extra in enumerate(outputs.get("aux", []), start=1):
                total = total + 0.5**level * self._of(self.loss, extra.float(), batch, softmax)
                weights += 0.5**level
        return total / weights

    def _of(self, loss: Callable[..., Tensor], logits: Tensor, batch: dict[str, Tensor], softmax: bool) -> Tensor:
        """The loss of one output."""
        if self.key == "label":
            return _of_known_labels(loss, logits, batch["label"].float())
        mask = batch["mask"]
        target, hidden = one_hot(mask, logits.shape[1], softmax), hide_logits(logits, mask, softmax)
        if hidden is logits or not takes_known(loss):
            return loss(hidden, target)
        return loss(hidden, target, known=(mask != IGNORED).to(logits))


def _of_known_labels(loss: Callable[..., Tensor], logits: Tensor, label: Tensor) -> Tensor:
    """The loss of labels (B, K), of which those that are NaN are unknown: they have no loss and no gradient."""
    known = ~label.isnan()
    if bool(known.all()):
        return loss(logits, label)
    target = label.nan_to_num(0.0)
    if takes_known(loss):
        return loss(logits, target, known=known.to(logits))
    return loss(torch.where(known, logits, -SURE), target)


def one_hot(mask: Tensor, channels: int, softmax: bool) -> Tensor:
    """Masks (B, M, *S) to float 0/1 targets (B, channels, *S), with the background first for softmax.

    Ignored voxels become background.

    Raises:
        ValueError: the mask's channels do not fit the network's.
    """
    mask = torch.where(mask == IGNORED, 0, mask)
    if softmax:
        values = torch.arange(channels, device=mask.device).view(1, channels, *[1] * (mask.ndim - 2))
        return (mask == values).float()
    if mask.shape[1] != channels:
        raise ValueError(f"masks of {mask.shape[1]} channels for a network of {channels}")
    return (mask > 0).float()


def build(
    name: str,
    channels: int,
    softmax: bool,
    *,
    masks: bool,
    class_weights: Sequence[float] | None = None,
    positive_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
    dice_weight: float = 1.0,
    batch_dice: bool = True,
    dice_positives: bool = False,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
) -> nn.Module:
    """Make a loss of logits and one-hot targets of one shape (B, C, *S).

    Args:
        name: ``bce``, ``ce``, ``ordinal``, ``focal``, ``dice``, ``dice_bce``, ``dice_ce``, ``tversky``,
            ``focal_tversky``, ``asymmetric``, or ``auto``: cross-entropy, for masks with Dice.
        channels: Number C of logits.
        softmax: The channels exclude each other.
        masks: Logits of voxels: with ``softmax`` the first channel is the background.
        class_weights: Weight of each class; the background keeps 1.
        positive_weight: Weight (K,) of each class's positives.
        label_smoothing: Share of the label that is moved to the other classes.
        focal_gamma: Focusing parameter of ``focal``.
        dice_weight: Weight of Dice against 1 for the cross-entropy.
        batch_dice: Dice of the whole batch, not of each sample.
        dice_positives: Dice of each sample and class with a mask that is not empty.
        tversky_alpha: Weight of false positives in ``tversky``.
        tversky_beta: Weight of false negatives in ``tversky``.

    Returns:
        A module from logits and targets to a scalar.

    Raises:
        UserError: the loss or the weights do not fit the dataset's classes.

    Example:
        >>> loss = build("auto", 3, True, masks=True, class_weights=(1.0, 2.0))
        >>> loss(torch.zeros(1, 3, 8, 8), torch.eye(3)[torch.arange(64) % 3].T.reshape(1, 3, 8, 8)).shape
        torch.Size([])
    """
    name = _resolve(name, softmax, masks)
    background = softmax and masks
    weight = _class_weight(class_weights, channels, background)
    if softmax and positive_weight is not None:
        if background:
            positive_weight = torch.cat([positive_weight.new_ones(1), positive_weight])
        weight = positive_weight if weight is None else weight * positive_weight
    cross_entropy: nn.Module = (
        CrossEntropy(weight, label_smoothing)
        if softmax
        else BinaryCrossEntropy(weight, positive_weight, label_smoothing)
    )
    match name:
        case "bce" | "ce":
            return cross_entropy
        case "ordinal":
            return Ordinal()
        case "focal":
            return Focal(softmax, focal_gamma, weight, None if softmax else positive_weight)
        case "asymmetric":
            return Asymmetric(class_weight=weight, positive_weight=positive_weight)
        case "tversky" | "focal_tversky":
            power = FOCAL_POWER if name == "focal_tversky" else 1.0
            return Tversky(softmax, tversky_alpha, tversky_beta, batch_dice, weight, power)
    dice = PositiveDice(softmax, weight) if dice_positives else Dice(softmax, batch_dice, weight)
    match name:
        case "dice":
            return dice
        case "dice_ce" | "dice_bce":
            return DiceCE(dice, cross_entropy, dice_weight)
    raise AssertionError(name)


def _resolve(name: str, softmax: bool, masks: bool) -> str:
    """The loss's name, with ``auto`` settled, once it is sure that it fits the classes."""
    if name == "auto":
        return ("dice_" if masks else "") + ("ce" if softmax else "bce")
    if softmax and name in SIGMOID_ONLY:
        raise UserError(f"loss = {name!r} does not fit exclusive classes: set loss = {SIGMOID_ONLY[name]!r} or 'auto'")
    if not softmax and name in SOFTMAX_ONLY:
        raise UserError(f"loss = {name!r} needs several exclusive classes: set loss = {SOFTMAX_ONLY[name]!r} or 'auto'")
    return name


def _class_weight(class_weights: Sequence[float] | None, channels: int, background: bool) -> Tensor | None:
    if class_weights is None:
        return None
    classes = channels - background
    if len(class_weights) != classes:
        raise UserError(f"class_weights = {class_weights} needs one number for each of the {classes} classes")
    return torch.tensor([1.0] * background + list(class_weights))


def is_plain(loss: Callable[..., Tensor]) -> bool:
    """Whether a loss takes logits and targets: its parameters are not called ``outputs`` and ``batch``.

    Example:
        >>> is_plain(torch.nn.BCEWithLogitsLoss()), is_plain(lambda outputs, batch: outputs["mask"].mean())
        (True, False)
    """
    parameters = list(inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters)
    return parameters[:1] != ["outputs"] and parameters[1:2] != ["batch"]
