"""Jobs: how far they are, that they wait for a place, and what becomes of them."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading

import httpx
import nibabel
import numpy as np
import pytest

from tests.serve.conftest import until

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def long_volume() -> bytes:
    """A volume of many windows."""
    array = np.random.default_rng(1).normal(70, 15, (128, 128, 64)).astype(np.float32)
    return gzip.compress(nibabel.Nifti1Image(array, np.eye(4)).to_bytes(), 1)


@pytest.fixture(scope="module")
def narrow(serve_module):
    """A service with a short queue that keeps few answers."""
    return serve_module("volumes", HELDOUT_SERVE_QUEUE="2", HELDOUT_SERVE_JOB_KEEP_MB="0.001")


def _start(server, content, **options):
    options.setdefault("model", "volumes")
    answer = httpx.post(f"{server.url}/v1/jobs", files={"file": content}, params=options, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


def _events(server, job):
    with httpx.stream("GET", f"{server.url}{job['links']['events']}", timeout=120) as events:
        return [json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line]


def _state(server, job):
    return httpx.get(f"{server.url}/v1/jobs/{job['id']}")


def test_progress_is_that_of_the_windows(server, long_volume):
    job = _start(server, long_volume)
    info = httpx.get(f"{server.url}/model/info", params={"model": "volumes"}).json()
    assert (job["status"], job["seal"], job["decision"]) == ("running", info["seal"], "volumes")
    told = [one["progress"] for one in _events(server, job)]
    assert told == sorted(told)
    assert told[-1] == 1
    assert len({one for one in told if 0 < one < 1}) >= 2


def test_a_deleted_job_stops_ends_its_events_and_leaves_nothing(server, long_volume):
    [root] = server.log.parent.glob("heldout-serve-*")
    before = set(root.iterdir())  # of other tests' jobs
    job, heard = _start(server, long_volume), []
    follower = threading.Thread(target=lambda: heard.extend(_events(server, job)))
    follower.start()
    until(lambda: _state(server, job).json()["progress"] > 0, server)
    assert httpx.delete(f"{server.url}/v1/jobs/{job['id']}").status_code == 204
    follower.join(30)
    assert heard[-1]["status"] == "stopped"
    assert heard[-1]["progress"] < 1
    until(lambda: "heldout_queue_depth 0.0" in httpx.get(f"{server.url}/metrics").text, server)
    until(lambda: set(root.iterdir()) == before, server, 5)


def test_a_job_waits_where_the_queue_is_full(narrow, long_volume, volume):
    def ask():
        httpx.post(f"{narrow.url}/v1/predict", files={"file": long_volume}, timeout=120)

    others = [threading.Thread(target=ask) for _ in range(2)]
    for other in others:
        other.start()
    until(lambda: "heldout_queue_depth 2.0" in httpx.get(f"{narrow.url}/metrics").text, narrow)
    assert httpx.post(f"{narrow.url}/v1/predict", files={"file": volume}, timeout=60).status_code == 503
    job = _start(narrow, volume)
    assert _events(narrow, job)[-1]["status"] == "done"
    for other in others:
        other.join()


def test_a_job_outlives_its_network_process(narrow, long_volume):
    job = _start(narrow, long_volume)
    until(lambda: _state(narrow, job).json()["progress"] > 0, narrow)
    os.kill(narrow.children()[0], signal.SIGKILL)
    assert _events(narrow, job)[-1]["status"] == "done"
    result = httpx.get(f"{narrow.url}{job['links']['result']}").json()
    assert result["seal"] == job["seal"]


def test_the_oldest_answers_go_where_there_is_no_room(narrow, volume):
    first, second = _start(narrow, volume), _start(narrow, volume, return_binary=True)
    for job in (first, second):
        _events(narrow, job)
    gone = _state(narrow, first)
    assert (gone.status_code, "others needed its room" in gone.text) == (404, True)
    kept = httpx.get(f"{narrow.url}{second['links']['result']}")
    assert kept.headers["content-type"] in ("application/octet-stream", "application/zip")
    assert len(kept.content) > 1000


def test_more_jobs_than_the_queue_holds_are_told_to_come_later(narrow, long_volume):
    jobs = [_start(narrow, long_volume) for _ in range(2)]
    third = httpx.post(f"{narrow.url}/v1/jobs", files={"file": long_volume}, timeout=60)
    assert (third.status_code, third.headers["retry-after"]) == (503, "1")
    for job in jobs:
        httpx.delete(f"{narrow.url}/v1/jobs/{job['id']}")
    until(lambda: "heldout_queue_depth 0.0" in httpx.get(f"{narrow.url}/metrics").text, narrow)


def test_a_job_of_an_earlier_service_is_said_to_be_lost(server, narrow, volume):
    job = _start(narrow, volume)
    answer = httpx.get(f"{server.url}/v1/jobs/{job['id']}/result")
    assert answer.status_code == 410
    assert "started again" in answer.json()["detail"]
    assert _state(server, {"id": "nothing"}).status_code == 404
