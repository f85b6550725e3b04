"""Atomic writes, locks and hashes: the only module that puts artifacts on disk.

Every artifact is written to a temporary file in the same folder, flushed to the disk and renamed, so that a
reader sees the old file or the new one, never a half of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from heldout import claims
from heldout.errors import InUse, UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # errors of a disk without room
REPOSITORY = Path(__file__).resolve().parents[2]  # of the sources; of an installed package nothing of ours


def is_checkout() -> bool:
    """Whether this package runs from its repository, rather than installed."""
    return (REPOSITORY / "pyproject.toml").is_file() and (REPOSITORY / "src" / "heldout").is_dir()


def project() -> Path:
    """Folder of ``run.py`` and ``exps/``: ``$HELDOUT_PROJECT``, else the nearest one upwards, else the repository."""
    if "HELDOUT_PROJECT" in os.environ:
        return Path(os.environ["HELDOUT_PROJECT"]).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "run.py").is_file() and (folder / "exps").is_dir():
            return folder
    return REPOSITORY if is_checkout() else here


def home() -> Path:
    """Folder that holds ``input/``, ``working/`` and ``submissions/``: ``$HELDOUT_HOME``, or that of the project."""
    return Path(os.environ["HELDOUT_HOME"]).resolve() if "HELDOUT_HOME" in os.environ else project()


def dataset_root(name: str) -> Path:
    """Folder of a raw dataset: below ``$HELDOUT_DATA``, below ``/kaggle/input`` on Kaggle, or below ``input/``.

    Raises:
        UserError: there is no such folder.
    """
    bases = [home() / "input"]
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        bases.insert(0, Path("/kaggle/input"))
    if "HELDOUT_DATA" in os.environ:
        bases.insert(0, Path(os.environ["HELDOUT_DATA"]).resolve())
    places = [base / name for base in bases]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        others = "".join(f", nor does {place}" for place in places[1:])
        raise UserError(
            f"dataset folder {places[0]} does not exist{others}: put the dataset there, or set HELDOUT_DATA to the "
            f"folder that holds {name}/"
        )
    return found


@contextlib.contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that replaces it when the block ends without an error.

    Raises:
        UserError: ``path`` is a folder or a device, which no file may replace.
    """
    _require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, ".part")
    try:
        with open(temporary, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new hidden folder beside ``path``, made where missing with those above it, and removed when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(path, "")
    try:
        folder.mkdir(mode=0o700)
        yield folder
        shutil.rmtree(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` when the block ends without an error.

    What was at ``path`` is moved out of the way first, and comes back where the move of the new one fails.
    """
    with folder_beside(path) as scratch:
        draft, before = scratch / "new", scratch / "before"
        draft.mkdir()
        yield draft
        try:
            if path.exists():
                path.rename(before)
            draft.rename(path)
        except BaseException:
            if before.exists() and not path.exists():
                before.rename(path)
            raise


def _beside(path: Path, suffix: str) -> Path:
    """A new name, known before there is a file: a signal may come before whoever makes one could tell its name."""
    return path.parent / f".{path.name}.{secrets.token_hex(4)}{suffix}"


@contextlib.contextmanager
def no_parts_left(folder: Path) -> Iterator[None]:
    """Remove what processes that were killed while they wrote left in a folder, before and afterwards."""

    def remove() -> None:
        for path in folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    remove()
    try:
        yield
    finally:
        remove()


def _require_replaceable(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file and is not replaced: name another file to write")


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as handle:
        handle.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON atomically; NaN is an error."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def require_regular(path: Path, remedy: str) -> None:
    """Refuse a directory, device or pipe in place of a file before it is read: a device may never end.

    Raises:
        UserError: ``path`` exists and is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file: {remedy}")


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Member of a zip archive that says nothing of the day, so that equal contents make equal archives."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def write_with(path: Path, writer: Callable[[Path], None]) -> None:
    """Let ``writer`` fill a temporary path that keeps ``path``'s name ending, then move it into place.

    For libraries that insist on a file name (nibabel, OpenCV, matplotlib).

    Raises:
        UserError: as :func:`atomic`.
    """
    _require_replaceable(path)
    with folder_beside(path) as folder:
        temporary = folder / path.name
        writer(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def lock(folder: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder`` for this process; the operating system lets go when the process dies.

    On a file system whose locks may not hold, see :mod:`heldout.claims`, a folder is free a minute and a half after
    its holder was killed.

    Args:
        folder: The folder to hold; created where missing.
        what: What the holder does, for the message of whoever comes second.
        wait: Wait for the other process instead of refusing.

    Raises:
        InUse: another process holds the folder; the message says which, and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = f"process {os.getpid()} on {socket.gethostname()}, {what}, since {time.strftime('%F %T')}"
    with open(folder / ".lock", "a+", encoding="utf-8") as handle, contextlib.ExitStack() as claim:
        try:
            _flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, folder)
            if not claims.locks_hold(folder):
                claim.enter_context(claims.claimed(folder / ".holder", text, wait))
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() if error.errno else str(error)
            raise InUse(
                f"{folder} is in use by {holder or 'another process'}: wait for it to end, or stop it"
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(text)
        handle.flush()
        _held.add(handle)
        try:
            yield
        finally:
            _held.discard(handle)
            _flock(handle, fcntl.LOCK_UN, folder)


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder by :func:`lock`."""
    try:
        with open(folder / ".lock", encoding="utf-8") as handle:
            _flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, folder)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return not claims.locks_hold(folder) and claims.is_claimed(folder / ".holder")


def _flock(handle: IO[str], how: int, folder: Path) -> None:
    """Ask the kernel for a lock, or give it back; a network mount may have none, and there the claim is enough."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        raise
    except OSError:
        if claims.locks_hold(folder):
            raise


def is_below(name: str) -> bool:
    """Whether a path from elsewhere stays below the folder that it is joined to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


_held: set[IO[str]] = set()


def _let_go() -> None:
    """A forked child inherits the lock, and would keep it when its parent is killed."""
    for handle in _held:
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
