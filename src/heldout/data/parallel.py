"""One way to do the same thing to every case: in several processes, in order, with a progress bar."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from heldout.data.memory import available_memory
from heldout.errors import UserError
from heldout.progress import progress_bar

if TYPE_CHECKING:
    import joblib

T = TypeVar("T")
CHUNK = 16  # cases per task: few enough for a smooth bar, many enough that a source is seldom sent to a process
SHARE = 0.8  # of the free memory that processes may fill
START_SECONDS = 3.0  # until processes have imported what they need


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, of which a thread makes the next one while the last one is used."""
    iterator: Iterator[object] = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, iterator, end)
            yield cast("T", item)


def cores() -> int:
    """Cores of the machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cluster(Protocol):
    """What works instead of processes of this machine, and sees its folders."""

    @property
    def backend(self) -> str:
        """Name of a registered backend of joblib."""
        ...

    @property
    def cores(self) -> int:
        """How many it has."""
        ...

    def room(self, cpus: int, gpus: float) -> int:
        """How many processes it has room for that take so many cores and, if it has any, GPUs."""
        ...

    def options(self, cpus: int, gpus: float) -> dict[str, Any]:
        """Options of the backend by which a process reserves these."""
        ...


_elsewhere: list[Cluster] = []  # none, or one


def work_on(cluster: Cluster) -> None:
    """Let a cluster do what processes of this machine do otherwise."""
    _elsewhere[:] = [cluster]


def trial_processes(asked: int | None, trials: int, cpus: int = 1, gpus: float = 0.0) -> int:
    """Processes that share trials: one, or those that a cluster has room for.

    Args:
        asked: How many are asked for; None is as many as there are cores or GPUs for on a cluster, and one without.
        trials: How many there are to share.
        cpus: Cores of each.
        gpus: GPUs of each, where the cluster has any.

    Raises:
        UserError: the cluster has no room for them.
    """
    if not _elsewhere:
        return asked or 1
    room = _elsewhere[0].room(cpus, gpus)
    if room < (asked or 1):
        raise UserError(
            f"--processes {asked or 1}: the cluster has room for {room} that take {cpus} cores and, if it has any, "
            f"{gpus:g} GPUs each; lower it, or the field threads or devices"
        )
    return asked or min(room, trials)


def processes_that_fit(each: int) -> int:
    """How many processes that take ``each`` bytes fit into the memory there is; one at least."""
    there = available_memory()
    return 1_000_000 if there is None or not each else max(1, int(SHARE * there) // each)


def processes(count: int, cpus: int = 1, gpus: float = 0.0, **options: Any) -> joblib.Parallel:
    """A ``joblib.Parallel`` of ``count`` processes that do not receive Ctrl-C; the process that started them ends them.

    They would otherwise print a traceback where they are interrupted while they import their libraries.

    Args:
        count: Processes; with 1 the work is done in this process.
        cpus: Cores that each reserves on a cluster.
        gpus: GPUs that it reserves there.
        options: Further arguments of ``joblib.Parallel``.
    """
    from multiprocessing.resource_tracker import ensure_running

    import joblib

    if count > 1 and _elsewhere:
        cluster = _elsewhere[0]
        return joblib.Parallel(n_jobs=count, backend=cluster.backend, **cluster.options(cpus, gpus), **options)

    from joblib._parallel_backends import LokyBackend

    class Shielded(LokyBackend):
        def submit(self, func: Any, callback: Any = None) -> Any:
            ensure_running()  # its start would let the signal through again
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by what is started
            try:
                return super().submit(func, callback)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return joblib.Parallel(n_jobs=count, backend=Shielded(), **options)


def map_cases(
    function: Callable[..., list[T]],
    shared: tuple[Any, ...],
    cases: Sequence[Any],
    description: str,
    *,
    progress: bool = True,
    workers: int | None = None,
    memory: Callable[[Any], int] | None = None,
) -> Iterator[T]:
    """Yield ``function(*shared, chunk)`` over chunks of ``cases``, flattened, in the order of ``cases``.

    Args:
        function: Takes ``*shared`` and a list of cases, returns one result per case.
        shared: What every call needs, such as the source.
        cases: What to work on.
        description: Text of the progress bar.
        progress: Show the bar, on the error stream.
        workers: Processes; None takes the machine's cores once the time of the first cases, in this process, shows that
            the others are worth it. Results do not depend on it.
        memory: Bytes that a case takes while it is worked on, at most; there are no more processes than fit.

    Raises:
        UserError: a process died.
    """
    import joblib

    begins_here = workers is None and not _elsewhere
    if workers is None:
        most = _elsewhere[0].cores if _elsewhere else joblib.cpu_count()
        workers = min(most, max(len(cases), 1))
    if memory is not None and workers > 1 and not _elsewhere:
        workers = min(workers, processes_that_fit(max(map(memory, cases), default=0)))
    far = bool(_elsewhere) and workers > 1
    options: dict[str, Any] = {} if far else {"return_as": "generator", "pre_dispatch": "2*n_jobs"}
    with (
        _ended() if workers > 1 and not far else contextlib.nullcontext(),
        progress_bar(disable=not progress or not cases) as bar,
    ):
        task = bar.add_task(description, total=len(cases))
        done = 0
        for results in _first(function, shared, cases, workers) if begins_here else ():
            yield from results
            done += len(results)
            bar.advance(task, len(results))
        chunks = [cases[first : first + CHUNK] for first in range(done, len(cases), CHUNK)]
        calls = (joblib.delayed(function)(*shared, chunk) for chunk in chunks)
        pool = processes(max(workers, 1), batch_size=1, **options) if chunks else lambda _: ()
        for results in _in_windows(pool, calls, 4 * workers) if far else pool(calls):
            yield from results
            bar.advance(task, len(results))


def expected_seconds(seconds: float) -> float:
    """Time that :func:`map_cases` takes for what takes so long in one process."""
    shared = START_SECONDS + seconds / cores()
    return min(seconds, shared)


def _first(
    function: Callable[..., list[T]], shared: tuple[Any, ...], cases: Sequence[Any], workers: int
) -> Iterator[list[T]]:
    """Results of the first cases, as many as it takes to see that processes save more time than their start takes.

    The very first case counts only where it takes as long as such a start, as it may import libraries.
    """
    done = 0
    while done < len(cases):
        some = cases[done : done + min(max(1, done), CHUNK)]
        begun = time.perf_counter()
        results = function(*shared, some)
        each = (time.perf_counter() - begun) / len(some)
        yield results
        done += len(some)
        saved = each * (len(cases) - done) * (1 - 1 / workers)
        if saved > START_SECONDS and (done > 1 or each > START_SECONDS):
            return


def _in_windows(pool: joblib.Parallel, calls: Iterator[Any], size: int) -> Iterator[Any]:
    """Results of so many calls after another, for a backend that gives them all at once only."""
    with pool:
        while window := list(itertools.islice(calls, size)):
            yield from pool(window)


def end_processes() -> None:
    """End the processes that work on cases, where there are any; they would wait for more work."""
    if "joblib.externals.loky.reusable_executor" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    """End the processes where something ends the work; they would wait for more of it.

    Raises:
        UserError: a process died.
    """
    from joblib.externals.loky.process_executor import BrokenProcessPool

    try:
        yield
    except BaseException as error:
        end_processes()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a process that works on cases died, mostly for want of memory: free some and run the command again, "
                "with LOKY_MAX_CPU_COUNT=1 in the environment if need be, which changes no result"
            ) from None
        raise
