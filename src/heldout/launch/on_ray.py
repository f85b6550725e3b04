"""The engine of a Ray cluster: an actor holds the cores and GPUs of a fit, and runs it in a process of its own.

Where the nodes see the folder of this machine, fits read and write there. Where they do not, the code, the packed
dataset and what a fit has so far are sent, and its files come back while it is trained.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout import files
from heldout.errors import InUse, UserError
from heldout.launch import seat as seats
from heldout.launch import travel
from heldout.launch.engine import Engine, threads_of
from heldout.launch.plan import Fit
from heldout.launch.worker import Order, own_modules, threads_environment

STOP_SECONDS = 30.0
WAIT_SECONDS = 2.0  # that a node waits for something to tell
START_SECONDS = 0.2
NO_NODE = "no node yet"
_PASSED_ON = ("HELDOUT_DATA", "HELDOUT_WEIGHTS", "HF_HUB_OFFLINE")


def passed_on() -> dict[str, str]:
    """Environment that a node has in common with this machine, where it sees the same folders."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "HELDOUT_HOME": str(files.home()), "HELDOUT_PROJECT": str(files.project())}


@dataclass
class _Placed:
    """An actor on a node, or one that waits for room."""

    actor: Any
    threads: int
    node: str = NO_NODE
    shared: bool | None = None
    busy: bool = False


@dataclass
class RayEngine(Engine):
    """Trains fits on the nodes of a cluster.

    Attributes:
        ray: The library, from :func:`heldout.launch.ray_cluster.connect`.
        workers: How many at once.
        threads: CPU threads of a fit whose run does not say how many.
        gpus: GPUs of each.
        shared: Whether nodes see the folder of this machine; None looks.
        until: When fits stop after their current epoch, in seconds since 1970; None is never.
        command: What a node calls for a fit.
    """

    ray: Any
    workers: int
    threads: int
    gpus: float = 0.0
    shared: bool | None = None
    until: float | None = None
    command: Callable[[Order], list[str]] = Order.command
    _placed: list[_Placed] = field(default_factory=list, init=False, repr=False)
    _sent: dict[str, tuple[str, list[Any]]] = field(default_factory=dict, init=False, repr=False)
    _seen: Path | None = field(default=None, init=False, repr=False)

    def start(self, fit: Fit, log: Path) -> RayJob:
        """Start a fit, or resume it, as soon as a node has room for it.

        Raises:
            UserError: no node is as large as it needs.
        """
        threads = threads_of(fit, self.threads)
        assert threads is not None, "the engine has a share"
        self._check_room(fit, threads)
        log.parent.mkdir(parents=True, exist_ok=True)
        return RayJob(self, self._seat(threads), fit, log, Order(fit, 0, None, self.until, threads))

    def _check_room(self, fit: Fit, threads: int) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(one.get("CPU", 0) >= threads and one.get("GPU", 0) >= self.gpus for one in nodes):
            cpus, gpus = (max((one.get(kind, 0) for one in nodes), default=0) for kind in ("CPU", "GPU"))
            raise UserError(
                f"{fit} needs {threads} cores and {self.gpus:g} GPUs on one node, and the largest has {cpus:g} cores "
                f"and {gpus:g} GPUs: lower --gpus-per-fit, add a larger node, or train it apart with "
                f"--set threads={max(1, int(cpus))}"
            )

    def _seat(self, threads: int) -> _Placed:
        for placed in self._placed:
            if not placed.busy and placed.threads == threads:
                placed.busy = True
                return placed
        for placed in [placed for placed in self._placed if not placed.busy]:
            self.discard(placed)  # it holds cores that this one may need
        options = {"num_cpus": threads, "num_gpus": self.gpus, "max_concurrency": 4, "max_restarts": 0}
        actor = self.ray.remote(seats.Seat).options(**options, scheduling_strategy="SPREAD").remote(self._scratch())
        self._placed.append(_Placed(actor, threads, shared=self.shared, busy=True))
        return self._placed[-1]

    def _scratch(self) -> str | None:
        if self.shared:
            return None
        path = files.home() / "working" / "launch" / "mark"
        if not path.exists():
            files.write_text(path, os.urandom(8).hex())
        home = hashlib.sha256(f"{path}{path.read_text(encoding='utf-8')}".encode()).hexdigest()[:12]
        return f"heldout-{getpass.getuser()}/{home}"

    def seen(self) -> tuple[str, str]:
        """A file that this engine has written, and what it holds; a node without it has another folder, or a copy."""
        if self._seen is None:
            token = os.urandom(8).hex()
            self._seen = files.home() / "working" / "launch" / f"seen-{token}"
            files.write_text(self._seen, token)
        return str(self._seen), self._seen.read_text(encoding="utf-8")

    def discard(self, placed: _Placed) -> None:
        """Give an actor up, with whatever it runs."""
        self._placed = [other for other in self._placed if other is not placed]
        with contextlib.suppress(Exception):
            self.ray.kill(placed.actor)

    def close(self) -> None:
        """Give all actors up."""
        for placed in list(self._placed):
            self.discard(placed)
        if self._seen is not None:
            self._seen.unlink(missing_ok=True)
            self._seen = None

    def things(self, fit: Fit) -> tuple[list[seats.Thing], list[str]]:
        """What a fit takes along where no folder is shared, and the names of the packed datasets in it.

        Raises:
            UserError: it needs more than can be sent.
        """
        config = fit.config()
        if config is None:
            raise UserError(
                f"the epochs of {fit} have not been measured, and nodes without a common folder would measure each for "
                "itself: train one fold of it here first"
            )
        travel.refuse_to_travel(config, "to a node without a common folder")
        pack = travel.pack_for([config])
        if pack.name not in self._sent:
            refs = [self.ray.put(data) for data in travel.chunks(pack)]
            self._sent[pack.name] = files.sha256_file(pack), refs
        if "code.zip" not in self._sent:
            self._sent["code.zip"] = self._put(travel.archive(travel.code_files()))
        sent = [(name, *self._sent[name]) for name in (pack.name, "code.zip")]
        sent.append(("home.zip", *self._put(travel.archive(travel.needed_files([fit])))))
        ray = self.ray

        def fetch(refs: Sequence[Any]) -> Callable[[], Iterator[bytes]]:
            return lambda: (ray.get(ref) for ref in refs)

        return [(name, sha256, fetch(refs)) for name, sha256, refs in sent], [pack.name]

    def _put(self, data: bytes) -> tuple[str, list[Any]]:
        size = 1 << 25
        refs = [self.ray.put(data[first : first + size]) for first in range(0, len(data), size)]
        return files.sha256_bytes(data), refs


