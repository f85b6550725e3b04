from __future__ import annotations

import pytest
import torch
from torch import nn

from heldout.train.convolutions import Float32SmallConvolutions


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "guarded"),
    [
        ((1, 1), 3, 2, True),
        ((2, 2, 2), 3, 1, True),
        ((7, 7, 7), 7, 2, True),
        ((1, 1), 1, 1, False),
        ((4, 4, 4), 3, 1, False),
        ((16, 16), 7, 2, False),
    ],
)
def test_only_small_convolutions_are_guarded(size, kernel, stride, guarded):
    kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
    layer = kind(16, 32, kernel, stride, kernel // 2)
    with torch.autocast("cpu", torch.bfloat16), Float32SmallConvolutions():
        answer = layer(torch.rand(2, 16, *size).bfloat16())
    assert answer.dtype == (torch.float32 if guarded else torch.bfloat16)


def test_gradients_are_right_whatever_lay_in_memory():
    layer, image = nn.Conv3d(64, 64, 3, padding=1), torch.randn(4, 64, 2, 2, 2)
    layer(image).sum().backward()
    expected = layer.weight.grad.clone()
    for _ in range(5):
        del [torch.full((layer.weight.numel(),), float("nan")) for _ in range(8)][:]
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), Float32SmallConvolutions():
            answer = layer(image)
        answer.float().sum().backward()
        assert torch.allclose(layer.weight.grad, expected, rtol=1e-3, atol=1e-3)
