"""Segmentation of images and volumes: one mask, overlapping masks, or one label per voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from heldout.tasks.base import Task
from heldout.tasks.pretrained import PretrainedEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from heldout.tasks.nets.hub import Library
    from heldout.tasks.nets.network import Network


MaskDetail = Annotated[
    str, StringConstraints(pattern=r"^(lesions|surface|volume|(nsd|surface_dice):\d+(\.\d+)?)$")
]  # a tolerance in mm after the colon
UNETS = ("Unet", "UnetPlusPlus", "MAnet")  # the architectures of smp with a decoder of one width per level
DECODER_LEVELS = 5


class Segment(Task):
    """What both segmentation tasks share."""

    kind: ClassVar[Literal["segmentation"]] = "segmentation"
    metric = "dice_pos"  # type: ignore[pydantic-field]  # type and description are inherited

    loss: Literal["auto", "bce", "ce", "focal", "dice", "dice_bce", "dice_ce", "tversky", "focal_tversky"] = Field(
        "auto", description="auto is dice_ce for several exclusive classes, otherwise dice_bce"
    )
    dice_weight: float = Field(1.0, gt=0, description="weight of the Dice part against the cross-entropy part")
    batch_dice: bool = Field(
        True, description="Dice of the whole batch, which is steadier where most masks are empty, not of each sample"
    )
    dice_positives: bool = Field(
        False, description="Dice of each sample and class with a non-empty mask only; needs batch_dice = False"
    )
    tversky_alpha: float = Field(0.3, ge=0, le=1, description="weight of false positives in the Tversky loss")
    tversky_beta: float = Field(0.7, ge=0, le=1, description="weight of false negatives in the Tversky loss")
    mask_details: tuple[MaskDetail, ...] = Field(
        (),
        description="what is measured of held-out masks in addition to overlap: lesions, surface (distances), volume, "
        "nsd:2 and surface_dice:2 (at a tolerance in mm)",
    )
    presence_weight: float = Field(
        0.0, ge=0, description="weight of an auxiliary loss on the presence of each class in the map; 0 leaves it out"
    )

    @model_validator(mode="after")
    def _dice_of_each_sample(self) -> Self:
        if self.dice_positives and self.batch_dice:
            raise ValueError("dice_positives is a Dice of each sample: set batch_dice = False")
        return self

    def loss_options(self) -> dict[str, Any]:
        """As of every task, with the weights of Dice and Tversky."""
        names = ("dice_weight", "batch_dice", "dice_positives", "tversky_alpha", "tversky_beta")
        return {**super().loss_options(), **{name: getattr(self, name) for name in names}}

    def complete_loss(self, loss: nn.Module, exclusive: bool) -> nn.Module:
        """Add the loss of presence, where that has a weight."""
        if not self.presence_weight:
            return loss
        from heldout.tasks.losses.presence import MapPresence, WeightedSum

        presence = MapPresence(exclusive, self.patch_size is not None, self.label_smoothing)
        return WeightedSum({"mask": ("mask", 1.0, loss), "presence": ("mask", self.presence_weight, presence)})


class Segment2D(Segment, PretrainedEncoder):
    """Image segmentation with a network of segmentation_models.pytorch."""

    dimensions: ClassVar[Literal[2]] = 2
    arch: Literal[
        "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet",
        "Segformer",
    ] = Field("Unet", description="architecture of segmentation_models.pytorch")  # fmt: skip
    encoder: str = Field("resnet18", description="encoder of segmentation_models.pytorch; tu-<name> is one of timm")
    decoder_channels: tuple[int, ...] | None = Field(
        None, description="channels of the decoder's five levels, coarse to fine, for the U-Nets; None is smp's default"
    )

    @model_validator(mode="after")
    def _decoder_levels(self) -> Self:
        if self.decoder_channels is not None:
            if self.arch not in UNETS:
                raise ValueError(f"decoder_channels is for arch = {', '.join(UNETS)}: set it to None")
            if len(self.decoder_channels) != DECODER_LEVELS or min(self.decoder_channels) < 1:
                raise ValueError(f"decoder_channels = {self.decoder_channels} needs {DECODER_LEVELS} positive numbers")
        return self

    def encoder_library(self) -> tuple[str, Library]:
        """Name of the encoder, and the library that has it."""
        return self.encoder, "timm" if self.encoder.startswith("tu-") else "smp"

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network; see :meth:`heldout.tasks.base.Task.build_model`."""
        return self.standardized(self._build_network(self.mask_channels(classes, exclusive)))

    def _build_network(self, channels: int, head: dict[str, Any] | None = None) -> Network:
        from heldout.tasks.nets.segment2d import build

        return build(
            self.arch,
            self.encoder,
            self.channels,
            channels,
            decoder_channels=self.decoder_channels,
            head=head,
            image_size=self.patch_size or self.image_size,
            standardize=self.bounded,
        )

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill the encoder from ``encoder_weights``."""
        path = self.pretrained_file()
        if path is not None:
            from heldout.tasks.nets.segment2d import load_pretrained

            network: Any = model
            load_pretrained(network.body.encoder, path, self.encoder, self.channels, network.input_size)
            self.fill_statistics(network, path)


class Segment3D(Segment):
    """Volume segmentation with a residual U-Net of MONAI."""

    dimensions: ClassVar[Literal[3]] = 3
    arch: Literal["dynunet", "unet", "resenc"] = Field(
        "dynunet",
        description="dynunet follows nnU-Net, with residual blocks; unet is the smaller residual U-Net; resenc has a "
        "deep residual encoder and a light decoder",
    )
    filters: tuple[int, ...] = Field((16, 32, 64, 128), min_length=3, description="filters of each level")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in every block")
    encoder_weights: str | None = Field(
        None,
        description="file of pretrained weights, named as in Segment2D, whose tensors are matched by name and shape",
    )
    deep_supervision: int = Field(
        0, ge=0, description="number of coarser decoder levels with a loss of their own; not of unet"
    )

    @model_validator(mode="after")
    def _supervised_levels(self) -> Self:
        if self.deep_supervision and self.arch == "unet":
            raise ValueError("deep_supervision needs arch = 'dynunet' or 'resenc'")
        wanted = tuple(self.filters[0] * 2**level for level in range(len(self.filters)))
        if self.arch == "resenc" and (self.filters != wanted or self.dropout):
            raise ValueError(
                f"arch = 'resenc' doubles its filters and has no dropout: set filters = {wanted}, dropout = 0"
            )
        if self.deep_supervision > len(self.filters) - 2:
            raise ValueError(
                f"deep_supervision = {self.deep_supervision} needs {self.deep_supervision + 2} filters or more"
            )
        return self

    def build_model(self, classes: int, exclusive: bool) -> nn.Module:
        """Make the network; see :meth:`heldout.tasks.base.Task.build_model`."""
        from heldout.tasks.nets.segment3d import build

        return build(
            self.arch,
            self.channels,
            self.mask_channels(classes, exclusive),
            filters=self.filters,
            patch_size=self.patch_size or self.image_size,
            spacing=self.spacing,
            dropout=self.dropout,
            deep_supervision=self.deep_supervision,
            standardize=self.bounded,
        )

    def pretrained_file(self) -> Path | None:
        """The file of pretrained weights; None where there is none.

        Raises:
            UserError: there is no such file.
        """
        from heldout.tasks.nets.weights import weights_file

        return None if self.encoder_weights is None else weights_file(self.encoder_weights)

    def load_pretrained(self, model: nn.Module) -> None:
        """Fill what fits from ``encoder_weights``."""
        path = self.pretrained_file()
        if path is not None:
            from heldout.tasks.nets.weights import copy_matching

            copy_matching(model, path)