class RayJob:
    """A fit on a node, or on its way there."""

    def __init__(self, engine: RayEngine, placed: _Placed, fit: Fit, log: Path, order: Order) -> None:
        self.engine, self.placed, self.fit, self.log, self.order = engine, placed, fit, log, order
        self.code: int | None = None
        self.arrival: travel.Arrival | None = None
        self.starting = True
        self.waiting = False  # for another process of this machine that trains the fit
        self.held = contextlib.ExitStack()
        ask = placed.actor
        self.steps = iter(
            [
                lambda: ask.where.remote(),
                lambda: ask.sees.remote(*engine.seen()),
                self._send,
            ]
        )
        self.pending = next(self.steps)()

    @property
    def where(self) -> str:
        """The node."""
        return f"its process on node {self.placed.node}"

    def poll(self) -> int | None:
        """Its exit code; None while it works, negative where it was killed or its node is gone."""
        while self.code is None and self.engine.ray.wait([self.pending], timeout=self._patience())[0]:
            try:
                self._take(self.engine.ray.get(self.pending))
            except InUse:
                self.waiting, self.steps, self.pending = True, iter([self._send]), self.placed.actor.where.remote()
                return None  # and tried again at the next call
            except UserError as error:
                self._end(2, f"error: {error}\n")
                self.engine.discard(self.placed)
            except self.engine.ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                self._end(-1, f"node {self.placed.node} is gone: {reason}\n")
                self.engine.discard(self.placed)
        return self.code

    def _patience(self) -> float:
        """Seconds to wait for an answer: a node that is there answers at once what comes before the start."""
        return START_SECONDS if self.starting and self.placed.node != NO_NODE else 0.0

    def _take(self, answer: Any) -> None:
        if isinstance(answer, str):
            self.placed.node = answer
        elif isinstance(answer, bool) and self.placed.shared is None:
            self.placed.shared = answer
        elif isinstance(answer, tuple):
            code, text, parts = answer
            if self.arrival is not None:
                self.arrival.take(parts)
            self._write(text)
            if code is not None:
                self._end(code)
                return
        step = next(self.steps, None)
        self.starting = step is not None
        self.pending = self.placed.actor.poll.remote(WAIT_SECONDS) if step is None else step()

    def _send(self) -> Any:
        """Start the fit on its node, where a folder is shared or not."""
        engine, actor, threads = self.engine, self.placed.actor, threads_environment(self.order.threads)
        if self.placed.shared:
            self._write(f"on node {self.placed.node}\n")
            environment = {**passed_on(), **own_modules(), **threads}
            return actor.start.remote(engine.command(self.order), environment, str(self.log))
        folder = self.fit.folder()
        if folder is not None:
            self.held.enter_context(files.lock(folder, f"training {self.fit} on node {self.placed.node}"))
        self.waiting = False
        self._write(f"on node {self.placed.node}\n")
        things, packs = engine.things(self.fit)
        assert folder is not None, "its number of epochs is known"
        self.arrival = travel.Arrival(folder)
        order = Order(self.fit, 0, self.order.loaders, self.order.until, self.order.threads, packs)
        config = self.fit.config()
        assert config is not None, "its number of epochs is known"
        watched = f"home/{travel.place_of(config.spec, self.fit)}"
        environment = {**threads, "HELDOUT_HOME": "home", "HELDOUT_PROJECT": "code", "PYTHONPATH": "code"}
        return actor.start.remote(engine.command(order), environment, f"logs/{self.log.name}", things, watched)

    def interrupt(self) -> None:
        """Ask it to end, keeping what is on the disk."""
        if self.code is None:
            with contextlib.suppress(Exception):  # its node may have gone a moment ago
                self.placed.actor.interrupt.remote()

    def stop(self) -> None:
        """End it; what does not end by itself is ended by force after half a minute."""
        self.interrupt()
        end = time.monotonic() + (0 if self.waiting or self.placed.node == NO_NODE else STOP_SECONDS)
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if self.code is None:
            with contextlib.suppress(Exception):
                self.placed.actor.kill.remote()
            self._end(-9)
            self.engine.discard(self.placed)

    def _write(self, text: str) -> None:
        if text:
            with open(self.log, "a", encoding="utf-8") as handle:
                handle.write(text)

    def _end(self, code: int, text: str = "") -> None:
        self._write(text)
        self.held.close()
        self.code, self.placed.busy = code, False
