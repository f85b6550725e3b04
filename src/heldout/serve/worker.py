"""A network process: requests come through a pipe, are read beside the network, and pass it together.

Three stages run side by side: threads read and prepare, one thread runs the networks, another turns what they say into
files. Cases that are ready at the same time go through the networks together; a request alone never waits.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from heldout.deliver.kernel.bundle import check_trust, read_bundle
from heldout.errors import UserError
from heldout.predict.allocator import keep_freed_memory
from heldout.serve import work
from heldout.serve.bundle_store import fetch
from heldout.serve.describe import describe
from heldout.serve.log import FAILED, log_failure
from heldout.serve.messages import Ask, Failure, Found, Opened, Reply, ShareDone
from heldout.serve.model import ReadCase, Served
from heldout.serve.registry import Target
from heldout.serve.room import Room
from heldout.serve.settings import ServeSettings
from heldout.serve.store import Store
from heldout.serve.uploads import Refused

_JOINT_BYTES = 1 << 26  # of prepared cases that go through the networks together
_TOLD = 0.02  # share by which progress grows before it is told again
_PULSE = 10.0  # seconds after which it is told again whatever it is


@dataclass(frozen=True, eq=False)
class _Ready:
    number: int
    ask: Ask
    served: Served
    prepared: list[ReadCase]

    @property
    def size(self) -> int:
        """Bytes of the cases."""
        return sum(one.size for one in self.prepared)


class _Stopped(Exception):  # noqa: N818 - not an error
    """Nobody waits for the answer any more."""


def main(pipe: Connection, targets: Sequence[Target], settings: ServeSettings, threads: int) -> None:
    """Serve until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the web process ends this one
    keep_freed_memory()
    if settings.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        import torch

        torch.set_num_threads(threads)
        models = {}
        for target in targets:
            served = Served(_place_of(target, settings), unsealed=settings.unsealed, tta=settings.tta)
            if target.seal not in (None, served.decision.identity):
                raise UserError(
                    f"{served.name} was sealed again since it was first served: restart the service, or promote it"
                )
            models[served.name] = served
        for served in models.values():
            served.warm()
        pipe.send(Opened([describe(served) for served in models.values()]))
    except UserError as error:
        pipe.send(Failure(500, str(error)))
        return
    warnings.simplefilter("ignore")  # readers of images quote what they read, and the log holds nothing of it
    logging.disable(logging.CRITICAL)
    _Worker(pipe, models, settings).run()


def _place_of(target: Target, settings: ServeSettings) -> str:
    """Name of a decision, or folder of its bundle, which comes from the registry where the decision is not here."""
    if target.bundle is None:
        return target.decision
    folder = fetch(target.bundle, Store(settings.registry))
    check_trust(read_bundle(folder), accept=settings.trust)
    return str(folder)


