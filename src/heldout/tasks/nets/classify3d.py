"""3D classification: ResNets of MONAI (Hara et al. 2018, https://arxiv.org/abs/1711.09577) on volumes or crops."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import resnet
from torch import Tensor, nn

from heldout.tasks.nets.crops import CropBag
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.pooling import BagHead, Pooling


class GlobalMean(nn.Module):
    """Mean over all voxels, kept as axes of length 1; unlike adaptive pooling it is deterministic on every device."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to (B, C, 1, 1, 1)."""
        return features.mean(dim=(2, 3, 4), keepdim=True)


def build(
    encoder: str,
    in_channels: int,
    classes: int,
    *,
    small_stem: bool = False,
    width: float = 1.0,
    crop_size: Sequence[int] | None = None,
    crops: int = 4,
    overlap: float = 0.5,
    pooling: Pooling = "mean",
    dropout: float = 0.0,
    standardize: bool = True,
) -> Network:
    """Make a 3D ResNet with ``classes`` logits and random weights.

    Args:
        encoder: ``resnet10``, ``resnet18``, ``resnet34`` or ``resnet50``.
        in_channels: Image channels C.
        classes: Number K of logits.
        small_stem: Begin without a stride, for volumes below about 48 voxels.
        width: Factor on the number of filters.
        crop_size: Voxels (X, Y, Z) of the crops that the network reads; None reads the whole volume.
        crops: Crops per sample in training.
        overlap: Minimum overlap of neighboring crops in the grid of prediction, as a fraction of a crop.
        pooling: How the crops become one answer; see :class:`heldout.tasks.nets.pooling.BagHead`.
        dropout: Before the last layer.
        standardize: Images hold 0 ... 1, not z-scores.

    Returns:
        A network from (B, C, X, Y, Z) to logits (B, K).

    Example:
        >>> import torch
        >>> build("resnet10", 1, 3, small_stem=True, width=0.25).eval()(torch.rand(2, 1, 12, 12, 8)).shape
        torch.Size([2, 3])
    """
    body = getattr(resnet, encoder)(
        spatial_dims=3,
        n_input_channels=in_channels,
        num_classes=classes,
        conv1_t_size=3 if small_stem else 7,
        conv1_t_stride=1 if small_stem else 2,
        no_max_pool=small_stem,
        widen_factor=width,
    )
    body.avgpool = GlobalMean()
    if crop_size is None:
        if dropout:
            body.fc = nn.Sequential(nn.Dropout(dropout), body.fc)
        return Network(body, standardize=standardize)
    head = BagHead(body.fc.in_features, classes, pooling, crops, dropout)
    body.fc = nn.Identity()
    return Network(CropBag(body, head, crop_size, crops, overlap), standardize=standardize)
