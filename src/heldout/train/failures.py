"""Failures of the machine that a user can mend, in a sentence each."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from heldout.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# what torch's zip writer says when the disk is full and the reason got lost on the way
_WRITER = ("PytorchStreamWriter", "unexpected pos", "inline_container", "No space left")
_WORKER = "in DataLoader worker process"


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a full disk, a full GPU and dying loading processes into errors that name the remedy.

    Args:
        folder: The run folder that is being written.

    Raises:
        UserError: any of these happened inside the block.
    """
    try:
        yield
    except UserError as error:
        if _WORKER not in str(error):
            raise
        # a loading process hands over its traceback as text: the last line is the sentence
        raise UserError(str(error).strip().splitlines()[-1].partition(": ")[2]) from None
    except (OSError, RuntimeError) as error:
        sentence = _sentence(error, folder)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _sentence(error: BaseException, folder: Path) -> str | None:
    if _is_full_disk(error):
        return (
            f"the disk of {folder} is full: make room and run the same command again, it resumes after the last "
            "finished epoch"
        )
    if "out of memory" in str(error) and "CUDA" in str(error):
        return f"the GPU's memory is too small for {folder.parents[1].name}: lower batch_size or patch_size"
    if "DataLoader worker" in str(error) and ("killed" in str(error) or "exited" in str(error)):
        return (
            "a loading process died, mostly for want of memory or of space in /dev/shm: run again with "
            "--set workers=0, which changes no result"
        )
    return None


def _is_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _WRITER):
            return True
        error = error.__cause__ or error.__context__
    return False
