"""Convolutions in float32 where bfloat16 computes their gradients wrongly, or more slowly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class Float32Convolutions(TorchFunctionMode):
    """Computes two kinds of convolutions in float32, inside the context. Measured with torch 2.15 on AVX512-bf16.

    Those whose input is hardly larger than their kernel: the bfloat16 gradient of the kernel holds memory that nobody
    wrote where the input is about as small as the kernel: (1, 1) or (2, 2, 2) voxels for a kernel of 3, (7, 7, 7) for
    one of 7 with stride 2. Training then ends in NaN now and then, and no two runs are alike. They cost little.

    Depthwise ones with a kernel above 3 or a stride above 1: their gradients take 2 to 15 times as long in bfloat16,
    together a fifth to two fifths of a training step of networks on EfficientNet-Lite0 (``benchmarks/depthwise.py``).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, in float32 where it is a convolution of these kinds."""
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and _in_float32(_CONVOLUTIONS[func], *args, **kwargs):
            image, *others = args
            with torch.autocast(image.device.type, enabled=False):
                return func(image.float(), *others, **kwargs)
        return func(*args, **kwargs)


def _in_float32(
    dimensions: int,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001 - torch's signature
    stride: Any = 1,
    padding: Any = 0,  # noqa: ARG001
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    strides, dilations = (tuple(v) if isinstance(v, Sequence) else (v,) * dimensions for v in (stride, dilation))
    depthwise = 1 < groups == image.shape[-dimensions - 1]
    if depthwise and (max(weight.shape[2:]) > 3 or max(strides) > 1):
        return True
    for length, kernel, step, gap in zip(image.shape[-dimensions:], weight.shape[2:], strides, dilations, strict=True):
        if kernel > 1 and length < gap * (kernel - 1) + 1 + step:
            return True
    return False
