"""One place of a node where fits are trained, one after the other, each in a process of its own.

It is sent to the nodes of a cluster as it stands here, and therefore uses nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

CHUNK = 1 << 24  # bytes of a part of a file
SEND_SECONDS = 5.0  # between two times that the files of a running fit are sent, at least

Thing = tuple[str, str, Callable[[], Iterator[bytes]]]  # name, SHA-256 of its bytes, and what gives them
Part = tuple[str, int, bytes, str | None]  # name, offset, bytes; after the last part of a file its SHA-256
END: Part = ("", 0, b"", None)  # after the last file of those that belong together


class Seat:
    """Runs one command after another.

    Args:
        scratch: Name of a folder below the node's own for temporary files, for what is received; None where nothing is,
            as nodes share a folder.
    """

    def __init__(self, scratch: str | None = None) -> None:
        own = re.sub(r"\W+", "-", self.where()).strip("-")  # two nodes may be one machine
        self.scratch = None if scratch is None else Path(tempfile.gettempdir()).resolve() / scratch / own
        self.root = None if scratch is None else Path(tempfile.gettempdir()).resolve() / Path(scratch).parts[0]
        self.base: Path | None = None  # the scratch folder, where a command receives something
        self.process: subprocess.Popen[bytes] | None = None
        self.error: str | None = None
        self.log: Path | None = None
        self.read = 0
        self.watched: Path | None = None
        self.known: dict[str, tuple[int, int]] = {}
        self.parts: Iterator[Part] = iter(())
        self.sent = 0.0
        self.closing = False
        self.place: IO[str] | None = None  # held from before a fit is received until all of it is told

    def where(self) -> str:
        """Name of the node, with its number where a cluster has given it one."""
        with contextlib.suppress(Exception):
            import ray

            if not ray.is_initialized():  # asking would join whatever cluster ran here last
                return socket.gethostname()
            return f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"
        return socket.gethostname()

    def sees(self, path: str, text: str) -> bool:
        """Whether a file that the sender has just written is here too."""
        with contextlib.suppress(OSError):
            return Path(path).read_text(encoding="utf-8") == text
        return False

    def start(
        self,
        command: Sequence[str],
        changed: dict[str, str],
        log: str,
        things: Sequence[Thing] = (),
        watched: str | None = None,
    ) -> None:
        """Start a command in the background.

        Args:
            command: What to call, without the name of the interpreter, which is that of the node.
            changed: Environment besides that of the node.
            log: File for what it prints; where a folder is watched, one below the scratch folder, of which :meth:`poll`
                gives the text.
            things: Files below the scratch folder to write first, unless they are there. What ends in ``.zip`` is
                unpacked into the folder of that name, ``home.zip`` every time.
            watched: Folder below the scratch folder whose files :meth:`poll` gives; None where nodes share a folder.
        """
        self.closing, self.error, self.read, self.known, self.sent = False, None, 0, {}, time.monotonic()
        self.process, self.parts = None, iter(())
        self._leave()
        self.base = None if watched is None else self.scratch
        self.log = Path(log) if self.base is None else self.base / log
        self.watched = None if watched is None or self.base is None else self.base / watched
        if self.base is not None and self.root is not None:
            try:
                make_own(self.root)
                self.log.unlink(missing_ok=True)
            except OSError as error:
                self._fail(error)
                return
        threading.Thread(target=self._begin, args=(list(command), dict(changed), list(things)), daemon=True).start()

    def _begin(self, command: list[str], changed: dict[str, str], things: list[Thing]) -> None:
        try:
            assert self.log is not None, "set by start"
            self._clear()
            for name, sha256, content in things:
                assert self.base is not None, "things are received there"
                receive(self.base / name, sha256, content)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with open(self.log, "ab") as output:
                self.process = subprocess.Popen(
                    [sys.executable, *command],
                    env={**os.environ, **self._below(changed)},
                    cwd=self.base,
                    stdin=subprocess.PIPE,  # its end tells the command that this process has ended
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            if self.closing:
                self.interrupt()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = f"{type(error).__name__} on {self.where()}: {error}"

    def _clear(self) -> None:
        """Hold the fit, and remove what is left of it and of others of its run that no place or process holds.

        A node that was ended leaves them; after an edit of the experiment they would refuse all its fits.
        """
        if self.watched is None:
            return
        self.place = take_place(self.watched, wait=True)
        remove_left(self.watched, wait=True)
        mark_place(self.place, "used")
        for other in self.watched.parents[1].glob("seed*/fold*"):
            with contextlib.suppress(BlockingIOError):
                if other != self.watched:
                    with take_place(other, wait=False) as place:
                        if os.fstat(place.fileno()).st_size:  # received for a start of its own, not for another fit
                            remove_left(other, wait=False)
                            mark_place(place, "")

    def _leave(self) -> None:
        if self.place is not None:
            self.place.close()
            self.place = None

    def _below(self, changed: dict[str, str]) -> dict[str, str]:
        """The environment, its folders below the scratch folder where there is one."""
        if self.base is None:
            return changed
        folders = ("HELDOUT_HOME", "HELDOUT_PROJECT", "PYTHONPATH")
        return {name: str(self.base / value) if name in folders else value for name, value in changed.items()}

    def poll(self, wait: float = 0.0) -> tuple[int | None, str, list[Part]]:
        """Exit code, None while it works or files are on their way; new text of the log; parts of changed files.

        Args:
            wait: Seconds to wait for the end of the command, where nothing else is to be told.
        """
        end = time.monotonic() + wait
        while True:
            code, text, parts = self._look()
            if code is not None or text or parts or time.monotonic() > end:
                return code, text, parts
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5) if self.process is not None else time.sleep(0.05)

    def _look(self) -> tuple[int | None, str, list[Part]]:
        if self.error is not None:
            return 1, f"error: {self.error}\n", []
        if self.process is None:  # what it needs is still being received, some of it into the folder that is watched
            return None, "", []
        code = self.process.poll()
        if self.watched is None or self.base is None:
            return code, "", []
        parts = self._next_parts(ended=code is not None)
        text = self._new_text()
        if code is not None and not parts:
            shutil.rmtree(self.watched, ignore_errors=True)  # all of it has been told
            if self.place is not None:
                mark_place(self.place, "")
            self._leave()
        return (None if parts else code), text, parts

    def _new_text(self) -> str:
        assert self.log is not None, "set by start"
        with contextlib.suppress(FileNotFoundError), open(self.log, "rb") as handle:
            handle.seek(self.read)
            data = handle.read(CHUNK)
            self.read += len(data)
            return data.decode("utf-8", "replace")
        return ""

    def _next_parts(self, ended: bool) -> list[Part]:
        found = self._take()
        due = ended or time.monotonic() - self.sent > SEND_SECONDS
        if not found and due:
            self.sent = time.monotonic()
            self.parts = self._changed()
            found = self._take()
        return found

    def _take(self) -> list[Part]:
        found, size = [], 0
        for part in self.parts:
            found.append(part)
            size += len(part[2])
            if size >= CHUNK:
                break
        return found

    def _changed(self) -> Iterator[Part]:
        """Files that are new or changed, all as they were at one moment."""
        assert self.watched is not None, "asked before"
        taken = self.watched.with_name(f".{self.watched.name}.taken")
        try:
            states = self._take_files(taken)
            for name in sorted(states):
                digest, offset = hashlib.sha256(), 0
                with open(taken / name, "rb") as handle:
                    while data := handle.read(CHUNK):
                        digest.update(data)
                        yield name, offset, data, None
                        offset += len(data)
                self.known[name] = states[name]
                yield name, offset, b"", digest.hexdigest()
            if states:
                yield END
        finally:
            shutil.rmtree(taken, ignore_errors=True)

    def _take_files(self, taken: Path) -> dict[str, tuple[int, int]]:
        """Link what is new or changed into a folder; nothing where files change meanwhile, again and again."""
        assert self.watched is not None, "asked before"
        for _ in range(10):
            shutil.rmtree(taken, ignore_errors=True)
            states = self._states()
            changed = {name: state for name, state in states.items() if self.known.get(name) != state}
            with contextlib.suppress(FileNotFoundError):  # replaced or removed a moment ago
                for name in changed:
                    (taken / name).parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(self.watched / name, taken / name)
                if self._states() == states:
                    return changed
        return {}

    def _states(self) -> dict[str, tuple[int, int]]:
        """Time of change and size of every file; each is written elsewhere and moved here, and changes no more."""
        assert self.watched is not None, "asked before"
        found = {}
        for path in self.watched.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.name.startswith("."):
                    state = path.stat()
                    found[path.relative_to(self.watched).as_posix()] = (state.st_mtime_ns, state.st_size)
        return found

    def interrupt(self) -> None:
        """Ask the command to end, as Ctrl-C does."""
        self.closing = True
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def kill(self) -> None:
        """End the command by force."""
        self.closing = True
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def take_place(folder: Path, *, wait: bool) -> IO[str]:
    """Hold the folder of a fit until the file that is returned is closed; it is not empty while the folder is used.

    Raises:
        BlockingIOError: another place holds it.
    """
    import fcntl

    path = folder.parent / f".{folder.name}.seat"
    path.parent.mkdir(parents=True, exist_ok=True)
    held = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by whoever holds it
    try:
        fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        held.close()
        raise
    return held


def mark_place(held: IO[str], text: str) -> None:
    """Write down whether a folder is used."""
    held.truncate(0)
    held.write(text)
    held.flush()


def remove_left(folder: Path, *, wait: bool) -> None:
    """Remove the folder of a fit once its process has ended.

    Raises:
        BlockingIOError: it has not, and is not waited for.
    """
    import fcntl

    if folder.is_dir():
        with open(folder / ".lock", "a", encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


def link_or_copy(path: Path, target: Path) -> None:
    """Keep the bytes of a file under another name, whatever is moved to its own later.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, target)


