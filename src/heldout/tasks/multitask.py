"""Segmentation and classification by one network: a shared encoder, a decoder for the mask, a head for the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from heldout.errors import UserError
from heldout.tasks.segment import Segment2D

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from heldout.tasks.base import Outputs
    from heldout.tasks.nets.multitask2d import Phase, TwoHeads


class MultiTask2D(Segment2D):
    """Image segmentation with a second head that says which classes an image shows, in one forward pass.

    The head's probabilities are the scores of the cases; what the map says of presence can be had from the map.
    """

    two_heads: ClassVar[bool] = True

    label_weight: float = Field(0.5, gt=0, description="weight of the head's cross-entropy in the loss")
    head_pooling: Literal["avg", "max"] = Field("avg", description="how the head pools the encoder's last features")
    head_dropout: float = Field(0.2, ge=0, lt=1, description="dropout before the head's last layer")
    warmup_epochs: int = Field(0, ge=0, description="number of first epochs that train the segmentation only")
    head_epochs: int = Field(
        0, ge=0, description="number of epochs after the warm-up that train the head only, with everything else frozen"
    )
    skip_mask_below: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the decoder is skipped and the mask empty if the head gives every class a lower probability",
    )

    @model_validator(mode="after")
    def _joint_epochs(self) -> Self:
        if self.skip_mask_below is not None and ("r" in self.tta or self.tta_scales != (1.0,)):
            raise ValueError(
                "skip_mask_below shows a case in one batch: leave r out of tta, and set tta_scales = (1.0,)"
            )
        if self.warmup_epochs + self.head_epochs and self.warmup_epochs + self.head_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs} and head_epochs = {self.head_epochs} leave none of "
                f"{self.epochs} epochs to train both together: lower them or raise epochs"
            )
        return self

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network; see :meth:`heldout.tasks.base.Task.build_model`.

        Returns:
            A module to ``"mask"`` logits as of a segmentation and ``"label"`` logits (B, K): a dictionary, or the two
            in this order. For ``skip_mask_below`` and the phases it must offer what
            :class:`heldout.tasks.nets.multitask2d.TwoHeads` does.
        """
        from heldout.tasks.nets.multitask2d import TwoHeads

        head = {"classes": classes, "pooling": self.head_pooling, "dropout": self.head_dropout or None}
        return self.standardized(TwoHeads(self._build_network(self.mask_channels(classes, exclusive), head)))

    def complete_loss(self, loss: nn.Module, exclusive: bool) -> nn.Module:
        """Add the loss of the head; of the outputs that a phase lacks there is none."""
        from heldout.tasks.losses.presence import HeadPresence, WeightedSum

        mask = super().complete_loss(loss, exclusive)
        head = HeadPresence(exclusive, self.patch_size is not None, self.label_smoothing)
        return WeightedSum({"mask": ("mask", 1.0, mask), "label": ("label", self.label_weight, head)})

    def as_outputs(self, answer: Outputs | Tensor | Sequence[Tensor]) -> Outputs:
        """What a network returned, as a dictionary of outputs.

        Args:
            answer: The dictionary, or the logits of the mask and those of the head.

        Raises:
            UserError: there are no two outputs.
        """
        if isinstance(answer, list | tuple) and len(answer) == 2:
            return dict(zip(("mask", "label"), answer, strict=True))
        if not isinstance(answer, dict):
            raise UserError("build_model gives one output: return the logits of the mask and those of the label")
        return answer

    def classify_head(self, outputs: Outputs) -> Tensor:
        """Turn the head's logits into float32 probabilities (B, K); a case may show any subset of the classes."""
        return outputs["label"].float().sigmoid()

    def phase(self, epoch: int) -> Phase:
        """What an epoch, counted from 0, trains: the mask alone, the head alone, or both."""
        if epoch < self.warmup_epochs:
            return "mask"
        return "head" if epoch < self.warmup_epochs + self.head_epochs else "joint"

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Put the network into training mode for the epoch's phase."""
        model.train()
        if self.warmup_epochs or self.head_epochs:
            if not hasattr(model, "enter"):
                raise UserError("warmup_epochs and head_epochs need build_model to give a TwoHeads: set them to 0")
            cast("TwoHeads", model).enter(self.phase(epoch))
        if self.phase(epoch) != "head":  # where all but the head is frozen anyhow
            self.freeze(model, epoch)
