"""How much of the machine a training uses, sampled from outside of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from heldout import files
from heldout.track.read_runs import system_file
from heldout.train.runs import run_folder

EVERY = 15.0  # seconds
MOST = 20_000  # samples of a fit: three days


class Sampler:
    """Samples processor, memory and GPUs of a process and its children into a table for each fit in training.

    Args:
        pid: The process that trains.
    """

    def __init__(self, pid: int) -> None:
        import psutil

        self._process = psutil.Process(pid)
        self._children: dict[int, Any] = {}
        self._gpus = _gpus()
        self._due = 0.0
        self._taken: dict[str, int] = {}

    def sample(self, specs: Iterable[str]) -> None:
        """Take a sample, if one is due, of the fits of these runs that a process holds."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY
        keys = [
            f"runs/{spec}/{folder.parent.name}/{folder.name}"
            for spec in specs
            for folder in run_folder(spec).glob("seed*/fold*")
            if files.is_locked(folder)
        ]
        values = self._values() if keys else {}
        for key in keys if values else ():
            path = system_file(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8") as table:
                if table.tell() == 0:
                    table.write(",".join(["time", *values]) + "\n")
                self._taken[key] = self._taken.get(key, 0) + 1
                if self._taken[key] <= MOST:
                    table.write(",".join([f"{time.time():.3f}", *(f"{value:.6g}" for value in values.values())]) + "\n")

    def _values(self) -> dict[str, float]:
        import psutil

        cpu = memory = 0.0
        try:
            found = {one.pid: one for one in [self._process, *self._process.children(recursive=True)]}
            self._children = {pid: self._children.get(pid, one) for pid, one in found.items()}
            for one in self._children.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    cpu += one.cpu_percent()
                    memory += one.memory_info().rss
        except psutil.NoSuchProcess:
            return {}
        machine = psutil.virtual_memory()
        values = {
            **{"cpu_percent": cpu, "memory_gb": memory / 1e9, "machine_cpu_percent": psutil.cpu_percent()},
            "machine_memory_percent": machine.percent,
        }
        for number, gpu in enumerate(self._gpus):
            with contextlib.suppress(Exception):  # not every GPU tells everything
                values |= _of_gpu(number, gpu)
        return values


def _gpus() -> list[Any]:
    """Handles of the NVIDIA GPUs; none where there is no driver, or its library is not installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # the library has a class of its own for every failure
        return []


def _of_gpu(number: int, gpu: Any) -> dict[str, float]:
    import pynvml

    return {
        f"gpu{number}_percent": float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        f"gpu{number}_memory_gb": pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e9,
        f"gpu{number}_watts": pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
    }
