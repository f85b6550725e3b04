"""Regression: one number, or several, for every image or volume."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from heldout.tasks.base import Task
from heldout.tasks.classify import Classify, Classify2D, Classify3D

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from heldout.tasks.losses import PlainLoss


class Regress(Classify):
    """What both regression tasks share.

    Networks work on standardized targets; mean and deviation of a fold's training targets are part of its weights.
    """

    kind: ClassVar[Literal["regression"]] = "regression"  # type: ignore[assignment]
    value_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    metric = "mae"  # type: ignore[pydantic-field]
    loss: Literal["auto", "l1", "smooth_l1", "mse"] = Field(  # type: ignore[assignment]
        "auto", description="of standardized targets; auto is smooth_l1"
    )

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        for name, plain in (("class_weighting", "none"), ("class_weights", None), ("label_smoothing", 0.0)):
            if getattr(self, name) != plain:
                raise ValueError(f"{name} is for classes: leave it out of a regression")
        for name in ("positive_fraction", "pseudo_labels"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is for labels: leave it out of a regression")
        if getattr(self, "pooling", "mean") == "noisy_or":
            raise ValueError("pooling = 'noisy_or' combines probabilities: set 'mean' or 'attention'")
        return self

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network of the classification, with outputs in the unit of the targets."""
        from heldout.tasks.nets.rescaled import Rescaled

        return Rescaled(super().build_model(classes, exclusive), classes)

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill the network inside; see the classification."""
        inside: Any = getattr(model, "network", model)
        super().load_pretrained(inside)

    def fit_targets(self, model: nn.Module, labels: np.ndarray) -> None:
        """Take over mean and deviation of the training targets."""
        from heldout.tasks.nets.rescaled import Rescaled

        if isinstance(model, Rescaled):
            model.fit(labels)

    def positive_weight(self, labels: np.ndarray, exclusive: bool) -> Tensor | None:  # noqa: ARG002 - a hook
        """Reciprocal deviation (K,) of the training targets, so that the loss is of standardized numbers."""
        from heldout.tasks.nets.rescaled import deviation

        return 1 / deviation(labels)

    def build_loss(self, exclusive: bool, positive_weight: Tensor | None = None) -> PlainLoss:  # noqa: ARG002
        """Make the loss of predicted and true numbers (B, K)."""
        from heldout.tasks.losses.values import ValueLoss

        return ValueLoss(self.loss, positive_weight)

    def activate(self, outputs: dict[str, Any], exclusive: bool) -> Tensor:  # noqa: ARG002 - a hook
        """The predicted numbers (B, K) float32, as they are."""
        values: Tensor = outputs[self.output]
        return values.float()


class Regress2D(Regress, Classify2D):
    """Regression on images with a network of timm, such as bone age."""


class Regress3D(Regress, Classify3D):
    """Regression on volumes, with the networks of :class:`heldout.tasks.classify.Classify3D`."""


__all__ = ["Regress2D", "Regress3D", "Task"]
