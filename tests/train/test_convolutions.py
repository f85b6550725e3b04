from __future__ import annotations

import pytest
import torch
from torch import nn

from heldout.train.convolutions import Float32Convolutions


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "groups", "in_float32"),
    [
        ((1, 1), 3, 2, 1, True),
        ((2, 2, 2), 3, 1, 1, True),
        ((7, 7, 7), 7, 2, 1, True),
        ((1, 1), 1, 1, 1, False),
        ((4, 4, 4), 3, 1, 1, False),
        ((16, 16), 7, 2, 1, False),
        ((16, 16), 5, 1, 16, True),
        ((16, 16), 3, 2, 16, True),
        ((16, 16), 3, 1, 16, False),
        ((16, 16), 5, 1, 4, False),
        ((1, 1), 3, 1, 16, True),
        ((16, 16, 16), 5, 1, 16, True),
    ],
)
def test_small_and_large_depthwise_convolutions_run_in_float32(size, kernel, stride, groups, in_float32):
    kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
    layer = kind(16, 32, kernel, stride, kernel // 2, groups=groups)
    with torch.autocast("cpu", torch.bfloat16), Float32Convolutions():
        answer = layer(torch.rand(2, 16, *size).bfloat16())
    assert answer.dtype == (torch.float32 if in_float32 else torch.bfloat16)


def test_gradients_are_right_whatever_lay_in_memory():
    layer, image = nn.Conv3d(64, 64, 3, padding=1), torch.randn(4, 64, 2, 2, 2)
    layer(image).sum().backward()
    expected = layer.weight.grad.clone()
    for _ in range(5):
        del [torch.full((layer.weight.numel(),), float("nan")) for _ in range(8)][:]
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), Float32Convolutions():
            answer = layer(image)
        answer.float().sum().backward()
        assert torch.allclose(layer.weight.grad, expected, rtol=1e-3, atol=1e-3)
