"""Network processes and the one bounded queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from heldout.serve.answers import ModelInfo
from heldout.serve.messages import Ask, Failure, Opened, Reply
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import Refused

_GRACE = 2.0  # seconds that a process which is no longer wanted still takes requests
_TRIES = 2  # a request whose process died is given to another once


def _work(*arguments: Any, **settings: Any) -> None:
    """A network process: what it needs is imported there alone, so that the web process stays small."""
    from heldout.serve.worker import main

    main(*arguments, **settings)


@dataclass(eq=False)
class _Waiting:
    ask: Ask
    future: asyncio.Future[Reply]
    tries: int = 1


@dataclass(eq=False)
class _Process:
    """A network process, its end of the pipe, and the requests it works on."""

    process: Any
    pipe: Connection
    decisions: tuple[str, ...]
    ready: bool = False
    retiring: bool = False
    models: list[ModelInfo] = field(default_factory=list)
    work: dict[int, _Waiting] = field(default_factory=dict)


class NetworkPool:
    """All network processes; for one event loop.

    Attributes:
        models: What the processes serve, as they say themselves; empty until the first is ready.
        refused: Decisions that were to be switched to and cannot be served.
        stopped: Why nothing can be served; None while all is well.
        names: Decisions that are served, each with the name that it was asked for by.
        restarts: How many processes were started in place of dead ones.
        device_memory: Bytes of the accelerator in use, as the last answer said.
    """

    def __init__(
        self, settings: ServeSettings, names: Mapping[str, str], on_stop: Callable[[], None] = lambda: None
    ) -> None:
        self.settings = settings
        self.names = dict(names)
        self.refused: dict[str, str] = {}
        self.models: list[ModelInfo] = []
        self.device_memory = 0
        self.stopped: str | None = None
        self.restarts = 0
        self._on_stop = on_stop
        self._context = multiprocessing.get_context("spawn")
        self._numbers = itertools.count()
        self._processes: list[_Process] = []
        self._closing = False
        self._retiring: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ready(self) -> bool:
        """Whether a process can answer."""
        return any(one.ready for one in self._processes)

    @property
    def depth(self) -> int:
        """Requests that wait or are worked on."""
        return sum(len(one.work) for one in self._processes)

    def start(self) -> None:
        """Start the processes; call from the event loop."""
        self._loop = asyncio.get_running_loop()
        for _ in range(self.settings.workers):
            self._spawn()

    def switch(self, names: Mapping[str, str]) -> None:
        """Serve other decisions: requests go to new processes once one is ready, what old ones work on is answered.

        Args:
            names: As :attr:`names`.
        """
        self.names = dict(names)
        mine = [one for one in self._processes if one.decisions == tuple(names) and not one.retiring]
        for _ in range(self.settings.workers - len(mine)):
            self._spawn()
        if ready := [one for one in mine if one.ready]:
            self._take_over(ready[0])

    def close(self) -> None:
        """End the processes."""
        self._closing = True
        for one in self._processes:
            one.pipe.close()
            one.process.terminate()
        for one in self._processes:
            one.process.join(5)

    async def ask(self, ask: Ask) -> Reply:
        """Have a request answered.

        Raises:
            Refused: 503 where nothing is ready, too much waits, or processes died twice over it; else what the process
                says.
        """
        if self.depth >= self.settings.queue:
            raise Refused(503, f"{self.settings.queue} requests are waiting: try again in a moment")
        reply = await self._give(_Waiting(ask, asyncio.get_running_loop().create_future()))
        if isinstance(reply.found, Failure):
            raise Refused(reply.found.status, reply.found.detail)
        return reply

    async def _give(self, waiting: _Waiting) -> Reply:
        process = self._free(waiting.ask)
        if process is None:
            raise Refused(503, self.stopped or "the networks are being loaded: try again in a moment")
        number = self._send(process, waiting)
        try:
            return await waiting.future
        finally:
            process.work.pop(number, None)

    def _free(self, ask: Ask) -> _Process | None:
        """The process with the least work that serves the decision; None while there is none."""
        free = [one for one in self._processes if one.ready and any(model.name == ask.model for model in one.models)]
        return min(free, key=lambda one: (one.retiring, len(one.work)), default=None)

    def _spawn(self) -> None:
        ours, theirs = self._context.Pipe()
        settings = self.settings
        threads = max(1, len(os.sched_getaffinity(0)) // settings.workers)
        process = self._context.Process(
            target=_work,
            args=(theirs, tuple(self.names)),
            kwargs={
                "device": settings.device,
                "unsealed": settings.unsealed,
                "tta": settings.tta,
                "batch": settings.batch,
                "wait_ms": settings.batch_wait_ms,
                "threads": threads,
            },
            daemon=True,
        )
        process.start()
        theirs.close()
        one = _Process(process, ours, tuple(self.names))
        self._processes.append(one)
        threading.Thread(target=self._receive, args=(one,), daemon=True).start()

    def _receive(self, one: _Process) -> None:
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

    def _handle(self, one: _Process, message: Opened | Failure | Reply | None) -> None:
        if isinstance(message, Reply):
            waiting = one.work.pop(message.number, None)
            self.device_memory = message.device_memory
            if waiting is not None and not waiting.future.done():
                waiting.future.set_result(message)
        elif isinstance(message, Opened):
            one.models, one.ready = message.models, True
            if one.decisions == tuple(self.names):
                self._take_over(one)
            else:  # something else is wanted by now
                self._end(one)
        elif isinstance(message, Failure) and any(other.ready for other in self._processes):
            print(f"the decisions served so far stay: {message.detail}", file=sys.stderr, flush=True)
            self._refuse(one)
        elif isinstance(message, Failure):
            self.stopped = message.detail
            self._on_stop()
        elif message is None and self.stopped is None and one in self._processes:
            self._bury(one)

    def _refuse(self, one: _Process) -> None:
        """Decisions that were switched to cannot be served: those served so far are wanted again."""
        if one in self._processes:
            self._processes.remove(one)
        if one.decisions == tuple(self.names):
            self.refused, self.names = self.names, {model.name: model.served_as for model in self.models}

    def _take_over(self, one: _Process) -> None:
        """A process of the decisions that are wanted is ready: those of others end when their work is done."""
        self.models = [  # a bundle is asked for by its folder, and served under its own name
            model.model_copy(update={"served_as": self.names.get(model.name, model.name)}) for model in one.models
        ]
        for other in self._processes:
            if other.decisions != one.decisions and other.ready:
                self._end(other)

    def _end(self, one: _Process) -> None:
        one.retiring = True
        self._retiring.add(task := asyncio.ensure_future(self._retire(one)))
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, one: _Process) -> None:
        await asyncio.sleep(_GRACE)  # a request may have chosen its decision already
        while one.work:
            await asyncio.sleep(_GRACE / 10)
        if one in self._processes:
            self._processes.remove(one)
            one.pipe.close()
            one.process.terminate()
            await asyncio.to_thread(one.process.join, 5)

    def _bury(self, one: _Process) -> None:
        """A process died: start another, and give its requests to those that live, once."""
        self._processes.remove(one)
        one.process.join(1)
        print(f"a network process ended with {one.process.exitcode}: starting another", file=sys.stderr, flush=True)
        if not one.ready and not self.ready and self.restarts >= 3:
            self.stopped = "the network processes die before they are ready: see the log"
            self._on_stop()
            return
        self.restarts += 1
        if one.decisions == tuple(self.names):
            self._spawn()
        for waiting in one.work.values():
            if waiting.future.done():
                continue
            process = self._free(waiting.ask)
            if waiting.tries >= _TRIES or process is None:
                waiting.future.set_result(Reply(-1, Failure(503, "a network process died: try again in a moment")))
                continue
            waiting.tries += 1
            self._send(process, waiting)

    def _send(self, process: _Process, waiting: _Waiting) -> int:
        number = next(self._numbers)
        process.work[number] = waiting
        with contextlib.suppress(OSError):  # it died: its thread says so, and its requests are given to another
            process.pipe.send((number, waiting.ask))
        return number
