"""A network process as the web process sees it: its end of the pipe, and the requests that it works on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from heldout.serve.answers import ModelInfo
from heldout.serve.messages import Ask, Reply
from heldout.serve.registry import Target


@dataclass(eq=False)
class PendingAsk:
    """A request that was given to a process.

    Attributes:
        ask: The request.
        future: Its answer.
        told: Called with the share that is done.
        tries: How many processes it was given to.
        process, number: The last of them, and the number of the request there.
    """

    ask: Ask
    future: asyncio.Future[Reply]
    told: Callable[[float], None] | None = None
    tries: int = 1
    process: NetworkProcess | None = None
    number: int = -1

    def stop(self) -> None:
        """Ask the process to leave it; it says when it did."""
        if self.process is not None:
            self.process.send(self.number, None)


@dataclass(eq=False)
class NetworkProcess:
    """A network process.

    Attributes:
        process: Of the operating system.
        pipe: Our end.
        targets: What it serves.
        ready: Whether it answers.
        retiring: Whether it only finishes what it has.
        models: What it serves, as it says itself.
        work: Requests by their number.
        heard: When it last said something, or was given work while it had none.
    """

    process: Any
    pipe: Connection
    targets: tuple[Target, ...]
    ready: bool = False
    retiring: bool = False
    models: list[ModelInfo] = field(default_factory=list)
    work: dict[int, PendingAsk] = field(default_factory=dict)
    heard: float = 0.0

    def serves(self, ask: Ask) -> bool:
        """Whether it answers a request: it has the very decision."""
        return self.ready and any((one.name, one.seal) == (ask.model, ask.seal) for one in self.models)

    def give(self, number: int, waiting: PendingAsk) -> None:
        """Have it work on a request."""
        if not self.work:
            self.heard = time.monotonic()
        self.work[number] = waiting
        waiting.process, waiting.number = self, number
        self.send(number, waiting.ask)

    def send(self, number: int, ask: Ask | None) -> None:
        """Send a request, or with None that it is no longer wanted."""
        with contextlib.suppress(OSError):  # it died: its thread says so, and its requests are given to another
            self.pipe.send((number, ask))

    def hangs(self, seconds: float) -> bool:
        """Whether it has work and said nothing for so long."""
        return self.ready and bool(self.work) and time.monotonic() - self.heard > seconds
