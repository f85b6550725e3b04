"""Age and memory of processes, as the system tells them."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_IMPORTED = time.perf_counter()  # where the system does not say since when a process is there


def age() -> float:
    """Seconds since this process was started."""
    stat, uptime = Path("/proc/self/stat"), Path("/proc/uptime")
    if not stat.exists() or not uptime.exists():
        return time.perf_counter() - _IMPORTED
    ticks = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return float(uptime.read_text(encoding="utf-8").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int | None = None) -> int:
    """Most memory that a process has held; None is this one."""
    status = Path(f"/proc/{pid or 'self'}/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def children_bytes(pid: int) -> int:
    """Memory that the processes of a process hold for themselves."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError, StopIteration):
            lines = status.read_text(encoding="utf-8").splitlines()
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            if int(fields["PPid"]) == pid:
                total += int(fields.get("RssAnon", "0").split()[0]) << 10
    return total
