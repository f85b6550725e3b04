"""Network processes and the one bounded queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from heldout.data.parallel import cores
from heldout.serve.answers import ModelInfo
from heldout.serve.messages import Ask, Failure, Opened, Reply, ShareDone
from heldout.serve.process import NetworkProcess, PendingAsk
from heldout.serve.registry import Target
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import Refused

_GRACE = 2.0  # seconds that a process which is no longer wanted still takes requests
_TRIES = 2  # a request whose process died is given to another once
_DEATHS = 3  # of processes before they were ready, one after another, after which their decisions are given up
_DEAD = -1  # number of the answer to a request whose process died
_LOOK = 0.25  # seconds between looks at the queue by those that wait for a place, and at processes that may hang


def _work(*arguments: Any) -> None:
    """A network process: what it needs is imported there alone, so that the web process stays small."""
    from heldout.serve.worker import main

    main(*arguments)


class NetworkPool:
    """All network processes; for one event loop.

    Attributes:
        models: What the processes serve, as they say themselves; empty until the first is ready.
        refused: Decisions that were to be switched to and cannot be served.
        stopped: Why nothing can be served; None while all is well.
        targets: Decisions that are wanted.
        restarts: How many processes were started in place of dead ones.
        on_served: Called with what is served whenever a process took over.
        device_memory: Bytes of the accelerator in use, as the last answer said.
    """

    def __init__(
        self, settings: ServeSettings, targets: Sequence[Target], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        self.settings = settings
        self.on_served: Callable[[Sequence[ModelInfo]], None] = lambda _: None
        self.targets = tuple(targets)
        self.refused: tuple[Target, ...] = ()
        self.models: list[ModelInfo] = []
        self.device_memory = 0
        self.stopped: str | None = None
        self.restarts = 0
        self._deaths = 0  # of processes of these targets before they were ready, one after another
        self._served = self.targets  # by the processes that are ready
        self._on_stop = on_stop
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._processes: list[NetworkProcess] = []
        self._closing = False
        self._retiring: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ready(self) -> int:
        """Number of processes that can answer."""
        return sum(one.ready for one in self._processes)

    @property
    def depth(self) -> int:
        """Requests that wait or are worked on."""
        return sum(len(one.work) for one in self._processes)

    def start(self) -> None:
        """Start the processes; call from the event loop."""
        self._loop = asyncio.get_running_loop()
        for _ in range(self.settings.workers):
            self._spawn()

    async def watch(self) -> None:
        """End processes that hang, for ever; to be cancelled. Others are started in their place."""
        while True:
            await asyncio.sleep(_LOOK)
            for one in self._processes:
                if one.hangs(self.settings.answer_seconds):
                    print(
                        f"a network process said nothing for {self.settings.answer_seconds:g} s: ending it",
                        file=sys.stderr,
                        flush=True,
                    )
                    one.process.kill()

    def wants(self, targets: Sequence[Target]) -> bool:
        """Whether these decisions are wanted already, or were and cannot be served."""
        return self._settled(targets) in (self.targets, self.refused)

    def _settled(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Targets; those without a seal are what is served by that name so far."""
        known = {one.decision: one.seal for one in self._served}
        return tuple(replace(one, seal=one.seal or known.get(one.decision)) for one in targets)

    def switch(self, targets: Sequence[Target]) -> None:
        """Serve other decisions: requests go to new processes once one is ready, what old ones work on is answered.

        Args:
            targets: As :attr:`targets`.
        """
        self.targets, self._deaths = self._settled(targets), 0
        mine = [one for one in self._processes if one.targets == self.targets and not one.retiring]
        for _ in range(self.settings.workers - len(mine)):
            self._spawn()
        if ready := [one for one in mine if one.ready]:
            self._take_over(ready[0])

    def close(self) -> None:
        """End the processes; what they work on is told 503."""
        self._closing = True
        for one in self._processes:
            one.pipe.close()
            one.process.terminate()
            for waiting in one.work.values():
                _fail(waiting, 503, "the service ends: ask again when it runs")
        for one in self._processes:
            one.process.join(5)

    async def ask(self, ask: Ask, *, patient: bool = False, told: Callable[[float], None] | None = None) -> Reply:
        """Have a request answered. Where the caller is cancelled, it ends once no process reads the request's files.

        Args:
            ask: The request.
            patient: Wait for a place where the queue is full, and for a process where one died.
            told: Called with the share that is done.

        Raises:
            Refused: 503 where nothing is ready, too much waits, or processes died twice over it; else what the process
                says.
        """
        reply = await self._ask_once(ask, patient, told)
        if patient and reply.number == _DEAD and not self._closing:
            reply = await self._ask_once(ask, patient, told)
        if isinstance(reply.found, Failure):
            raise Refused(reply.found.status, reply.found.detail)
        return reply

    async def _ask_once(self, ask: Ask, patient: bool, told: Callable[[float], None] | None) -> Reply:
        while patient and self.stopped is None and (self.depth >= self.settings.queue or not self.ready):
            await asyncio.sleep(_LOOK)
        if self.depth >= self.settings.queue:
            raise Refused(503, f"{self.settings.queue} requests are waiting: try again in a moment")
        process = self._free(ask)
        if process is None:
            raise Refused(503, self.stopped or "the networks are being loaded: try again in a moment")
        waiting = PendingAsk(ask, asyncio.get_running_loop().create_future(), told)
        process.give(next(self._numbers), waiting)
        try:
            return await asyncio.shield(waiting.future)
        except asyncio.CancelledError:
            waiting.stop()
            await waiting.future
            raise

    def _free(self, ask: Ask) -> NetworkProcess | None:
        """The process with the least work that serves the decision; None while there is none."""
        free = [one for one in self._processes if one.serves(ask)]
        return min(free, key=lambda one: (one.retiring, len(one.work)), default=None)

    def _spawn(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, self.targets, self.settings, max(1, cores() // self.settings.workers)),
            daemon=True,
        )
        process.start()
        theirs.close()
        one = NetworkProcess(process, ours, self.targets)
        self._processes.append(one)
        threading.Thread(target=self._receive, args=(one,), daemon=True).start()

    def _receive(self, one: NetworkProcess) -> None:
        assert self._loop is not None, "started from the event loop"
        while True:
            try:
                message = one.pipe.recv()
            except (EOFError, OSError):
                message = None
            if self._closing:
                return
            self._loop.call_soon_threadsafe(self._handle, one, message)
            if message is None:
                return

    def _handle(self, one: NetworkProcess, message: Opened | Failure | Reply | ShareDone | None) -> None:
        one.heard = time.monotonic()
        if isinstance(message, ShareDone):
            waiting = one.work.get(message.number)
            if waiting is not None and waiting.told is not None:
                waiting.told(message.share)
        elif isinstance(message, Reply):
            waiting = one.work.pop(message.number, None)
            self.device_memory = message.device_memory
            if waiting is not None and not waiting.future.done():
                waiting.future.set_result(message)
        elif isinstance(message, Opened):
            one.models, one.ready = message.models, True
            if one.targets == self.targets:
                self._take_over(one)
            else:  # something else is wanted by now
                self._end(one)
        elif isinstance(message, Failure):
            self._processes.remove(one)
            self._give_up(one, message.detail)
        elif self.stopped is None and one in self._processes:
            self._bury(one)

    def _give_up(self, one: NetworkProcess, reason: str) -> None:
        """Its decisions cannot be served: those served so far are wanted again, or the service ends."""
        if not any(other.ready for other in self._processes):
            self.stopped = reason
            self._on_stop()
            return
        print(f"the decisions served so far stay: {reason}", file=sys.stderr, flush=True)
        if one.targets == self.targets:
            self.refused, self.targets, self._deaths = self.targets, self._served, 0

    def _take_over(self, one: NetworkProcess) -> None:
        """A process of the decisions that are wanted is ready: those of others end when their work is done.

        What it serves is fixed from here on: a process that is started in its place must find the same seals.
        """
        pairs = list(zip(self.targets, one.models, strict=True))  # a bundle is a folder, and has a name of its own
        self.models = [model.model_copy(update={"served_as": target.served_as}) for target, model in pairs]
        self.on_served(self.models)
        fixed = tuple(replace(target, seal=model.seal) for target, model in pairs)
        for other in self._processes:
            if other.targets == self.targets:
                other.targets = fixed
        self.targets = self._served = fixed
        self._deaths = 0
        for other in self._processes:
            if other.targets != fixed and other.ready:
                self._end(other)

    def _end(self, one: NetworkProcess) -> None:
        one.retiring = True
        self._retiring.add(task := asyncio.ensure_future(self._retire(one)))
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, one: NetworkProcess) -> None:
        await asyncio.sleep(_GRACE)  # a request may have chosen its decision already
        while one.work:
            await asyncio.sleep(_GRACE / 10)
        if one in self._processes:
            self._processes.remove(one)
            one.pipe.close()
            one.process.terminate()
            await asyncio.to_thread(one.process.join, 5)

    def _bury(self, one: NetworkProcess) -> None:
        """A process died: start another, and give its requests to those that live, once."""
        self._processes.remove(one)
        one.process.join(1)
        code = one.process.exitcode
        self._deaths += int(not one.ready and one.targets == self.targets)
        if self._deaths >= _DEATHS:
            self._give_up(one, f"their network processes end with {code} before they are ready: see the log")
        elif one.targets == self.targets:
            print(f"a network process ended with {code}: starting another", file=sys.stderr, flush=True)
            self.restarts += 1
            self._spawn()
        for waiting in one.work.values():
            process = self._free(waiting.ask)
            if waiting.tries >= _TRIES or process is None:
                _fail(waiting, 503, "a network process died: try again in a moment")
            elif not waiting.future.done():
                waiting.tries += 1
                process.give(next(self._numbers), waiting)


def _fail(waiting: PendingAsk, status: int, detail: str) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # it is answered
        waiting.future.set_result(Reply(_DEAD, Failure(status, detail)))