class _Worker:
    def __init__(self, pipe: Connection, models: dict[str, Served], settings: ServeSettings) -> None:
        self.pipe = pipe
        self.models = models
        self.batch = settings.batch
        self.wait = settings.batch_wait_ms / 1000
        self.ready: queue.Queue[_Ready] = queue.Queue()
        self.busy = 0  # requests that are read or finished beside the network
        self.last = 0  # cases that went through the networks together before
        self.lock = threading.Lock()
        self.room = Room(int(settings.case_memory_mb * 1e6))
        self.unwanted: set[int] = set()
        self.readers = ThreadPoolExecutor(2)
        self.writers = ThreadPoolExecutor(1)

    def run(self) -> None:
        """Answer requests until the pipe closes.

        The networks run in the main thread: the memory of others is given back after every batch, and faulted in again.
        """
        threading.Thread(target=self._receive, daemon=True).start()
        self._networks()

    def _receive(self) -> None:
        while True:
            try:
                number, ask = self.pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # the web process ended
            if ask is None:
                self.unwanted.add(number)
                continue
            self._count(1)
            self.readers.submit(self._read, number, ask)

    def _read(self, number: int, ask: Ask) -> None:
        served = self.models[ask.model]
        self.room.wait()
        try:
            self._check_wanted(number)
            one = _Ready(number, ask, served, work.read(served, ask))
            self.room.take(one.size)
            self.ready.put(one)
        except BaseException as error:
            self._fail(number, ask, error)
        finally:
            self._count(-1)

    def _check_wanted(self, number: int) -> None:
        if number in self.unwanted:
            raise _Stopped

    def _count(self, change: int) -> None:
        with self.lock:
            self.busy += change

    def _networks(self) -> None:
        while True:
            group = self._next()
            first = group[0]
            cases = [case for one in group for case in one.prepared]
            first.served.passes.begin(self._steps(first) if len(group) == 1 else None)
            try:
                if not work.is_joint(first.ask):
                    self._check_wanted(first.number)
                    self._reply(first.number, work.alone(first.served, first.ask, first.prepared))
                    self.room.give(first.size)
                    continue
                results = first.served.predict(cases)
            except BaseException as error:
                self._fail_group(group, error)
                continue
            start = 0
            for one in group:
                mine = results[start : start + len(one.prepared)]
                start += len(one.prepared)
                self._count(1)
                self.writers.submit(self._finish, one, mine, len(cases))

    def _steps(self, one: _Ready) -> Callable[[float], None]:
        """What is called with the share of a request's network passes that is done; it also says that they go on."""
        last, when = 0.0, time.monotonic()

        def step(share: float) -> None:
            nonlocal last, when
            self._check_wanted(one.number)
            if share >= last + _TOLD or time.monotonic() > when + _PULSE:
                last, when = share, time.monotonic()
                self._send(ShareDone(one.number, share))

        return step

    def _next(self) -> list[_Ready]:
        """The next request, with others that are ready or on their way, as long as they may go together.

        Those on their way are being read, or may come from clients that were just answered together and ask again: each
        wait is as long as the setting says, and a request that was and is alone does not wait.
        """
        group = [self.ready.get()]
        if not work.is_joint(group[0].ask):
            return group
        together = self.last > 1
        until = time.monotonic() + self.wait * self.batch
        while (count := sum(len(one.prepared) for one in group)) < self.batch:
            if sum(one.size for one in group) >= _JOINT_BYTES:
                break
            if self.ready.empty() and not together and not self.busy:
                break
            try:
                other = self.ready.get(timeout=self.wait or 1e-4)
            except queue.Empty:
                if self.busy and time.monotonic() < until:
                    continue
                break
            if other.served is not group[0].served or not work.is_joint(other.ask):
                self.ready.put(other)  # it goes next, by itself or with its own kind
                break
            group.append(other)
        self.last = count
        return group

    def _finish(self, one: _Ready, results: list[Any], batch: int) -> None:
        try:
            self._reply(one.number, work.finish(one.served, one.ask, one.prepared, results), batch)
        except BaseException as error:
            self._fail(one.number, one.ask, error)
        finally:
            self.room.give(one.size)
            self._count(-1)

    def _fail_group(self, group: list[_Ready], error: BaseException) -> None:
        if len(group) == 1:
            self._fail(group[0].number, group[0].ask, error)
            self.room.give(group[0].size)
            return
        for one in group:  # one of them is at fault: the others are answered
            try:
                one.served.passes.begin(self._steps(one))
                results = one.served.predict(one.prepared)
            except BaseException as own:
                self._fail(one.number, one.ask, own)
                self.room.give(one.size)
                continue
            self._count(1)
            self._finish(one, results, len(one.prepared))

    def _fail(self, number: int, ask: Ask, error: BaseException) -> None:
        if isinstance(error, Refused):
            self._reply(number, Failure(error.status, error.detail))
        elif isinstance(error, UserError):
            self._reply(number, Failure(422, _without_paths(str(error), ask)))
        elif isinstance(error, _Stopped):
            self._reply(number, Failure(404, "nobody waits for this answer"))
        elif _is_out_of_memory(error):
            self._reply(number, Failure(413, "the case is too large for this machine: crop or resample it"))
        else:
            log_failure(ask.request_id, error)
            self._reply(number, Failure(500, FAILED))

    def _reply(self, number: int, found: list[Found] | Failure, batch: int = 1) -> None:
        import torch

        self.unwanted.discard(number)
        self._send(Reply(number, found, batch, torch.cuda.memory_allocated() if torch.cuda.is_available() else 0))

    def _send(self, message: Reply | ShareDone) -> None:
        with self.lock:
            self.pipe.send(message)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    of_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)  # it has no class of its own
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or of_cpu


def _without_paths(message: str, ask: Ask) -> str:
    return (
        message.replace(f"{ask.folder}/", "")
        .replace(str(ask.folder), "the upload")
        .replace(" (--skip-bad sets such files aside)", "")
    )
