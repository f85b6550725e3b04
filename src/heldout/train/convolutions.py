"""Small convolutions in float32 where bfloat16 computes their gradients wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class Float32SmallConvolutions(TorchFunctionMode):
    """Computes convolutions whose input is hardly larger than their kernel in float32, inside the context.

    With torch 2.15 on a CPU with AVX512-bf16, the bfloat16 gradient of the kernel holds memory that nobody wrote where
    the input is about as small as the kernel: (1, 1) or (2, 2, 2) voxels for a kernel of 3, (7, 7, 7) for one of 7 with
    stride 2. Training then ends in NaN now and then, and no two runs are alike. Such convolutions cost little.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, in float32 where it is a small convolution."""
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and _is_small(_CONVOLUTIONS[func], *args, **kwargs):
            image, *others = args
            with torch.autocast(image.device.type, enabled=False):
                return func(image.float(), *others, **kwargs)
        return func(*args, **kwargs)


def _is_small(
    dimensions: int,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001 - torch's signature
    stride: Any = 1,
    padding: Any = 0,  # noqa: ARG001
    dilation: Any = 1,
    groups: int = 1,  # noqa: ARG001
) -> bool:
    strides, dilations = (tuple(v) if isinstance(v, Sequence) else (v,) * dimensions for v in (stride, dilation))
    for length, kernel, step, gap in zip(image.shape[-dimensions:], weight.shape[2:], strides, dilations, strict=True):
        if kernel > 1 and length < gap * (kernel - 1) + 1 + step:
            return True
    return False
