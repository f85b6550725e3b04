"""3D classification: ResNets of MONAI (Hara et al. 2018, https://arxiv.org/abs/1711.09577)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.nets import resnet
from torch import Tensor, nn

from heldout.tasks.nets.network import Network

if TYPE_CHECKING:
    from heldout.tasks.classify import Classify3D


class GlobalMean(nn.Module):
    """Mean over all voxels, kept as axes of length 1; unlike adaptive pooling it is deterministic on every device."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to (B, C, 1, 1, 1)."""
        return features.mean(dim=(2, 3, 4), keepdim=True)


def build(config: Classify3D, classes: int) -> Network:
    """Make a 3D ResNet with ``classes`` logits and random weights."""
    body = resnet3d(config, classes)
    if config.dropout:
        body.fc = nn.Sequential(nn.Dropout(config.dropout), body.fc)
    return Network(body, "label", standardise=config.normalize != "zscore")


def resnet3d(config: Classify3D, classes: int) -> nn.Module:
    """A bare 3D ResNet from (B, C, X, Y, Z) to logits (B, classes)."""
    small = config.stem == "small"
    body = getattr(resnet, config.encoder)(
        spatial_dims=3,
        n_input_channels=config.channels,
        num_classes=classes,
        conv1_t_size=3 if small else 7,
        conv1_t_stride=1 if small else 2,
        no_max_pool=small,
        widen_factor=config.width,
    )
    body.avgpool = GlobalMean()
    return body
