"""Windows are put together bit for bit as MONAI does."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from heldout.predict.windows import slide


@pytest.mark.parametrize(
    ("size", "window", "batch", "overlap"),
    [
        ((50, 41), (16, 24), 4, 0.5),
        ((33, 16), (16, 16), 1, 0.25),
        ((64, 17), (17, 17), 3, 0.0),
        ((20, 20), (8, 8), 16, 0.9),
        ((20, 31, 12), (16, 16, 12), 2, 0.5),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_as_monai(size, window, batch, overlap, channels_last):
    torch.manual_seed(0)
    kind, layout = (nn.Conv2d, torch.channels_last) if len(size) == 2 else (nn.Conv3d, torch.channels_last_3d)
    network, image = kind(2, 3, 3, padding=1), torch.randn(1, 2, *size)
    if channels_last:
        network, image = network.to(memory_format=layout), image.contiguous(memory_format=layout)
    with torch.inference_mode():
        expected = sliding_window_inference(image, window, batch, network, overlap=overlap, mode="gaussian")
        assert torch.equal(slide(image, window, batch, network, overlap=overlap), expected)


@pytest.mark.parametrize("batch", [1, 4])
def test_slabs_in_the_memory_of_the_host_give_the_same_but_for_rounding(batch):
    torch.manual_seed(0)
    network, image = nn.Conv3d(2, 3, 3, padding=1), torch.randn(1, 2, 20, 31, 22)
    with torch.inference_mode():
        whole, slabs = (
            slide(image, (16, 16, 12), batch, network, overlap=0.5, on_device=on_device) for on_device in (True, False)
        )
    assert torch.allclose(whole, slabs, atol=1e-6)


def test_large_windows_go_through_a_cpu_one_by_one():
    seen = []

    def network(part):
        seen.append(len(part))
        return part

    slide(torch.zeros(1, 1, 128, 128, 160), (128, 128, 80), 16, network, overlap=0.5)
    slide(torch.zeros(1, 1, 64, 64), (32, 32), 16, network, overlap=0.5)
    assert seen == [1, 1, 1, 9]
