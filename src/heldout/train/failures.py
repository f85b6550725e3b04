"""Failures of the machine that a user can fix, in a sentence each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from heldout import files, signals
from heldout.errors import UserError

# what torch's zip writer says when the disk is full and the reason got lost on the way
_WRITER = ("PytorchStreamWriter", "unexpected pos", "inline_container", "No space left")
_WORKER = "in DataLoader worker process"


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a full disk, a full GPU and dying loading processes into errors that name the remedy.

    Args:
        folder: The run folder that is being written.

    Raises:
        UserError: any of these happened inside the block, and no signal that ends the process: what it interrupts
            may look like each of them.
    """
    try:
        yield
    except UserError as error:
        if _WORKER not in str(error):
            raise
        # a loading process hands over its traceback as text: the last line is the sentence
        raise UserError(str(error).strip().splitlines()[-1].partition(": ")[2]) from None
    except (OSError, RuntimeError) as error:
        sentence = None if signals.came() else _sentence(error, folder)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _sentence(error: BaseException, folder: Path) -> str | None:
    chain = list(_chain(error))
    # a loading process that dies while a file is written interrupts the writer: what comes first is the reason
    if any("DataLoader worker" in str(one) and ("killed" in str(one) or "exited" in str(one)) for one in chain):
        return (
            "a loading process died, mostly for want of memory or of space in /dev/shm: run again with "
            "--set workers=0, which changes no result"
        )
    if any(map(_is_full_disk, chain)):
        return (
            f"the disk of {folder} is full: make room and run the same command again, it resumes after the last "
            "finished epoch"
        )
    if "out of memory" in str(error) and "CUDA" in str(error):
        return f"the GPU's memory is too small for {folder.parents[1].name}: lower batch_size or patch_size"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in files.FULL
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _WRITER)
