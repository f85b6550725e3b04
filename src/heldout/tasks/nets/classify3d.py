"""3D classification: ResNets of MONAI (Hara et al. 2018, https://arxiv.org/abs/1711.09577)."""

from __future__ import annotations

from monai.networks.nets import resnet
from torch import Tensor, nn

from heldout.tasks.nets.network import Network


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
        dropout: Before the last layer.
        standardize: Images hold 0 ... 1, not z-scores.
    """
    body = resnet3d(encoder, in_channels, classes, small_stem=small_stem, width=width)
    if dropout:
        body.fc = nn.Sequential(nn.Dropout(dropout), body.fc)
    return Network(body, "label", standardize=standardize)


def resnet3d(encoder: str, in_channels: int, classes: int, *, small_stem: bool, width: float) -> nn.Module:
    """A bare 3D ResNet from (B, C, X, Y, Z) to logits (B, classes); see :func:`build`."""
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
    return body
