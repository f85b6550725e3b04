"""What every task shares: fields of loss and augmentation, and the hooks that an experiment may override.

Experiments import the task classes on every call of the command line, so torch and its company are imported inside
the hooks only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heldout.config import BaseConfig, experiments, load
from heldout.config.code import POSTPROCESS
from heldout.config.space import check_choices
from heldout.errors import UserError
from heldout.tasks.delivered import Delivered
from heldout.tasks.training import Training

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from heldout.tasks.finder import Finder
    from heldout.tasks.losses import PlainLoss

    Outputs = dict[str, Any]
    Batch = dict[str, Tensor]
    Loss = Callable[[Outputs, Batch], Tensor]


SMOOTHED = ("auto", "bce", "ce", "dice_bce", "dice_ce")  # losses with a cross-entropy, whose labels can be smoothed
DETECTION_SCORES = ("map:", "froc:", "fbeta:")


class Task(Delivered, Training):
    """Base of all tasks: 2D or 3D, classification or segmentation.

    Fields are data and hooks are methods; an experiment overrides either. A task is frozen and strict.

    Example:
        >>> from heldout.tasks import Classify2D
        >>> class Small(Classify2D):
        ...     source = "phantom"
        ...     encoder = "resnet10t"
        >>> task = Small(lr=0.01)
        >>> task.kind, task.dimensions, task.encoder, task.lr
        ('classification', 2, 'resnet10t', 0.01)
    """

    kind: ClassVar[Literal["classification", "segmentation", "regression"]]
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)  # of what a network says after its activation
    two_heads: ClassVar[bool] = False  # the network gives a mask and classifies the whole case too

    # Before and after training
    imported: str | None = Field(
        None, description="predictions made elsewhere that stand in for training, by the name that import-oof gave them"
    )

    postprocess_choices: dict[str, tuple[bool | int | float | str, ...]] = Field(
        {},
        description="values that blend tries for each setting of the hook postprocess, the first where none is better",
    )
    postprocess_by: str = Field(
        "patient",
        min_length=1,
        description="what postprocess_slices and postprocess_table see together: patient, or as in level",
    )

    # Loss
    loss: str = Field("auto", description="name of the loss; auto is the cross-entropy, for masks with Dice")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="mass moved from the label to the other classes")
    class_weights: tuple[float, ...] | None = Field(
        None, description="weight of each class in the loss; the background of exclusive classes keeps 1"
    )
    focal_gamma: float = Field(2.0, ge=0, description="focusing parameter gamma of the focal loss")

    # Augmentation
    augment_library: Literal["albumentations", "torchvision"] = Field(
        "albumentations", description="library that augments images; their transforms are alike, not equal"
    )
    flips: str | None = Field(None, description="axes flipped in training, as in tta; None is every axis")

    @model_validator(mode="after")
    def _flips_and_weights(self) -> Self:
        if self.augment == "nnunet" and self.dimensions == 2:
            raise ValueError("augment = 'nnunet' is for volumes: set augment = 'strong'")
        if self.metric.startswith(DETECTION_SCORES) and self.finder is None:
            raise ValueError(f"metric = {self.metric!r} scores detections: derive the experiment from a Detect task")
        own = [name for name in POSTPROCESS if getattr(type(self), name) is not getattr(Task, name)]
        check_choices(self.postprocess_choices, own)
        flips = self.flips or ""
        if not set(flips) <= set(self.flip_axes) or len(set(flips)) != len(flips):
            raise ValueError(f"flips = {flips!r} may hold each of {self.flip_axes!r} once")
        presence = self.two_heads or getattr(self, "presence_weight", False)  # a cross-entropy of its own
        if self.label_smoothing and self.loss not in SMOOTHED and not presence:
            raise ValueError(f"label_smoothing has no part in loss = {self.loss!r}: set it to 0, or loss = 'auto'")
        if self.class_weights is not None and (not self.class_weights or min(self.class_weights) <= 0):
            raise ValueError(f"class_weights = {self.class_weights} must be positive")
        return self

    @property
    def output(self) -> Literal["label", "mask"]:
        """Key of the network's logits in its output, and of the target in a batch."""
        return "mask" if self.kind == "segmentation" else "label"

    @property
    def finder(self) -> Finder | None:
        """How detections are found in the map of a segmentation; None where nothing is detected."""
        return None

    @property
    def bounded(self) -> bool:
        """Whether prepared images hold 0 ... 1; otherwise they are z-scores."""
        return self.normalize != "zscore"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network with random weights.

        Args:
            classes: Number K of the dataset's classes.
            exclusive: A case (a voxel) has exactly one class (or background), not any subset of them.

        Returns:
            A module from a float image (B, C, *S), as ``to_float`` gives it, to logits: of a classification (B, K), of
            a segmentation (B, K, *S), or (B, K + 1, *S) with the background first where several classes are exclusive.
            It may return the tensor, a list of it and of auxiliary logits in training, or a dictionary with
            ``"label"`` or ``"mask"`` and perhaps ``"aux"``, a list; see :meth:`as_outputs`.

        Example:
            >>> import torch
            >>> from heldout.tasks import Segment2D
            >>> task = Segment2D(encoder="resnet18", encoder_weights=None)
            >>> network = task.build_model(classes=2, exclusive=False)
            >>> tuple(task.as_outputs(network(torch.zeros(1, 1, 64, 64)))["mask"].shape)
            (1, 2, 64, 64)
        """
        raise NotImplementedError(f"{type(self).__name__} has no network: define build_model")

    def pretrained_file(self) -> Path | None:
        """The local file of weights that :meth:`load_pretrained` reads, found or fetched; its hash is part of the run.

        Raises:
            UserError: there is no such file.
        """
        return None

    def fit_targets(self, model: nn.Module, labels: np.ndarray) -> None:
        """Prepare a fresh network for the labels (cases, K) of a fold's training cases."""

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill parts of a fresh network from a local file of weights; called before training only."""

    def positive_weight(self, labels: np.ndarray, exclusive: bool) -> Tensor | None:  # noqa: ARG002 - a hook
        """Weights that balance the classes, for :meth:`build_loss`; None leaves them as they are.

        Args:
            labels: 0/1 labels (cases, K) of a fold's training cases.
            exclusive: As in :meth:`build_model`.
        """
        return None

    def build_loss(self, exclusive: bool, positive_weight: Tensor | None = None) -> Loss | PlainLoss:
        """Make the loss, a callable to a scalar.

        An override may return any loss of logits and one-hot float targets of one shape (B, C, *S), such as
        ``torch.nn.BCEWithLogitsLoss()``. A loss whose parameters are called ``outputs`` and ``batch`` takes the
        dictionary of the network's outputs and that of the batch instead.

        Where a source ignores voxels, a loss of logits and targets finds background there that the network predicts
        with certainty and without gradient: sums are right, means are over all voxels. One with a third parameter
        ``known`` gets 1 where a voxel counts and 0 elsewhere, (B, 1 or C, *S), and can leave the others out. In a batch
        the mask itself is 255 there.

        Args:
            exclusive: As in :meth:`build_model`.
            positive_weight: Weight (K,) of each class's positives, as :meth:`positive_weight` gives it.

        Example:
            >>> import torch
            >>> from heldout.tasks import Classify2D
            >>> loss = Classify2D().build_loss(exclusive=False)
            >>> round(float(loss({"label": torch.zeros(4, 1)}, {"label": torch.ones(4, 1)})), 4)
            0.6931
        """
        from heldout.tasks.losses import TaskLoss, build

        options = {**self.loss_options(), "positive_weight": positive_weight}
        loss = TaskLoss(
            lambda channels, softmax: build(self.loss, channels, softmax, **options), self.output, exclusive
        )
        return self.complete_loss(loss, exclusive)

    def loss_options(self) -> dict[str, Any]:
        """What :func:`heldout.tasks.losses.build` takes besides the loss's name and the channels."""
        names = ("class_weights", "label_smoothing", "focal_gamma")
        return {"masks": self.kind == "segmentation", **{name: getattr(self, name) for name in names}}

    def complete_loss(self, loss: nn.Module, exclusive: bool) -> nn.Module:  # noqa: ARG002 - a hook
        """Add what the task trains besides its main logits to their loss."""
        return loss

    def task_loss(self, exclusive: bool, positive_weight: Tensor | None = None) -> Loss:
        """What :meth:`build_loss` makes, as a callable from the network's outputs and the batch to a scalar."""
        from heldout.tasks.losses import TaskLoss, is_plain

        loss: Any = self.build_loss(exclusive, positive_weight)
        return (
            self.complete_loss(TaskLoss(lambda *_: loss, self.output, exclusive), exclusive) if is_plain(loss) else loss
        )

    def as_outputs(self, answer: Outputs | Tensor | Sequence[Tensor]) -> Outputs:
        """What a network returned, as a dictionary of outputs.

        Args:
            answer: Logits; a list of logits whose first entry counts and whose others are auxiliary; or the dictionary.

        Example:
            >>> from heldout.tasks import Classify2D
            >>> Classify2D().as_outputs(["logits", "auxiliary"])
            {'label': 'logits', 'aux': ['auxiliary']}
        """
        if isinstance(answer, dict):
            return answer
        if isinstance(answer, list | tuple):
            first, *others = answer
            return {self.output: first, "aux": others} if others else {self.output: first}
        return {self.output: answer}

    def build_augment(self) -> Any:
        """Make the augmentation, or None for ``augment = "none"``.

        Returns:
            2D: an ``albumentations.Compose`` for one sample, or any function of an image (C, H, W), a mask (M, H, W) or
            None, and a numpy generator to both; see :func:`heldout.tasks.augment.image.augment_sample`.
            3D: a module for a batch on the device, see :class:`heldout.tasks.augment.volume.VolumeAugment`.

        Example:
            >>> from heldout.tasks import Classify2D
            >>> type(Classify2D(augment="light").build_augment()).__name__
            'Compose'
            >>> Classify2D(augment="none").build_augment() is None
            True
        """
        if self.augment == "none":
            return None
        flips = self.flip_axes if self.flips is None else self.flips
        if self.augment == "nnunet":
            from heldout.tasks.augment.nnunet import NnunetAugment

            return NnunetAugment(flips, self.spacing, self.channels)
        if self.dimensions == 2 and self.augment_library == "torchvision":
            from heldout.tasks.augment.vision import VisionAugment

            return VisionAugment(self.augment, flips, self.bounded, self.channels)
        if self.dimensions == 2:
            from heldout.tasks.augment.image import build_image_augment

            return build_image_augment(self.augment, flips, self.bounded)
        from heldout.tasks.augment.volume import VolumeAugment

        return VolumeAugment.preset(self.augment, flips, self.spacing, self.channels)

    def activate(self, outputs: Outputs, exclusive: bool) -> Tensor:
        """Turn logits into float32 probabilities of the K classes, (B, K) or (B, K, *S).

        Example:
            >>> import torch
            >>> from heldout.tasks import Classify2D
            >>> Classify2D().activate({"label": torch.zeros(1, 2)}, exclusive=False).tolist()
            [[0.5, 0.5]]
        """
        import torch

        logits = outputs[self.output].float()
        if not exclusive or logits.shape[1] == 1:
            return torch.sigmoid(logits)
        probabilities = torch.softmax(logits, dim=1)
        return probabilities if self.kind == "classification" else probabilities[:, 1:]

    def classify_head(self, outputs: Outputs) -> Tensor | None:  # noqa: ARG002 - a hook
        """Probabilities (B, K) of a second head that classifies whole cases; None where there is none."""
        return None

    def start_epoch(self, model: nn.Module, epoch: int) -> None:  # noqa: ARG002 - a hook
        """Put the network into training mode for an epoch, counted from 0: a function of that number alone.

        What it freezes or leaves out follows from the epoch, so that a run which was stopped resumes exactly.
        """
        model.train()

    def mask_channels(self, classes: int, exclusive: bool) -> int:
        """Number of logits per voxel: one more than classes where several are exclusive, for the background.

        Example:
            >>> from heldout.tasks import Segment2D
            >>> Segment2D().mask_channels(3, exclusive=True), Segment2D().mask_channels(3, exclusive=False)
            (4, 3)
        """
        return classes + 1 if exclusive and classes > 1 else classes


def load_task(spec: str, budget: str | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Task:
    """Import an experiment and make the task that ``spec`` names; see :func:`heldout.config.load`.

    Raises:
        UserError: as :func:`heldout.config.load`, or the experiment does not subclass a task.
    """
    return _as_task(load(spec, budget, overrides))


def load_experiments(name: str, budget: str | None = None) -> list[Task]:
    """Tasks of a full run or a family; see :func:`heldout.config.experiments`.

    Raises:
        UserError: as :func:`heldout.config.experiments`, or an experiment does not subclass a task.
    """
    return [_as_task(config) for config in experiments(name, budget)]


def _as_task(config: BaseConfig) -> Task:
    if not isinstance(config, Task):
        raise UserError(f"exps/{config.experiment}.py does not subclass a task: choose one of heldout.tasks")
    return config
