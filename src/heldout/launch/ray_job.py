"""A command on a node of a Ray cluster, from the place that it waits for to the last of its files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from heldout import files
from heldout.errors import InUse, UserError
from heldout.launch import travel
from heldout.launch.plan import Fit
from heldout.launch.seat import Thing
from heldout.launch.worker import Order, own_modules, threads_environment
from heldout.train import numerics

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
class PlacedSeat:
    """An actor on a node, or one that waits for room."""

    actor: Any
    threads: int
    node: str = NO_NODE
    shared: bool | None = None
    busy: bool = False


class SeatPool(Protocol):
    """What a command asks its engine for; see :class:`heldout.launch.on_ray.RayEngine`."""

    ray: Any

    @property
    def command(self) -> Callable[[Order], list[str]]:
        """What a node calls for a fit."""
        ...

    def seen(self) -> tuple[str, str]:
        """A file that nodes with this machine's folder see, and what it holds."""
        ...

    def things(self, fit: Fit) -> tuple[list[Thing], list[str]]:
        """What a fit takes along, and the names of the packed datasets in it."""
        ...

    def discard(self, placed: PlacedSeat) -> None:
        """Give an actor up."""
        ...


class RayJob:
    """A command on a node, or on its way there.

    Args:
        engine: The engine.
        placed: Where it is to run.
        log: What it prints.
        threads: Its CPU threads.
        command: What to call, where the node sees the folder of this machine.
        order: The fit, which may run on another node too; None of another command.
    """

    def __init__(
        self,
        engine: SeatPool,
        placed: PlacedSeat,
        log: Path,
        threads: int,
        command: Sequence[str],
        order: Order | None,
    ) -> None:
        self.engine, self.placed, self.log, self.order = engine, placed, log, order
        self.threads, self.command = threads_environment(threads), list(command)
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
        """Start the command on its node, where a folder is shared or not."""
        actor, order = self.placed.actor, self.order
        if self.placed.shared:
            self._write(f"on node {self.placed.node}\n")
            environment = {**passed_on(), **own_modules(), **self.threads}
            return actor.start.remote(self.command, environment, str(self.log))
        if order is None:
            raise UserError(
                f"node {self.placed.node} does not see {files.home()}: mount it there, or leave that node out of the "
                "cluster"
            )
        return self._send_fit(order)

    def _send_fit(self, order: Order) -> Any:
        """Start the fit on its node, with all that it needs."""
        fit = order.fit
        config, folder = fit.config(), fit.folder()
        if config is not None and folder is not None:
            with numerics.beginning(config, folder, wait=False):
                self.held.enter_context(files.lock(folder, f"training {fit} on node {self.placed.node}"))
        self.waiting = False
        self._write(f"on node {self.placed.node}\n")
        things, packs = self.engine.things(fit)
        assert config is not None, "its number of epochs is known"
        assert folder is not None, "its number of epochs is known"
        self.arrival = travel.Arrival(folder)
        precision, threads = numerics.fit_precision(config, folder), numerics.fit_threads(config, folder)
        if threads not in (None, order.threads):
            raise UserError(
                f"another command has begun {config.spec} with {threads} threads, and {fit} was given {order.threads}: "
                "run the command again"
            )
        command = self.engine.command(replace(order, packs=packs, precision=precision))
        watched = f"home/{travel.place_of(config.spec, fit)}"
        environment = {**self.threads, "HELDOUT_HOME": "home", "HELDOUT_PROJECT": "code", "PYTHONPATH": "code"}
        return self.placed.actor.start.remote(command, environment, f"logs/{self.log.name}", things, watched)

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
