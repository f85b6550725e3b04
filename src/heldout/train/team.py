"""Several processes that train one fold together, each on a device of its own and on its share of every batch.

They are Fabric's, with torch's DistributedDataParallel. The first one is the process that trains a fold on one device:
it alone writes, watches and shows progress. What a batch holds, and how it is augmented, does not depend on how many
there are.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.fabric.strategies import DDPStrategy
from torch import Tensor
from torch.utils._pytree import tree_map_only

from heldout.errors import UserError
from heldout.tasks.optim import Precision

PATIENCE = timedelta(hours=2)  # of a process that waits for the others, which may predict for long
READY = "ready"
LAST_WORDS = 10.0  # seconds in which a process that failed says why
MISSED = 20.0  # seconds after which the first one has noticed by itself that another has ended, or waits for it in vain

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that train a fold together.

    Attributes:
        rank: Number of this one, from 0.
        size: How many there are.
        port: Where the first one listens.
    """

    rank: int = 0
    size: int = 1
    port: int = 0
    pipes: tuple[Connection, ...] = ()  # of the first process to each other one, of that one to the first

    @property
    def is_first(self) -> bool:
        """Whether this process writes what the fold leaves."""
        return self.rank == 0

    def fabric(self, precision: Precision) -> Fabric:
        """Device and precision of this process.

        Raises:
            UserError: the machine has fewer devices.
        """
        if self.size == 1:
            return Fabric(accelerator="auto", devices=1, precision=precision)
        if torch.cuda.is_available() and torch.cuda.device_count() < self.size:
            raise UserError(
                f"devices = {self.size}, but this machine has {torch.cuda.device_count()} GPUs: lower devices"
            )
        self._meet()
        # a network may leave out parameters in some epochs, which then get no gradient
        strategy = DDPStrategy(cluster_environment=_Here(self), timeout=PATIENCE, find_unused_parameters=True)
        fabric = Fabric(accelerator="auto", devices=self.size, strategy=strategy, precision=precision)
        fabric.launch()
        return fabric

    def _meet(self) -> None:
        """Wait until every process has come so far; one that failed before would be waited for in vain.

        Raises:
            Exception: what it failed with.
        """
        if not self.is_first:
            self.pipes[0].send(READY)
            return
        for pipe in self.pipes:
            try:
                word = pipe.recv()
            except EOFError:
                raise RuntimeError("another process of this training ended before it began") from None
            if word != READY:
                raise _failure(*word)

    def share(self, items: Sequence[T]) -> list[T]:
        """Every item for exactly one of the processes."""
        return [item for number, item in enumerate(items) if number % self.size == self.rank]

    def gather(self, value: T) -> list[T]:
        """What every process has, in each of them."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until all processes come here."""
        if self.size > 1:
            dist.barrier()

    def cut(self, value: Any) -> Any:
        """This process's part of the tensors of a whole batch."""
        return tree_map_only(Tensor, lambda one: one.chunk(self.size)[self.rank], value)

    def join(self, value: Any) -> Any:
        """Tensors of a whole batch from every process's part; gradients flow into one's own."""
        return tree_map_only(Tensor, lambda one: _Join.apply(one, self.rank, self.size), value)


ALONE = Team()


class _Join(torch.autograd.Function):
    """All parts of a batch, of which each process computed one."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rank: int, size: int) -> Tensor:
        """Gather the parts."""
        ctx.rank, ctx.size = rank, size
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Every process has the gradient of the whole loss: its own part is all it needs."""
        return gradients[0].chunk(ctx.size)[ctx.rank].contiguous(), None, None


class _Here(ClusterEnvironment):
    """Tells Fabric of processes that were started here."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self._team = team

    creates_processes_externally = True
    main_address = "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Where the first process listens."""
        return self._team.port

    @staticmethod
    def detect() -> bool:
        """Never found by itself."""
        return False

    def world_size(self) -> int:
        """Number of processes."""
        return self._team.size

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Number of this process."""
        return self._team.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        """Number of this process, all being on one machine."""
        return self._team.rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


def train_together(size: int, first: Callable[[Team], None], other: Callable[[Team], None]) -> None:
    """Do the same in several processes, of which this one is the first.

    Args:
        size: How many.
        first: What this process does.
        other: What each other one does; it is pickled.

    Raises:
        UserError: one of them failed with that.
        RuntimeError: one of them failed otherwise; shows its traceback.
    """
    if size == 1:
        first(ALONE)
        return
    port = _free_port()
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(1, size)]
    helpers = [
        context.Process(target=_help, args=(Team(rank, size, port, (its,)), other))
        for rank, (_, its) in enumerate(pipes, start=1)
    ]
    with _fewer_threads(size), _started(helpers, pipes):
        try:
            first(Team(0, size, port, tuple(mine for mine, _ in pipes)))
        except Exception as error:
            if isinstance(error, RuntimeError) and (reason := _reason([mine for mine, _ in pipes])) is not None:
                raise reason from error  # this one only missed the others
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


@contextlib.contextmanager
def _started(helpers: Sequence[BaseProcess], pipes: Sequence[tuple[Connection, Connection]]) -> Iterator[None]:
    """Helpers that end with the block: by themselves where it comes to its end, else at once."""
    ended = threading.Event()
    try:
        for helper, (_, its) in zip(helpers, pipes, strict=True):
            helper.start()
            its.close()
        threading.Thread(target=_watch, args=(helpers, ended), daemon=True).start()
        yield
        for helper in helpers:
            helper.join(LAST_WORDS)
    finally:
        ended.set()
        for helper in helpers:
            if helper.pid is not None:
                helper.kill()
                helper.join()
        for mine, _ in pipes:
            mine.close()


def _watch(helpers: Sequence[BaseProcess], ended: threading.Event) -> None:
    """End this process where it waits for one that is gone: NCCL does so for as long as it has patience, uninterrupted.

    What is trained so far is on the disk, and what it holds is let go of by the system.
    """
    alive = list(helpers)
    while alive and not ended.wait(0.5):
        gone = [helper for helper in alive if helper.exitcode is not None]
        alive = [helper for helper in alive if helper.exitcode is None]
        code = next((helper.exitcode for helper in gone if helper.exitcode), None)
        if code is not None and not ended.wait(MISSED):
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            print(
                f"error: another process of this training ended ({how}), and this one waits for it in vain: run the "
                "command again, and it goes on after its last epoch",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)


def _help(team: Team, work: Callable[[Team], None]) -> None:
    """What a helper does; it ends with the process that started it, and tells that one why it failed."""
    (pipe,) = team.pipes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _fewer_threads(team.size):
        try:
            work(team)
        except BaseException as error:
            from traceback import format_exc

            known = isinstance(error, UserError)
            # one that missed another process says nothing: that other process knows why
            if known or not isinstance(error, RuntimeError) or "Connection" not in str(error):
                pipe.send((type(error) if known else None, str(error) if known else format_exc()))
            pipe.close()
            os._exit(1)
    dist.destroy_process_group()


def _reason(pipes: Sequence[Connection]) -> Exception | None:
    """Why a helper failed; None where none says so."""
    for pipe in pipes:
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll(LAST_WORDS / len(pipes)):
                if (word := pipe.recv()) != READY:
                    return _failure(*word)
    return None


def _failure(kind: type[UserError] | None, text: str) -> Exception:
    return kind(text) if kind is not None else RuntimeError(f"another process of this training:\n{text}")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def _fewer_threads(size: int) -> Iterator[None]:
    """On a CPU, the threads of one process for all of them together."""
    before = torch.get_num_threads()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, before // size))
    try:
        yield
    finally:
        torch.set_num_threads(before)
