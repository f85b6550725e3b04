"""Where measurements go: ``benchmarks/results/<name>.json`` and ``.md``, with machine and date."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY)]  # every benchmark imports this before the package


@dataclass(frozen=True)
class Measurement:
    """One number beside its bar.

    Attributes:
        what: What was measured.
        value: The number.
        unit: Its unit.
        bar: Largest (or, with ``at_least``, smallest) value that will do; None where there is no bar.
        at_least: Whether the bar is a floor.
    """

    what: str
    value: float
    unit: str
    bar: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the value keeps to its bar."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def machine() -> str:
    """Processor, cores this process may use, and Python."""
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} cores, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def record(name: str, measurements: Sequence[Measurement]) -> int:
    """Write and print measurements; the exit code is 1 when one misses its bar."""
    head = {"schema": 1, "benchmark": name, "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    rows = [{**asdict(one), "kept": one.kept} for one in measurements]
    (RESULTS / f"{name}.json").write_text(json.dumps({**head, "measurements": rows}, indent=2) + "\n", encoding="utf-8")
    lines = [
        f"# {name}",
        "",
        f"{head['date']}, {head['machine']}",
        "",
        "| what | measured | bar | |",
        "|---|---|---|---|",
    ]
    for one in measurements:
        bar = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {one.bar:g} {one.unit}"
        lines.append(f"| {one.what} | {one.value:.4g} {one.unit} | {bar} | {'kept' if one.kept else '**missed**'} |")
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text, file=sys.stdout)
    return int(not all(one.kept for one in measurements))
