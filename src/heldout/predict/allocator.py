"""Freed memory is kept for the next training step instead of going back to the kernel. Free of torch.

A training step frees and asks again for the same blocks of many megabytes. glibc returns such blocks to the kernel at
once, and every step then waits for hundreds of thousands of page faults. No result depends on where memory comes from.
"""

from __future__ import annotations

import ctypes
import os
import platform

SWITCH = "HELDOUT_KEEP_MEMORY"
OFF = ("0", "off", "no", "false", "")
# malloc.h: which setting, and its value
_MMAP_MAX = (-4, 0)  # no block is mapped by itself
_TRIM_THRESHOLD = (-1, -1)  # nothing is given back
_TOP_PAD = (-2, 64 << 20)  # bytes asked for at once


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what this process frees; processes forked later do the same.

    Nothing is changed on other systems, where ``HELDOUT_KEEP_MEMORY=0`` is set, and where the environment sets up
    glibc's allocator by ``MALLOC_..._`` or ``GLIBC_TUNABLES``.

    Returns:
        Whether memory is kept.
    """
    if os.environ.get(SWITCH, "1").lower() in OFF or platform.libc_ver()[0] != "glibc" or _set_by_user():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(*setting) for setting in (_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD)]
    return done == [1, 1, 1]


def _set_by_user() -> bool:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
    return any(name in os.environ for name in names) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
