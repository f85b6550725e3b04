"""Detection of points and boxes: a segmentation network whose map is a heat map, with the objects at its peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from heldout.tasks.finder import CASE, COUNT, Finder, detection_fields
from heldout.tasks.segment import Segment, Segment2D, Segment3D

if TYPE_CHECKING:
    from torch import Tensor

    from heldout.tasks.base import Loss
    from heldout.tasks.losses import PlainLoss


class Detect(Segment):
    """What both detection tasks share.

    The masks of the dataset are what the network learns: filled boxes, outlines, or balls around points. What a source
    does not list as objects is taken from its masks: every connected region is one.
    """

    metric = "map:0.5"  # type: ignore[pydantic-field]
    objects: Literal["boxes", "points"] = Field("boxes", description="what is detected at a peak of the heat map")
    heat_sigma: float = Field(
        0.0,
        ge=0,
        description="standard deviation, in prepared voxels, that turns masks into heat maps with a peak of 1 in every "
        "object, so that touching ones stay apart; 0 learns the masks themselves",
    )
    box_scale: float = Field(
        1.0, gt=0, description="factor from the region around a peak, where the map has half its height, to its box"
    )
    min_score: float = Field(0.05, gt=0, lt=1, description="lowest score of a detection")
    most_detections: int = Field(100, ge=1, description="detections of a case and class, the surest first")

    detection_text: str | None = Field(
        None,
        description='with submission = "detections": text of a detection, such as "{score:.3f} {x:.0f} {y:.0f} {w:.0f} '
        '{h:.0f}", of which a case has one line; None writes a row for each detection',
    )
    no_detection: str = Field("", description="text of a case in which nothing is detected")
    detection_columns: dict[str, str] = Field(
        {},
        description='with a row for each detection: what its columns hold, such as {"id": "number", "image": "case", '
        '"x": "cx"}; {} is a default',
    )

    @model_validator(mode="after")
    def _form_of_detections(self) -> Self:
        fields = detection_fields(3 if self.flip_axes == "xyz" else 2)
        unknown = [name for name in self.detection_columns.values() if name not in (*fields, CASE, COUNT)]
        if unknown:
            raise ValueError(f"detection_columns holds {unknown[0]!r}: choose of {CASE}, {COUNT}, {', '.join(fields)}")
        if self.detection_text is not None:
            try:
                self.detection_text.format(**{name: "a" if name == "class" else 1 for name in fields})
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"detection_text = {self.detection_text!r} cannot be filled ({error}): name {', '.join(fields)}"
                ) from None
            if self.detection_columns:
                raise ValueError("detection_columns is for a row per detection: leave out detection_text")
        if self.submission == "detections" and self.detection_text is None and self.sample_submission is not None:
            raise ValueError(
                "sample_submission lists cases, and detections have rows of their own: set it to None and name the "
                "columns in detection_columns, or set detection_text for one text per case"
            )
        return self

    @property
    def finder(self) -> Finder:
        """How detections are found in the heat map."""
        return Finder(
            objects=self.objects, box_scale=self.box_scale, min_score=self.min_score, most=self.most_detections
        )

    def build_loss(self, exclusive: bool, positive_weight: Tensor | None = None) -> Loss | PlainLoss:
        """Make the loss of the segmentation, of heat maps where ``heat_sigma`` is set."""
        if not self.heat_sigma:
            return super().build_loss(exclusive, positive_weight)
        from heldout.tasks.losses import TaskLoss, build
        from heldout.tasks.losses.heat import HeatLoss

        options = {**self.loss_options(), "positive_weight": positive_weight}
        sigma = self.heat_sigma
        loss = TaskLoss(
            lambda channels, softmax: HeatLoss(build(self.loss, channels, softmax, **options), sigma, softmax),
            self.output,
            exclusive,
        )
        return self.complete_loss(loss, exclusive)


class Detect2D(Detect, Segment2D):
    """Detection in images with a network of segmentation_models.pytorch."""


class Detect3D(Detect, Segment3D):
    """Detection in volumes with a residual U-Net of MONAI."""
