"""2.5D classification: a 2D network of timm over stacks of neighboring slices, pooled along z.

Neighboring slices as channels of a pretrained 2D network, and a pooling over the stacks, is what recent winners of
medical competitions use where 3D networks lack pretraining: RSNA 2023 abdominal trauma, 2nd place (three adjacent
slices, https://github.com/TheoViel/kaggle_rsna_abdominal_trauma); RSNA 2024 lumbar spine, 2nd place (a 2D network with
an attention head over the slices, https://github.com/brendanartley/RSNA-2024-Competition).
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from heldout.tasks.nets.classify2d import check_encoder, create, features_of
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.pooling import BagHead, Pooling


def build(
    encoder: str,
    in_channels: int,
    classes: int,
    *,
    slices: int,
    step: int,
    pooling: Pooling,
    image_size: tuple[int, ...] | None = None,
    dropout: float = 0.0,
    standardize: bool = True,
) -> Network:
    """Make a timm network over stacks of neighboring slices, with random weights.

    Args:
        encoder: Name of a timm model.
        in_channels: Image channels C.
        classes: Number K of logits.
        slices: Slices in a stack, odd; ``C * slices`` channels go into the encoder.
        step: Slices from one stack to the next.
        pooling: How the stacks become one answer; see :class:`heldout.tasks.nets.pooling.BagHead`.
        image_size: Size (X, Y, Z) of the volumes, for encoders that take one size only.
        dropout: Before the last layer.
        standardize: Images hold 0 ... 1, not z-scores.

    Returns:
        A network from (B, C, X, Y, Z) to logits (B, K).

    Raises:
        UserError: timm has no such encoder, or it takes one size only and ``image_size`` is None.

    Example:
        >>> import torch
        >>> network = build("resnet10t", 1, 3, slices=3, step=2, pooling="mean").eval()
        >>> network(torch.rand(2, 1, 64, 48, 9)).shape
        torch.Size([2, 3])
    """
    size = check_encoder(encoder, image_size and image_size[:2])
    body = create(encoder, in_channels * slices, 0, size)
    head = BagHead(features_of(body), classes, pooling, dropout=dropout)
    stacks = SliceStacks(body, head, slices, step)
    return SliceNetwork(stacks, standardize=standardize, input_size=image_size if size else None)


class SliceNetwork(Network):
    """A network for volumes whose convolutions are 2D."""

    def to(self, *arguments: Any, memory_format: torch.memory_format | None = None, **options: Any) -> Self:
        """As of any module; where volumes are to lie channels-last, images do."""
        if memory_format is not None:
            flat = memory_format == torch.channels_last_3d
            options["memory_format"] = torch.channels_last if flat else memory_format
        return super().to(*arguments, **options)


class SliceStacks(nn.Module):
    """Logits of volumes from stacks of slices along z.

    Args:
        encoder: From images (n, C * slices, X, Y) to features (n, D).
        head: From features (B, stacks, D) to logits (B, K).
        slices: Slices in a stack, odd; beyond the ends the last slice is repeated.
        step: Slices from the middle of one stack to the next.
    """

    encoder: nn.Module
    head: nn.Module

    def __init__(self, encoder: nn.Module, head: nn.Module, slices: int, step: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.slices = slices
        self.step = step

    def forward(self, volume: Tensor) -> Tensor:
        """Logits (B, K) of (B, C, X, Y, Z)."""
        stacks = self.stack(volume)
        features = self.encoder(stacks.flatten(0, 1))
        return self.head(features.view(*stacks.shape[:2], -1))

    def stack(self, volume: Tensor) -> Tensor:
        """Stacks (B, n, C * slices, X, Y) of a volume (B, C, X, Y, Z).

        Their middles lie ``step`` apart, as far from the first slice as from the last, give or take one.
        """
        depth, reach = volume.shape[4], self.slices // 2
        count = -(-depth // self.step)
        first = (depth - 1 - (count - 1) * self.step) // 2
        padded = functional.pad(volume, (reach, reach, 0, 0, 0, 0), mode="replicate")
        windows = padded[..., first:].unfold(4, self.slices, self.step)[..., :count, :]  # (B, C, X, Y, n, slices)
        return windows.permute(0, 4, 1, 5, 2, 3).flatten(2, 3)
