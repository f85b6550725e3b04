"""Prediction by ``torch.compile`` on a CPU, against the network as it is: windows of a DynUNet, images of a U-Net."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

from record import Measurement, record

os.environ["OMP_WAIT_POLICY"] = "passive"  # as the command line has it; read when torch is imported

PAIRS = 5


def networks() -> dict[str, tuple[object, tuple[int, ...]]]:
    """Networks of experiments in evaluation mode, each with the shape of what it is given."""
    from heldout.tasks import Segment2D, Segment3D

    class Volume(Segment3D):
        arch = "dynunet"
        filters = (16, 32, 64, 128)
        patch_size = (64, 64, 64)

    class Picture(Segment2D):
        encoder = "resnet18"
        encoder_weights = None
        image_size = (256, 256)

    return {
        "small DynUNet, one window of 64³": (Volume().build_model(3, True), (1, 1, 64, 64, 64)),
        "U-Net of ResNet-18, one image of 256 x 256": (Picture().build_model(1, False), (1, 1, 256, 256)),
    }


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    """Measure pairs, and write the medians."""
    import torch

    from heldout.predict.allocator import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    found = []
    for name, (network, shape) in networks().items():
        torch.manual_seed(0)
        layout = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
        plain = network.eval().to(memory_format=layout)  # type: ignore[attr-defined]
        image = torch.randn(shape).to(memory_format=layout)
        compiled = torch.compile(plain)
        with torch.inference_mode():
            started = timed(lambda: compiled(image))[0]  # noqa: B023 - called at once
            plain(image)
            pairs = [
                (timed(lambda: plain(image)), timed(lambda: compiled(image)))  # noqa: B023 - called at once
                for _ in range(PAIRS)
            ]
            same = float((plain(image) - compiled(image)).abs().max())
        wall, processor = (statistics.median(a[k] / b[k] for a, b in pairs) for k in (0, 1))
        saved = statistics.median(a[0] - b[0] for a, b in pairs)
        found += [
            Measurement(f"{name}: wall time, as it is over compiled", wall, "x"),
            Measurement(f"{name}: processor time, as it is over compiled", processor, "x"),
            Measurement(f"{name}: time as it is", statistics.median(a[0] for a, _ in pairs), "s"),
            Measurement(f"{name}: time to compile", started, "s"),
            Measurement(f"{name}: calls that save as much", started / saved if saved > 0 else float("inf"), ""),
            Measurement(f"{name}: largest difference of the outputs", same, ""),
        ]
        for one in found[-6:]:
            print(f"{one.what}: {one.value:.4g} {one.unit}", flush=True)
    return record("compiled", found, f"medians of {PAIRS} pairs, one after the other")


if __name__ == "__main__":
    sys.exit(main())
