"""Classification of images and volumes: one label per case, one per class, or one of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heldout.errors import UserError
from heldout.tasks.base import Task
from heldout.tasks.pretrained import PretrainedEncoder

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from heldout.tasks.nets.hub import Library

RESNETS = ("resnet10", "resnet18", "resnet34", "resnet50")


class Classify(Task):
    """What both classification tasks share."""

    kind: ClassVar[Literal["classification"]] = "classification"
    metric = "roc_auc"  # type: ignore[pydantic-field]  # type and description are inherited

    level: str = Field(
        "case",
        min_length=1,
        description="what blend scores, and what is tested and submitted: case, patient, or a column of the dataset's "
        "tables such as study, or a template of them such as {patient}_{side}, whose cases are pooled",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the last layer")
    loss: Literal["auto", "bce", "ce", "focal", "asymmetric", "ordinal"] = Field(
        "auto",
        description="auto is ce for exclusive classes, otherwise bce; ordinal takes them as grades in their order; "
        "asymmetric is for many labels, mostly absent",
    )
    class_weighting: Literal["none", "balanced", "effective"] = Field(
        "none",
        description="balanced weighs classes by the inverse of their number in a fold's training cases, effective by "
        "that of their effective number, which is milder",
    )

    @model_validator(mode="after")
    def _whole_cases(self) -> Self:
        if self.patch_size is not None:
            raise ValueError("patch_size is for segmentation: a classifier sees whole cases, so set image_size")
        return self

    def positive_weight(self, labels: np.ndarray, exclusive: bool) -> Tensor | None:
        """Negatives per positive for each class, or for exclusive classes cases per class, relative to their mean."""
        if self.class_weighting == "none":
            return None
        import torch

        values = torch.as_tensor(labels).double()
        counts = values.nansum(dim=0).clamp(min=1)
        total = (~values.isnan()).sum(dim=0).double()  # of which the class is known
        if self.class_weighting == "effective":
            # Cui et al. 2019, https://arxiv.org/abs/1901.05555: n cases of which each covers 1/N of what there is
            absent, keep = total - counts, 1 - 1 / total
            counts, absent = ((1 - keep**number) / (1 - keep) for number in (counts, absent.clamp(min=1)))
            if exclusive and labels.shape[1] > 1:
                return (counts.reciprocal() / counts.reciprocal().mean()).float()
            return (absent / counts).float()
        if exclusive and labels.shape[1] > 1:
            return (total / (len(counts) * counts)).float()
        return ((total - counts).clamp(min=1) / counts).float()


class Classify2D(Classify, PretrainedEncoder):
    """Image classification with a network of timm."""

    dimensions: ClassVar[Literal[2]] = 2
    encoder: str = Field("resnet18", description="name of a timm model")
    probe: bool = Field(
        False,
        description="train the last layer alone, on features of the pretrained encoder that are computed once per "
        "image; with augment = 'none'",
    )

    @model_validator(mode="after")
    def _probe_sees_the_same_images(self) -> Self:
        if not self.probe:
            return self
        if self.encoder_weights is None:
            raise ValueError("probe = True needs the features of a pretrained encoder: set encoder_weights")
        needed = {"augment": "none", "mixup": 0.0, "cutmix": 0.0, "progressive_sizes": ()}  # images never change
        for name, value in {**needed, "frozen_epochs": 0, "layer_decay": None}.items():  # nor does the encoder
            if getattr(self, name) != value:
                raise ValueError(f"probe = True computes the features of an image once: set {name} = {value!r}")
        return self

    def freeze(self, model: nn.Module, epoch: int) -> None:
        """Freeze the encoder of a probe in every epoch, and of other networks as ``frozen_epochs`` says."""
        if self.probe:
            from heldout.tasks.nets.encoder import freeze_encoder

            freeze_encoder(model, True)
        else:
            super().freeze(model, epoch)

    def encoder_library(self) -> tuple[str, Library]:
        """Name of the encoder, and timm."""
        return self.encoder, "timm"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:  # noqa: ARG002 - K logits either way
        """Make a timm network; see :meth:`heldout.tasks.base.Task.build_model`."""
        from heldout.tasks.nets.classify2d import build

        network = build(
            self.encoder,
            self.channels,
            classes,
            image_size=self.image_size,
            dropout=self.dropout,
            standardize=self.bounded,
            probe=self.probe,
        )
        return self.standardized(network)

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill all but the last layer from ``encoder_weights``."""
        path = self.pretrained_file()
        if path is not None:
            from heldout.tasks.nets.classify2d import load_pretrained

            network: Any = model
            body, last = network.body, network.body.get_classifier()
            body = body.encoder if self.probe else body
            load_pretrained(body, last, path, self.encoder, self.channels, network.input_size)
            self.fill_statistics(network, path)


