"""3D segmentation: residual networks of MONAI (https://github.com/Project-MONAI/MONAI)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

from monai.networks.nets import DynUNet, SegResNetDS, UNet
from torch import Tensor, nn
from torch.nn.functional import interpolate

from heldout.tasks.nets.network import Network
from heldout.tasks.nets.plan import plan

RESENC_BLOCKS = (1, 3, 4, 6, 6, 6)


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


class SupervisedResEnc(SegResNetDS):
    """A SegResNet that returns its coarser predictions enlarged."""

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits, and in training a list of the logits and of the coarser levels' enlarged logits."""
        found = super().forward(image)
        if not isinstance(found, list):
            return cast("Tensor", found)
        logits, *coarser = found
        return [logits, *(interpolate(extra, logits.shape[2:]) for extra in coarser)]


def build(
    arch: Literal["dynunet", "unet", "resenc"],
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
        arch: ``dynunet`` follows nnU-Net, with residual blocks; ``unet`` is the smaller residual U-Net; ``resenc`` has
            as many residual blocks a level as nnU-Net's residual encoders (Isensee et al. 2024,
            https://arxiv.org/abs/2404.09556), and one in the decoder.
        in_channels: Image channels C.
        channels: Logits per voxel.
        filters: Filters of each level, fine to coarse.
        patch_size: Voxels of what the network is trained on (X, Y, Z); None halves every axis at every level.
        spacing: Millimeters per voxel (X, Y, Z); None is isotropic.
        dropout: In every block.
        deep_supervision: Coarser decoder levels that get a loss too; not of ``unet``.
        standardize: Images hold 0 ... 1, not z-scores.

    Returns:
        A network from (B, C, X, Y, Z) to logits (B, channels, X, Y, Z), or in training with deep supervision to a list
        of them and of the coarser levels' logits, enlarged.

    Raises:
        UserError: the patch is too small for so many levels.

    Example:
        >>> import torch
        >>> build("dynunet", 1, 2, filters=(4, 6, 8)).eval()(torch.rand(1, 1, 16, 12, 8)).shape
        torch.Size([1, 2, 16, 12, 8])
    """
    if arch == "resenc":
        network = SupervisedResEnc(
            spatial_dims=3,
            init_filters=filters[0],
            in_channels=in_channels,
            out_channels=channels,
            norm=("instance", {"affine": True}),
            blocks_down=(*RESENC_BLOCKS, *[RESENC_BLOCKS[-1]] * len(filters))[: len(filters)],
            blocks_up=(1,) * (len(filters) - 1),
            dsdepth=1 + deep_supervision,
            resolution=None if spacing is None else tuple(spacing),
        )
        return Network(network, standardize=standardize, multiple=[int(factor) for factor in network.shape_factor()])
    kernels, strides = plan(len(filters), patch_size, spacing)
    options: dict[str, Any] = {"spatial_dims": 3, "in_channels": in_channels, "out_channels": channels}
    if arch == "unet":
        body: nn.Module = UNet(
            **options,
            channels=filters,
            strides=strides[1:],  # type: ignore[arg-type]  # a stride may be a triple
            kernel_size=kernels[0],
            up_kernel_size=kernels[0],
            num_res_units=2,
            dropout=dropout,
        )
    else:
        options |= {"kernel_size": kernels, "strides": strides, "upsample_kernel_size": strides[1:], "filters": filters}
        options |= {"dropout": dropout or None, "res_block": True}
        if deep_supervision:
            body = SupervisedDynUNet(**options, deep_supervision=True, deep_supr_num=deep_supervision)
        else:
            body = DynUNet(**options)
    multiple = [math.prod(level[axis] for level in strides) for axis in range(3)]
    return Network(body, standardize=standardize, multiple=multiple)
