"""Freed memory is kept for the next step: no page faults, unless the user said otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from heldout.files import REPOSITORY
from heldout.predict.allocator import SWITCH

PROGRAM = """
import resource
from heldout.predict.allocator import keep_freed_memory
kept = keep_freed_memory()
SIZE = 40_960_000
b"x" * SIZE
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    b"x" * SIZE  # 10,000 pages
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**environment: str) -> tuple[str, int]:
    """What a process says that allocates the same block again and again."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so eagerly")
def test_a_block_is_not_faulted_in_again():
    kept, faults = page_faults()
    assert kept == "True"
    assert faults < 500
    kept, faults = page_faults(**{SWITCH: "off"})
    assert kept == "False"
    assert faults > 40_000


@pytest.mark.parametrize("name", ["MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_settings_of_the_user_stay(name):
    value = {"MALLOC_TOP_PAD_": "65536", "GLIBC_TUNABLES": "glibc.malloc.top_pad=65536"}[name]
    assert page_faults(**{name: value})[0] == "False"
