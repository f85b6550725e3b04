"""3D segmentation: residual U-Nets of MONAI (https://github.com/Project-MONAI/MONAI)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn
from torch.nn.functional import interpolate

from heldout.tasks.nets.network import Network
from heldout.tasks.nets.plan import Triples, plan


class SupervisedDynUNet(DynUNet):
    """A DynUNet that returns its coarser predictions as a list, and keeps none of them until the next batch.

    What MONAI's own class keeps cannot be copied (for an average of the weights) and holds memory.
    """

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits, and in training a list of the logits and of the coarser levels' enlarged logits."""
        logits = self.output_block(self.skip_layers(image))
        coarser = list(self.heads)
        self.heads[:] = [image.new_zeros(1)] * len(coarser)
        if not self.training:
            return logits
        return [logits, *(interpolate(extra, logits.shape[2:]) for extra in coarser)]


def build(
    arch: Literal["dynunet", "unet"],
    in_channels: int,
    channels: int,
    *,
    filters: Sequence[int],
    patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    dropout: float = 0.0,
    deep_supervision: int = 0,
    standardize: bool = True,
) -> Network:
    """Make a residual U-Net with ``channels`` logits per voxel and random weights.

    Args:
        arch: ``dynunet`` follows nnU-Net, with residual blocks; ``unet`` is the smaller residual U-Net.
        in_channels: Image channels C.
        channels: Logits per voxel.
        filters: Filters of each level, fine to coarse.
        patch_size: Voxels of what the network is trained on (X, Y, Z); None halves every axis at every level.
        spacing: Millimeters per voxel (X, Y, Z); None is isotropic.
        dropout: In every block.
        deep_supervision: Coarser decoder levels that get a loss too; ``dynunet`` only.
        standardize: Images hold 0 ... 1, not z-scores.

    Raises:
        UserError: the patch is too small for so many levels.
    """
    kernels, strides = plan(len(filters), patch_size, spacing)
    if arch == "dynunet":
        body = _dynunet(in_channels, channels, kernels, strides, filters, dropout, deep_supervision)
    else:
        body = _unet(in_channels, channels, kernels, strides, filters, dropout)
    multiple = [math.prod(level[axis] for level in strides) for axis in range(3)]
    return Network(body, "mask", standardize=standardize, multiple=multiple)


def _dynunet(
    in_channels: int,
    channels: int,
    kernels: Triples,
    strides: Triples,
    filters: Sequence[int],
    dropout: float,
    deep_supervision: int,
) -> nn.Module:
    options = {
        "spatial_dims": 3,
        "in_channels": in_channels,
        "out_channels": channels,
        "kernel_size": kernels,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": filters,
        "dropout": dropout or None,
        "res_block": True,
    }
    if not deep_supervision:
        return DynUNet(**options)
    return SupervisedDynUNet(**options, deep_supervision=True, deep_supr_num=deep_supervision)


def _unet(
    in_channels: int, channels: int, kernels: Triples, strides: Triples, filters: Sequence[int], dropout: float
) -> nn.Module:
    return UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=channels,
        channels=filters,
        strides=strides[1:],
        kernel_size=kernels[0],
        up_kernel_size=kernels[0],
        num_res_units=2,
        dropout=dropout,
    )
