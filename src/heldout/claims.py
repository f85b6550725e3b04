"""Who holds a folder on a file system whose locks may not hold, or not between machines: a file with a heartbeat.

The kernel's lock on a file is enough on a local disk. NFS, Lustre, SMB and FUSE mounts may let it succeed on every
machine. There a file that only one process can create says who holds the folder; the holder touches it every few
seconds, and what has not been touched for long belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

LOCAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "tmpfs", "ramfs"),
        *("overlay", "squashfs", "apfs", "hfs", "ntfs3"),
    }
)
BEAT_SECONDS = 10.0
STALE_SECONDS = 90.0


def locks_hold(folder: Path) -> bool:
    """Whether the kernel's locks hold on the file system of a folder: a local one, or one of which nothing is known."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return True
    best, kind = "", "ext4"
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        place, found = line.split()[1:3]
        place = place.replace("\\040", " ")
        if len(place) >= len(best) and Path(place) in (folder.resolve(), *folder.resolve().parents):
            best, kind = place, found
    return kind in LOCAL


def is_claimed(path: Path) -> bool:
    """Whether a process keeps a claim up."""
    with contextlib.suppress(FileNotFoundError):
        return _age(path) < STALE_SECONDS
    return False


@contextlib.contextmanager
def claimed(path: Path, text: str, wait: bool) -> Iterator[None]:
    """Keep a claim until the end of the block.

    Args:
        path: Its file.
        text: Who holds it, for the message of whoever comes second.
        wait: Wait for the other process instead of refusing.

    Raises:
        BlockingIOError: another process keeps it; its text is the message.
    """
    token = uuid.uuid4().hex
    while not _create(path, f"{text}\n{token}\n"):
        with contextlib.suppress(FileNotFoundError):
            if _age(path) > STALE_SECONDS:
                _remove_stale(path)
                continue
            if not wait:
                raise BlockingIOError((path.read_text(encoding="utf-8").splitlines() or [""])[0])
        time.sleep(0.2)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(OSError):
            if token in path.read_text(encoding="utf-8"):
                path.unlink()


def _create(path: Path, text: str) -> bool:
    """Create a file unless it is there, which of several machines one manages: a link is made at once or not at all."""
    own = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")
    own.write_text(text, encoding="utf-8")
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(text)
        except FileExistsError:
            return False
    finally:
        own.unlink()
    return True


def _remove_stale(path: Path) -> None:
    """Take a claim away that nobody keeps up; of several processes one moves it."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if _age(aside) > STALE_SECONDS:
            aside.unlink()
        else:  # another process had just made its own
            aside.rename(path)


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its file system."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.now")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink()
