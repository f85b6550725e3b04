"""CPU threads of a fit, which decide in which order numbers are added and thereby its last bits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from heldout.errors import UserError


@contextlib.contextmanager
def exactly(threads: int | None) -> Iterator[int | None]:
    """Compute with a number of threads within the context, and so do processes that are started meanwhile.

    Args:
        threads: The number; None leaves it as it is.

    Yields:
        The number, as it is recorded; None where fits are trained on a GPU, whose bits do not depend on it.

    Raises:
        UserError: the environment does not allow that many.
    """
    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    if threads is not None and limit.isdecimal() and int(limit) < threads:
        raise UserError(f"OMP_THREAD_LIMIT={limit} allows fewer than the {threads} threads of this run: unset it")
    if threads is not None:
        torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    try:
        yield None if _has_gpu() else torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = variable


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()
