"""Cost of a network: parameters, operations, memory, and time per case."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from heldout import files
from heldout.data.cases import open_dataset
from heldout.records import Record

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from heldout.tasks import Task

WARM_UP = 3


class ProfileRow(Record):
    """Cost of one network in one batch size, precision and choice of flips.

    Attributes:
        name: The experiment.
        input: Shape (C, *S) of what goes through the network at once.
        parameters: Of the network.
        flops: Operations of one pass of one input.
        batch, tta, precision: What was measured.
        ms_per_case_median, ms_per_case_p95: Milliseconds per case.
        cases_per_second: By the median.
        peak_mb: Memory; on a CPU that of the process so far.
        passes: Timed passes.
    """

    name: str
    input: tuple[int, ...]
    parameters: int
    flops: int
    batch: int
    tta: str
    precision: str
    ms_per_case_median: float
    ms_per_case_p95: float
    cases_per_second: float
    peak_mb: float
    passes: int


class ProfileRecord(Record):
    """``working/profiles/<names>.json``: the machine and its measurements."""

    schema_version: int = Field(default=1, alias="schema")
    machine: str
    torch: str
    threads: int
    rows: tuple[ProfileRow, ...]


def profile(configs: Sequence[Task], *, repeats: int = 20, seconds: float = 10.0) -> tuple[Path, ProfileRecord]:
    """Measure networks with random weights on random input, which cost what trained ones do on real input.

    Measured is the network with its activation, flips included where said; reading, preparing and bringing maps back
    to a case's own grid are not. FLOPs count a multiplication and an addition as two, as torch's counter does.

    Args:
        configs: Experiments.
        repeats: Most timed passes per row.
        seconds: Most seconds per row, after which fewer passes have to do; at least three are made.

    Returns:
        ``working/profiles/<names>.json`` and its content.

    Raises:
        UserError: a dataset or network cannot be made.
    """
    import torch

    from heldout.train.results import describe_machine

    record = ProfileRecord(
        machine=describe_machine(_device()),
        torch=str(torch.__version__),
        threads=torch.get_num_threads(),
        rows=tuple(row for config in configs for row in _rows(config, repeats, seconds)),
    )
    path = files.home() / "working" / "profiles" / f"{'-'.join(config.spec for config in configs)[:150]}.json"
    files.write_json(path, record.to_json())
    return path, record


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _rows(config: Task, repeats: int, seconds: float) -> Iterator[ProfileRow]:
    import torch

    from heldout.predict.forward import flip_sets, memory_format
    from heldout.predict.models import build

    dataset = open_dataset(config)
    device = _device()
    network = build(config.model_copy(update={"encoder_weights": None}), dataset).eval().to(device)
    if config.channels_last:
        network.to(memory_format=memory_format(config))
    shape = input_shape(config, dataset)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    flops = count_flops(network, torch.zeros(1, *shape, device=device))
    for batch in dict.fromkeys((1, config.predict_batch_size)):
        image = torch.rand(batch, *shape, device=device)
        if config.channels_last:
            image = image.contiguous(memory_format=memory_format(config))
        for tta in dict.fromkeys(("", config.tta)):
            flips = flip_sets(config, tta)
            for precision in ("float32", "bfloat16"):
                run = _forward(config, network, image, flips, dataset.exclusive, precision)
                times, memory = _time(run, device, repeats, seconds)
                yield ProfileRow(
                    name=config.spec,
                    input=shape,
                    parameters=parameters,
                    flops=flops,
                    batch=batch,
                    tta=tta,
                    precision=precision,
                    ms_per_case_median=round(float(np.median(times)) * 1000 / batch, 3),
                    ms_per_case_p95=round(float(np.quantile(times, 0.95)) * 1000 / batch, 3),
                    cases_per_second=round(batch / float(np.median(times)), 2),
                    peak_mb=round(memory / 1e6, 1),
                    passes=len(times),
                )


def input_shape(config: Task, dataset: Any) -> tuple[int, ...]:
    """Shape (C, *S) of what goes through the network at once: the patch, the prepared image, or a first case."""
    from heldout.data.prepare import open_prepared
    from heldout.predict.models import widened

    channels = widened(config, len(dataset.classes)).channels
    size = config.patch_size or config.image_size
    if size is None:
        prepared = open_prepared(dataset, config)
        size = prepared.geometry(dataset.part("train")["case_id"][0]).prepared
    return channels, *size


def count_flops(network: nn.Module, image: Tensor) -> int:
    """Floating-point operations of one forward pass."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.inference_mode(False), torch.no_grad(), counter:
        network(image)
    return int(counter.get_total_flops())


def _forward(
    config: Task, network: nn.Module, image: Tensor, flips: list[tuple[int, ...]], exclusive: bool, precision: str
) -> Callable[[], None]:
    import torch

    half = precision == "bfloat16"

    def run() -> None:
        with torch.inference_mode(), torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            for axes in flips:
                config.activate(config.as_outputs(network(image.flip(axes) if axes else image)), exclusive)

    return run


def _time(run: Callable[[], None], device: Any, repeats: int, seconds: float) -> tuple[list[float], int]:
    """Seconds of each pass, and the memory that passes needed at most in bytes."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(WARM_UP):
        run()
        if time.perf_counter() - begun > seconds / 3:
            break
    wait()
    times: list[float] = []
    while len(times) < 3 or (len(times) < repeats and time.perf_counter() - begun < seconds):
        started = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - started)
    return times, torch.cuda.max_memory_allocated() if device.type == "cuda" else _resident()


def _resident() -> int:
    """Most memory this process ever held: on a CPU the rows grow, and the last of an experiment says most."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
