"""Requests that are answered later: their state, events and results, kept for a while."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from heldout.serve.uploads import Refused

_MOST = 1000
_PAUSE = 1.0


@dataclass(eq=False)
class _Job:
    started: float
    task: asyncio.Task[Any] | None = None
    status: str = "running"
    detail: str = ""
    code: int = 200
    ended: float | None = None
    result: Any = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Jobs:
    """The jobs of one process.

    Args:
        keep: Seconds for which an ended job is kept.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self._jobs: dict[str, _Job] = {}

    def start(self, work: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """Begin a job.

        Raises:
            Refused: 503 where too many are kept.
        """
        self._forget()
        if len(self._jobs) >= _MOST:
            raise Refused(503, f"{_MOST} jobs are kept: delete some, or try again later")
        name, job = uuid.uuid4().hex, _Job(time.monotonic())
        self._jobs[name] = job
        job.task = asyncio.create_task(self._run(job, work))
        return {
            "id": name,
            "status": job.status,
            "links": {key: f"/v1/jobs/{name}/{key}" for key in ("events", "result")},
        }

    async def _run(self, job: _Job, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            job.result = await work()
            job.status = "done"
        except Refused as error:
            job.status, job.detail, job.code = "failed", error.detail, error.status
        except asyncio.CancelledError:
            job.status, job.detail, job.code = "stopped", "the job was deleted", 404
        except Exception:
            job.status, job.detail, job.code = "failed", "the service failed; see its log", 500
            raise
        finally:
            job.ended = time.monotonic()
            job.changed.set()

    def state(self, name: str) -> dict[str, Any]:
        """State of a job.

        Raises:
            Refused: 404 without such a job.
        """
        job = self._get(name)
        seconds = (job.ended or time.monotonic()) - job.started
        shown = {
            "id": name,
            "status": job.status,
            "progress": float(job.status != "running"),
            "seconds": round(seconds, 2),
        }
        return shown | ({"detail": job.detail} if job.detail else {})

    def result(self, name: str) -> Any:
        """The answer of an ended job.

        Raises:
            Refused: 404 without such a job, 409 while it runs, else why it failed.
        """
        job = self._get(name)
        if job.status == "running":
            raise Refused(409, "the job is running: ask again, or follow its events")
        if job.status != "done":
            raise Refused(job.code, job.detail)
        return job.result

    async def events(self, name: str) -> AsyncIterator[str]:
        """Lines of server-sent events until the job ends."""
        while True:
            shown = self.state(name)
            yield f"data: {json.dumps(shown)}\n\n"
            if shown["status"] != "running":
                return
            try:
                await asyncio.wait_for(self._get(name).changed.wait(), _PAUSE)
            except TimeoutError:
                continue

    def end(self, name: str) -> None:
        """Stop and forget a job.

        Raises:
            Refused: 404 without such a job.
        """
        job = self._get(name)
        if job.task is not None:
            job.task.cancel()
        del self._jobs[name]

    async def sweep(self) -> None:
        """Forget old jobs for ever; to be cancelled."""
        while True:
            await asyncio.sleep(min(60.0, self.keep))
            self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        old = [name for name, job in self._jobs.items() if job.ended is not None and now - job.ended > self.keep]
        for name in old:
            del self._jobs[name]

    def _get(self, name: str) -> _Job:
        job = self._jobs.get(name)
        if job is None:
            raise Refused(404, "there is no such job: it was deleted, or its time is over")
        return job
