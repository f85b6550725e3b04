"""Classification of images and volumes: one label per case, one per class, or one of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heldout.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class Classify(Task):
    """What both classification tasks share."""

    kind: ClassVar[Literal["classification"]] = "classification"
    metric = "roc_auc"

    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the last layer")
    loss: Literal["auto", "bce", "ce", "focal"] = Field(
        "auto", description="auto is ce for exclusive classes, otherwise bce"
    )
    class_weighting: Literal["none", "balanced"] = Field(
        "none", description="balanced weighs classes by the inverse of their number in a fold's training cases"
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

        counts = torch.as_tensor(labels).double().sum(dim=0).clamp(min=1)
        total = len(labels)
        if exclusive and labels.shape[1] > 1:
            return (total / (len(counts) * counts)).float()
        return ((total - counts).clamp(min=1) / counts).float()


class Classify2D(Classify):
    """Image classification with a network of timm."""

    dimensions: ClassVar[Literal[2]] = 2
    encoder: str = Field("resnet18", description="name of a timm model")
    encoder_weights: str | None = Field(
        None, description="local file of pretrained weights, absolute or below input/ or $HELDOUT_DATA"
    )

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:  # noqa: ARG002 - K logits either way
        """Make a timm network; see :meth:`heldout.tasks.base.Task.build_model`."""
        from heldout.tasks.nets.classify2d import build

        return build(self, classes)

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill all but the last layer from ``encoder_weights``."""
        if self.encoder_weights is not None:
            from heldout.tasks.nets.classify2d import load_pretrained

            load_pretrained(self, model)


class Classify3D(Classify):
    """Volume classification with a 3D ResNet of MONAI."""

    dimensions: ClassVar[Literal[3]] = 3
    encoder: Literal["resnet10", "resnet18", "resnet34", "resnet50"] = "resnet18"
    stem: Literal["standard", "small"] = Field(
        "standard",
        description="standard begins with a stride of 4, small (for volumes below about 48 voxels) with none",
    )
    width: float = Field(1.0, gt=0, le=2, description="factor on the number of filters")

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:  # noqa: ARG002 - K logits either way
        """Make a 3D ResNet; see :meth:`heldout.tasks.base.Task.build_model`."""
        from heldout.tasks.nets.classify3d import build

        return build(self, classes)