def make_own(folder: Path) -> None:
    """Make a folder that nobody else can write to.

    Raises:
        OSError: it is there, and of another user or no folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise OSError(f"{folder} is a link or belongs to another user: delete it, or set TMPDIR on the node")
    folder.chmod(0o700)


def receive(path: Path, sha256: str, content: Callable[[], Iterator[bytes]]) -> None:
    """Write a file unless it is here, whole or not at all; of several processes of the node one does so.

    Archives are unpacked; the files of ``home.zip`` change from fit to fit, and are written every time.

    Args:
        path: Where to.
        sha256: Hash of its bytes.
        content: Gives them.

    Raises:
        OSError: other bytes arrived.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mark = path.with_name(f".{path.name}.sha256")
        there = path.with_suffix("") if path.suffix == ".zip" else path
        if there.exists() and mark.exists() and mark.read_text(encoding="utf-8") == sha256:
            return
        digest, part = hashlib.sha256(), path.with_name(f".{path.name}.part")
        with open(part, "wb") as handle:
            for data in content():
                digest.update(data)
                handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        if digest.hexdigest() != sha256:
            part.unlink()
            raise OSError(f"{path.name} arrived damaged: run the command again")
        os.replace(part, path)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(there)
            path.unlink()
        if path.name != "home.zip":
            mark.write_text(sha256, encoding="utf-8")
