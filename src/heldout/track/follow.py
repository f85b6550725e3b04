"""A process beside a command that keeps a tracker up to date: ``python -m heldout.track.follow ORDER``.

It reads what the command leaves on the disk, at the lowest priority. A tracker that fails, or does not answer, stops
nothing; what it lacks is sent by ``run.py track sync``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from heldout import files
from heldout.errors import note
from heldout.launch.worker import set_priority
from heldout.track.trackers import check_trackers, open_tracker

EVERY = 3.0  # seconds between looks at the disk
PATIENCE = 120.0  # seconds that a command waits at its end for a tracker
IMPATIENCE = 10.0  # where it was interrupted


@dataclass(frozen=True)
class Watching:
    """What a process is to follow.

    Attributes:
        tracker: Name of the tracker.
        sources: As :func:`heldout.track.read.subjects` takes them.
        pid: The process that works.
        samples: Whether to sample its use of the machine.
    """

    tracker: str
    sources: tuple[str, ...]
    pid: int
    samples: bool


@contextlib.contextmanager
def tracked(trackers: Iterable[str] | None, *sources: str, here: bool = True) -> Iterator[None]:
    """Follow what is done inside, one process for each tracker; at the end wait until they have it.

    Args:
        trackers: Their names; None or none follows nothing.
        sources: What is made inside, as :func:`heldout.track.read.subjects` takes it.
        here: It is made on this machine, whose use is sampled then.

    Raises:
        UserError: a tracker is unknown, not installed, or lacks a setting.
    """
    names = check_trackers(trackers or ())
    pid = os.getpid()
    followers = [_start(Watching(name, sources, pid, here and place == 0)) for place, name in enumerate(names)]
    patience = IMPATIENCE
    try:
        yield
        patience = PATIENCE
    finally:
        for follower in followers:
            assert follower.stdin is not None
            follower.stdin.close()
        for name, follower in zip(names, followers, strict=True):
            _end(name, follower, patience)


def log_path(tracker: str) -> Path:
    """What a follower prints."""
    return files.home() / "working" / "track" / f"{tracker}.log"


def _start(watching: Watching) -> subprocess.Popen[bytes]:
    log = log_path(watching.tracker)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "heldout.track.follow", json.dumps(asdict(watching))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,  # its end tells the follower that this process has ended, however that happened
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches this process only
        )


def _end(name: str, follower: subprocess.Popen[bytes], patience: float) -> None:
    try:
        code = follower.wait(patience)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(follower.pid, signal.SIGKILL)
        code = follower.wait()
    if code:
        note(f"{name} was not sent everything (see {log_path(name)}): `python run.py track sync` sends the rest")


def main(words: Sequence[str]) -> int:
    """Follow until the standard input ends; 0 where the tracker has everything."""
    order = json.loads(words[0])
    watching = Watching(**{**order, "sources": tuple(order["sources"])})
    set_priority(19)
    from heldout.track.mirror import Mirror
    from heldout.track.read import run_of
    from heldout.track.system import Sampler

    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    mirror = Mirror(watching.tracker, open_tracker(watching.tracker, watching.pid))
    sampler = None
    if watching.samples:
        with contextlib.suppress(Exception):  # psutil is not installed, or the command has ended
            sampler = Sampler(watching.pid)
    while not ended.wait(EVERY):
        if sampler is not None:
            sampler.sample([spec for source in watching.sources if (spec := run_of(source)) is not None])
        mirror.look(watching.sources, final=False)
    mirror.look(watching.sources, final=True)
    mirror.close()
    for unsent in mirror.unsent.values():
        print(f"{unsent.key}: {unsent.error}", flush=True)
    return 1 if mirror.unsent else 0


def _wait_for_end(ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):  # a buffered read would hold a lock that the end of the interpreter needs
        pass
    ended.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
