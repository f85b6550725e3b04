"""3D segmentation: residual U-Nets of MONAI (https://github.com/Project-MONAI/MONAI)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn
from torch.nn.functional import interpolate

from heldout.tasks.nets.network import Network
from heldout.tasks.nets.plan import plan

if TYPE_CHECKING:
    from heldout.tasks.segment import Segment3D


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


def build(config: Segment3D, channels: int) -> Network:
    """Make a residual U-Net with ``channels`` logits per voxel and random weights.

    Raises:
        UserError: the experiment's patch is too small for its number of levels.
    """
    kernels, strides = plan(len(config.filters), config.patch_size or config.image_size, config.spacing)
    make = _dynunet if config.arch == "dynunet" else _unet
    multiple = [math.prod(level[axis] for level in strides) for axis in range(3)]
    body = make(config, channels, kernels, strides)
    return Network(body, "mask", standardise=config.normalize != "zscore", multiple=multiple)


def _dynunet(config: Segment3D, channels: int, kernels: list, strides: list) -> nn.Module:
    options = {
        "spatial_dims": 3,
        "in_channels": config.channels,
        "out_channels": channels,
        "kernel_size": kernels,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": config.filters,
        "dropout": config.dropout or None,
        "res_block": True,
    }
    if not config.deep_supervision:
        return DynUNet(**options)
    return SupervisedDynUNet(**options, deep_supervision=True, deep_supr_num=config.deep_supervision)


def _unet(config: Segment3D, channels: int, kernels: list, strides: list) -> nn.Module:
    return UNet(
        spatial_dims=3,
        in_channels=config.channels,
        out_channels=channels,
        channels=config.filters,
        strides=strides[1:],
        kernel_size=kernels[0],
        up_kernel_size=kernels[0],
        num_res_units=2,
        dropout=config.dropout,
    )