class Classify3D(Classify, PretrainedEncoder):
    """Volume classification: a 3D ResNet of MONAI on whole volumes or crops of them, or a 2D network on slices."""

    dimensions: ClassVar[Literal[3]] = 3
    arch: Literal["resnet", "slices"] = Field(
        "resnet", description="resnet is a 3D ResNet; slices (2.5D) a timm network on stacks of neighboring slices"
    )
    encoder: str = Field("resnet18", description="resnet10, 18, 34 or 50; with arch = 'slices' any model of timm")
    encoder_weights: Literal[True] | str | None = Field(
        None,
        description="pretrained weights: with arch = 'slices' as in Classify2D; of a 3D network a file, whose tensors "
        "are matched by name and shape",
    )
    stem: Literal["standard", "small"] = Field(
        "standard",
        description="first layers: standard has a stride of 4, small (for volumes below about 48 voxels) has none",
    )
    width: float = Field(1.0, gt=0, le=2, description="factor on the number of filters")
    crop_size: tuple[int, int, int] | None = Field(
        None, description="voxels of the crops that a 3D network reads instead of the whole volume"
    )
    crops: int = Field(4, ge=1, description="random crops per volume in training; prediction takes a grid of them")
    slices: int = Field(3, ge=1, description="neighboring slices that are the channels of a 2D network, odd")
    slice_step: int = Field(1, ge=1, description="slices from one stack of them to the next")
    pooling: Literal["mean", "noisy_or", "attention"] = Field(
        "mean", description="how the features or probabilities of crops or stacks of slices are combined"
    )

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        if self.arch == "resnet" and self.encoder not in RESNETS:
            raise ValueError(f"encoder = {self.encoder!r} is not a 3D network: choose one of {', '.join(RESNETS)}")
        if self.arch == "resnet" and self.encoder_weights is True:
            raise ValueError("encoder_weights = True is for arch = 'slices': name a file of weights of a 3D network")
        if self.arch == "slices" and self.crop_size is not None:
            raise ValueError("crop_size is for arch = 'resnet': set it to None")
        if self.slices % 2 == 0:
            raise ValueError(f"slices = {self.slices} must be odd, so that a stack has a middle")
        if self.crop_size is not None and min(self.crop_size) < 1:
            raise ValueError(f"crop_size = {self.crop_size} needs positive numbers")
        if self.arch == "resnet" and self.crop_size is None and self.pooling != "mean":
            raise ValueError(f"pooling = {self.pooling!r} needs crop_size, or arch = 'slices'")
        return self

    def encoder_library(self) -> tuple[str, Library]:
        """Name of the encoder, and timm."""
        return self.encoder, "timm"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network; see :meth:`heldout.tasks.base.Task.build_model`.

        Raises:
            UserError: noisy-or is to pool classes that exclude one another, or the encoder is unknown.
        """
        from heldout.tasks.nets import classify3d, slices

        if self.pooling == "noisy_or" and exclusive and classes > 1:
            raise UserError(
                "pooling = 'noisy_or' asks of each class whether it occurs, but these classes exclude one another: set "
                "pooling = 'attention' or 'mean'"
            )
        shared: dict[str, Any] = {"pooling": self.pooling, "dropout": self.dropout, "standardize": self.bounded}
        if self.arch == "slices":
            network = slices.build(
                self.encoder,
                self.channels,
                classes,
                slices=self.slices,
                step=self.slice_step,
                image_size=self.image_size,
                **shared,
            )
            return self.standardized(network)
        return classify3d.build(
            self.encoder,
            self.channels,
            classes,
            small_stem=self.stem == "small",
            width=self.width,
            crop_size=self.crop_size,
            crops=self.crops,
            overlap=self.overlap,
            **shared,
        )

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill the 2D encoder, or what fits of a 3D network, from ``encoder_weights``."""
        path = self.pretrained_file()
        if path is None:
            return
        if self.arch == "resnet":
            from heldout.tasks.nets.weights import copy_matching

            copy_matching(model, path)
            return
        from heldout.tasks.nets.classify2d import load_pretrained

        body: Any = model.body
        size = self.image_size[:2] if model.input_size and self.image_size else None
        channels = self.channels * self.slices
        load_pretrained(body.encoder, body.head.last, path, self.encoder, channels, size)
        self.fill_statistics(model, path)
