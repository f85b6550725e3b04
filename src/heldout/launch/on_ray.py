"""The engine of a Ray cluster: an actor holds the cores and GPUs of a fit, and runs it in a process of its own.

Where the nodes see the folder of this machine, fits read and write there. Where they do not, the code, the packed
dataset and what a fit has so far are sent, and its files come back while it is trained.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout import files
from heldout.errors import UserError
from heldout.launch import seat as seats
from heldout.launch import travel
from heldout.launch.engine import Engine, threads_of
from heldout.launch.plan import Fit
from heldout.launch.ray_job import PlacedSeat, RayJob
from heldout.launch.worker import Order


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
    _placed: list[PlacedSeat] = field(default_factory=list, init=False, repr=False)
    _sent: dict[str, tuple[str, list[Any]]] = field(default_factory=dict, init=False, repr=False)
    _seen: Path | None = field(default=None, init=False, repr=False)

    def start(self, fit: Fit, log: Path) -> RayJob:
        """Start a fit, or resume it, as soon as a node has room for it.

        Raises:
            UserError: no node is as large as it needs.
        """
        threads = threads_of(fit, self.threads)
        assert threads is not None, "the engine has a share"
        order = Order(fit, 0, None, self.until, threads)
        return self._start(str(fit), self.command(order), threads, log, order)

    def start_command(self, what: str, command: Sequence[str], log: Path) -> RayJob:
        """Start something else than a fit, on a node that sees the folder of this machine.

        Raises:
            UserError: no node is as large as it needs.
        """
        return self._start(what, command, self.threads, log, None)

    def _start(self, what: str, command: Sequence[str], threads: int, log: Path, order: Order | None) -> RayJob:
        self._check_room(what, threads)
        log.parent.mkdir(parents=True, exist_ok=True)
        return RayJob(self, self._seat(threads), log, threads, command, order)

    def _check_room(self, what: str, threads: int) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(one.get("CPU", 0) >= threads and one.get("GPU", 0) >= self.gpus for one in nodes):
            cpus, gpus = (max((one.get(kind, 0) for one in nodes), default=0) for kind in ("CPU", "GPU"))
            raise UserError(
                f"{what} needs {threads} cores and {self.gpus:g} GPUs on one node, and the largest has {cpus:g} cores "
                f"and {gpus:g} GPUs: lower --gpus-per-fit, add a larger node, or train it apart with "
                f"--set threads={max(1, int(cpus))}"
            )

    def _seat(self, threads: int) -> PlacedSeat:
        for placed in self._placed:
            if not placed.busy and placed.threads == threads:
                placed.busy = True
                return placed
        for placed in [placed for placed in self._placed if not placed.busy]:
            self.discard(placed)  # it holds cores that this one may need
        options = {"num_cpus": threads, "num_gpus": self.gpus, "max_concurrency": 4, "max_restarts": 0}
        actor = self.ray.remote(seats.Seat).options(**options, scheduling_strategy="SPREAD").remote(self._scratch())
        self._placed.append(PlacedSeat(actor, threads, shared=self.shared, busy=True))
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

    def discard(self, placed: PlacedSeat) -> None:
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
