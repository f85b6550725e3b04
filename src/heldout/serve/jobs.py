"""Requests that are answered later: their state, events and answers, kept for a while."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.responses import Response

from heldout.serve.log import FAILED, log_failure
from heldout.serve.uploads import Refused

_PAUSE = 1.0
_ANSWER = "answer"

Work = Callable[[Callable[[float], None]], Awaitable[Response]]


@dataclass(eq=False)
class _Job:
    folder: Path
    facts: Mapping[str, Any]
    started: float = field(default_factory=time.monotonic)
    task: asyncio.Task[Any] | None = None
    status: str = "running"
    share: float = 0.0
    detail: str = ""
    code: int = 200
    ended: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, share: float | None = None) -> None:
        """Wake up whoever follows it."""
        self.share = max(self.share, share or 0.0)
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The jobs of one process. Their answers are files, so that they take no memory.

    Args:
        keep: Seconds for which an ended job is kept.
        most: Jobs that may run or wait at a time.
        room: Bytes of the answers that are kept; the oldest are forgotten first.
    """

    def __init__(self, keep: float, most: int, room: int) -> None:
        self.keep, self.most, self.room = keep, most, room
        self._jobs: dict[str, _Job] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._run_id = uuid.uuid4().hex[:8]  # ids begin with it, so that those of an earlier service are known

    def start(self, work: Work, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a job.

        Args:
            work: Makes the answer; it is given what tells the share that is done.
            folder: Folder of its uploads, which is removed with the job.
            facts: What its state says of its origin.

        Raises:
            Refused: 503 where too many run.
        """
        self._forget()
        if len(self._running) >= self.most:
            raise Refused(503, f"{self.most} jobs are running or waiting: try again in a moment")
        name, job = self._run_id + uuid.uuid4().hex, _Job(folder, facts)
        self._jobs[name] = job
        job.task = asyncio.create_task(self._run(job, work))
        self._running.add(job.task)
        job.task.add_done_callback(self._running.discard)
        links = {key: f"/v1/jobs/{name}/{key}" for key in ("events", "result")}
        return self._shown(name, job) | {"links": links}

    async def _run(self, job: _Job, work: Work) -> None:
        status, detail, code = "done", "", 200
        try:
            response = await work(job.tell)
            for upload in job.folder.iterdir():
                await asyncio.to_thread(_remove, upload)
            await asyncio.to_thread((job.folder / _ANSWER).write_bytes, response.body)
            job.size, job.headers = len(response.body), dict(response.headers)
        except Refused as error:
            status, detail, code = "failed", error.detail, error.status
        except asyncio.CancelledError:
            status, detail, code = "stopped", "the job was deleted", 404
        except Exception as error:
            status, detail, code = "failed", FAILED, 500
            log_failure(str(job.facts.get("request_id")), error)
        if status != "done":
            shutil.rmtree(job.folder, ignore_errors=True)
        job.status, job.detail, job.code, job.ended = status, detail, code, time.monotonic()
        job.tell(float(status == "done"))
        self._make_room(job)

    def _make_room(self, last: _Job) -> None:
        ended = sorted((one.ended, name) for name, one in self._jobs.items() if one.ended is not None)
        while sum(one.size for one in self._jobs.values()) > self.room and ended:
            _, name = ended.pop(0)
            if self._jobs[name] is not last:
                self._drop(name)

    def state(self, name: str) -> dict[str, Any]:
        """State of a job.

        Raises:
            Refused: 404 without such a job, 410 of an earlier run of the service.
        """
        return self._shown(name, self._get(name))

    def _shown(self, name: str, job: _Job) -> dict[str, Any]:
        seconds = (job.ended or time.monotonic()) - job.started
        shown = {"id": name, "status": job.status, "progress": round(job.share, 3), "seconds": round(seconds, 2)}
        return {**shown, **job.facts} | ({"detail": job.detail} if job.detail else {})

    async def result(self, name: str) -> Response:
        """The answer of an ended job.

        Raises:
            Refused: 404 without such a job, 409 while it runs, else why it failed.
        """
        job = self._get(name)
        if job.status == "running":
            raise Refused(409, "the job is running: ask again, or follow its events")
        if job.status != "done":
            raise Refused(job.code, job.detail)
        return Response(await asyncio.to_thread((job.folder / _ANSWER).read_bytes), headers=dict(job.headers))

    async def events(self, name: str) -> AsyncIterator[str]:
        """Lines of server-sent events until the job ends or is deleted."""
        job = self._get(name)
        while True:
            shown, changed = self._shown(name, job), job.changed
            yield f"data: {json.dumps(shown)}\n\n"
            if shown["status"] != "running":
                return
            try:
                await asyncio.wait_for(changed.wait(), _PAUSE)
            except TimeoutError:
                continue

    def end(self, name: str) -> None:
        """Stop and forget a job; its place is free once no network process works on it.

        Raises:
            Refused: 404 without such a job.
        """
        self._get(name)
        self._drop(name)

    async def sweep(self) -> None:
        """Forget old jobs for ever; to be cancelled."""
        while True:
            await asyncio.sleep(min(60.0, self.keep))
            self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [name for name, job in self._jobs.items() if job.ended is not None and now - job.ended > self.keep]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        job = self._jobs.pop(name)
        if job.ended is None and job.task is not None:
            job.task.cancel()
        else:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _get(self, name: str) -> _Job:
        job = self._jobs.get(name)
        if job is None and len(name) == len(self._run_id) + 32 and not name.startswith(self._run_id):
            raise Refused(410, "the service was started again since, and lost this job: send its file again")
        if job is None:
            raise Refused(404, "there is no such job: it was deleted, its time is over, or others needed its room")
        return job


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
