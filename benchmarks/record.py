"""Where measurements go: ``benchmarks/results/<name>.json`` and ``.md``, with machine and date."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldout.blend.records import DecisionMember

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
    def kept(self) -> bool | None:
        """Whether the value keeps to its bar; None where there is no bar."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def machine() -> str:
    """Processor with its widest vector instructions, cores this process may use, and Python."""
    lines = _cpuinfo()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((flag.upper().replace("_", "-") for flag in ("avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    cores = len(os.sched_getaffinity(0))
    return f"{name}{f' ({widest})' * bool(widest)}, {cores} cores, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def record(name: str, measurements: Sequence[Measurement], about: str = "") -> int:
    """Write and print measurements; the exit code is 1 when one misses its bar.

    Args:
        name: Of the benchmark.
        measurements: What it found.
        about: What it depends on, such as experiment, budget and seeds.
    """
    head = {"schema": 1, "benchmark": name, "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    head |= {"about": about} if about else {}
    RESULTS.mkdir(exist_ok=True)
    rows = [{**asdict(one), "kept": one.kept} for one in measurements]
    (RESULTS / f"{name}.json").write_text(json.dumps({**head, "measurements": rows}, indent=2) + "\n", encoding="utf-8")
    text = page(head, measurements)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text, file=sys.stdout)
    return int(any(one.kept is False for one in measurements))


def page(head: Mapping[str, Any], measurements: Sequence[Measurement]) -> str:
    """The measurements as Markdown."""
    lines = [f"# {head['benchmark']}", "", f"{head['date']}, {head['machine']}", ""]
    lines += [head["about"], ""] if "about" in head else []
    lines += ["| what | measured | bar | |", "|---|---|---|---|"]
    for one in measurements:
        bar = "" if one.bar is None else f"{'>=' if one.at_least else '<='} {one.bar:g} {one.unit}"
        verdict = {None: "-", True: "kept", False: "**missed**"}[one.kept]
        lines.append(f"| {one.what} | {one.value:.4g} {one.unit} | {bar} | {verdict} |")
    return "\n".join(lines) + "\n"


def networks(member: DecisionMember) -> str:
    """Experiment, budget, seeds and folds of one member of a decision, in words."""
    seeds = numbered("seed", {fit.seed for fit in member.folders})
    return f"{with_budget(member.spec)}, {seeds}, {numbered('fold', {fit.fold for fit in member.folders})}"


def numbered(word: str, numbers: Iterable[int]) -> str:
    """Numbers with what they count: ``seed 0``, ``folds 0, 1``."""
    listed = sorted(numbers)
    return f"{word}{'' if len(listed) == 1 else 's'} {', '.join(map(str, listed))}"


def with_budget(spec: str) -> str:
    """An experiment and its budget: ``exp010@quick (budget quick)``."""
    return f"{spec} (budget {spec.partition('+')[0].partition('@')[2] or 'full'})"
