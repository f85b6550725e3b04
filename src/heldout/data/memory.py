"""How much memory there is, before it is taken."""

from __future__ import annotations

from pathlib import Path

from heldout.data.image import BadFile

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, by the system and by the process's control group; None if unknown."""
    found = [
        *(int(line.split()[1]) << 10 for line in _lines(Path("/proc/meminfo")) if line.startswith("MemAvailable:")),
        *_left_in_group("memory.max", "memory.current"),
        *_left_in_group("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ]
    return max(min(found), 0) if found else None


def require_memory(where: object, needed: int) -> None:
    """Refuse a file that needs more memory than there is, before it is taken.

    Args:
        where: The file, for the message.
        needed: Bytes.

    Raises:
        BadFile: there is less.
    """
    there = available_memory()
    if there is not None and needed > there:
        raise BadFile(
            f"{where} needs {_gibibytes(needed)} of memory, and {_gibibytes(there)} are free: free some, or make the "
            f"file smaller"
        )


def _left_in_group(limit: str, used: str) -> list[int]:
    values = [line.strip() for name in (limit, used) for line in _lines(_CONTROL_GROUP / name)[:1]]
    return [int(values[0]) - int(values[1])] if len(values) == 2 and all(map(str.isdigit, values)) else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
