"""The shell around every network: standardized input, and sizes padded to what the network can halve."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = 0.5, 0.25


class Network(nn.Module):
    """A network body that takes images of any size, as :func:`heldout.data.normalize.to_float` gives them.

    This is the one place that standardizes intensities, from 0 ... 1 to roughly -2 ... 2 (z-scores pass through),
    and the one place that pads images whose size the network cannot halve; the padding is cut off the output again.

    Args:
        body: Network from (B, C, *S) to logits, or to a list of logits whose first entry counts and whose others are
            auxiliary.
        standardize: Images hold 0 ... 1, not z-scores.
        multiple: For each axis, what the size of the body's input must be a multiple of; None takes every size.
        input_size: The only size that the body takes; None for most.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Conv2d(1, 2, 3, padding=1), standardize=True, multiple=(8, 8))
        >>> network(torch.rand(1, 1, 9, 13)).shape
        torch.Size([1, 2, 9, 13])
    """

    body: nn.Module
    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        body: nn.Module,
        *,
        standardize: bool,
        multiple: Sequence[int] | None = None,
        input_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.standardize = standardize
        self.multiple = None if multiple is None else tuple(multiple)
        self.input_size = None if input_size is None else tuple(input_size)
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    def add_statistics(self, channels: int) -> None:
        """Standardize each channel by numbers of its own, which are stored with the weights."""
        self.mean, self.std = torch.full((channels,), MEAN), torch.full((channels,), STD)

    def fill_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the mean and deviation, in 0 ... 1, of the images that pretrained weights were made on.

        Args:
            mean: Of each of their channels, usually three. One channel gets their average, more repeat them, as timm
                does with the weights.
            std: Likewise.
        """
        for buffer, values in ((self.mean, mean), (self.std, std)):
            assert buffer is not None, "add_statistics comes first"
            channels = len(buffer)
            own = [sum(values) / len(values)] if channels == 1 else [values[i % len(values)] for i in range(channels)]
            buffer.copy_(torch.tensor(own))

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of a float image (B, C, *S)."""
        size = image.shape[2:]
        logits = self.body(self.pad_input(image))
        if isinstance(logits, list):
            return [self.crop_output(one, size) for one in logits]
        return self.crop_output(logits, size)

    def pad_input(self, image: Tensor) -> Tensor:
        """Standardize an image and pad it to a size that the body takes."""
        if self.standardize:
            image = (image - self._per_channel(self.mean, MEAN, image)) / self._per_channel(self.std, STD, image)
        if self.multiple is not None:
            missing = [-length % multiple for length, multiple in zip(image.shape[2:], self.multiple, strict=True)]
            if any(missing):
                # torch wants the last axis first; the edge's own values disturb normalization layers least
                pairs = [amount for length in reversed(missing) for amount in (0, length)]
                image = functional.pad(image, pairs, mode="replicate")
        return image

    def _per_channel(self, values: Tensor | None, default: float, image: Tensor) -> Tensor | float:
        return default if values is None else values.view(1, -1, *[1] * (image.ndim - 2))

    def crop_output(self, logits: Tensor, size: torch.Size) -> Tensor:
        """Cut what :meth:`pad_input` padded off the logits."""
        if self.multiple is None or logits.shape[2:] == size:
            return logits
        inside: tuple[EllipsisType | slice, ...] = (..., *map(slice, size))
        return logits[inside]
