"""What must not harm the service: hostile uploads, wrong tokens, dead processes, full queues."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serve.conftest import REPOSITORY
from tests.serve.hostile import BODIES, UPLOADS

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def limited(serve_module):
    return serve_module("heads", "volumes", HELDOUT_SERVE_MAX_INFLATED_MB="40", HELDOUT_SERVE_MAX_UPLOAD_MB="12")


@pytest.mark.parametrize("kind", UPLOADS)
def test_hostile_files_get_one_sentence(limited, kind):
    content, status = UPLOADS[kind]
    answer = httpx.post(f"{limited.url}/v1/predict", files={"file": ("../../etc/passwd", content)}, timeout=60)
    assert answer.status_code in np.atleast_1d(status), answer.text
    detail = answer.json()["detail"]
    assert "\n" not in detail
    assert "/tmp" not in detail
    assert "Traceback" not in limited.log.read_text()


@pytest.mark.parametrize("kind", BODIES)
def test_hostile_json_gets_one_sentence(limited, kind):
    body, status = BODIES[kind]
    answer = httpx.post(f"{limited.url}/classify", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"[1, 2]", b'{"image": [[NaN]]}', b"\xff\xfe"])
def test_json_that_is_none(limited, body):
    answer = httpx.post(f"{limited.url}/classify", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_a_body_that_is_too_large_is_cut_off(limited):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield b"x" * 1_000_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        status = httpx.post(f"{limited.url}/segment", content=endless(), headers=headers, timeout=60).status_code
    except httpx.TransportError:
        status = 413  # the connection was closed while we were sending
    assert status == 413
    host, port = limited.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:  # one that only says how much it will send
        line.sendall(b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n")
        assert b" 413 " in line.recv(200)


def test_many_parts_are_refused(limited):
    files = [("files", b"x")] * 1000
    answer = httpx.post(f"{limited.url}/segment/batch", files=files, timeout=60)
    assert answer.status_code in (413, 422)
    fields = {f"f{n}": "x" for n in range(1000)}
    assert httpx.post(f"{limited.url}/segment", data=fields, files={"file": b"x"}).status_code in (413, 422)


def test_a_slow_body_is_told_408(serve):
    server = serve("labels", HELDOUT_SERVE_UPLOAD_SECONDS="1")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b" 408 " in line.recv(200)


def test_nothing_of_a_request_is_left(limited, picture):
    httpx.post(f"{limited.url}/segment", files={"file": picture}, timeout=60)
    [root] = limited.log.parent.glob("heldout-serve-*")
    assert list(root.iterdir()) == []


def test_the_page_and_answers_carry_security_headers(limited):
    headers = httpx.get(f"{limited.url}/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in httpx.get(limited.url, headers={"origin": "http://evil"}).headers


def test_tokens_open_the_service_and_name_the_reviewer(serve, tmp_path, picture):
    tokens = tmp_path / "tokens"
    tokens.write_text("# reviewers\nanna: a-long-token\n")
    server = serve("labels", "--token-file", str(tokens))
    files = {"file": picture}
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert httpx.post(f"{server.url}/classify", files=files).status_code == 401
    wrong = {"authorization": "Bearer a-long-tokem"}
    assert httpx.post(f"{server.url}/classify", files=files, headers=wrong).status_code == 401
    right = {"authorization": "Bearer a-long-token"}
    assert httpx.post(f"{server.url}/classify", files=files, headers=right, timeout=60).status_code == 200
    until = time.monotonic() + 10
    while '"reviewer": "anna"' not in server.log.read_text():  # the line is written after the answer
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_dead_network_process_costs_no_answer(serve, picture):
    server = serve("labels", "--workers", "2")

    def wait_for_both(restarts):
        until, wanted = time.monotonic() + 120, ("heldout_ready_processes 2.0", f"heldout_restarts {restarts:.1f}")
        while not all(line in httpx.get(f"{server.url}/metrics").text for line in wanted):
            assert time.monotonic() < until
            time.sleep(0.2)

    def ask(_):
        return httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=120)

    wait_for_both(0)
    expected = ask(0).json()["probabilities"]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, range(40))
        os.kill(server.children()[0], signal.SIGKILL)
        answers = list(answers)
    assert {200} <= {answer.status_code for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["probabilities"] == pytest.approx(expected, abs=1e-6)
        else:
            assert answer.headers["retry-after"]
    wait_for_both(1)
    assert ask(0).status_code == 200


def test_a_full_queue_says_when_to_ask_again(serve, volume):
    server = serve("volumes", HELDOUT_SERVE_QUEUE="1")

    def ask(_):
        return httpx.post(f"{server.url}/v1/predict", files={"file": volume}, timeout=120)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    statuses = [answer.status_code for answer in answers]
    assert 200 in statuses
    assert 503 in statuses
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


def _refused(home: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "run.py"), "serve", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HELDOUT_HOME": str(home), **environment},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_open_service_without_tokens_does_not_start(served_home):
    assert "--token-file" in _refused(served_home, "labels", "--host", "0.0.0.0")


def test_an_experiment_that_is_not_sealed_is_not_served(served_home):
    from tests.serve.conftest import SPECS

    assert "--unsealed" in _refused(served_home, SPECS["labels"], "--port", "0")


def test_a_decision_that_changed_is_not_served(served_home, tmp_path):
    import shutil

    home = tmp_path / "home"
    shutil.copytree(served_home, home)
    weights = next(home.glob("working/runs/exp004*/**/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "labels is not what was validated" in _refused(home, "labels", "--port", "0")


@pytest.mark.parametrize(("name", "value"), [("PORT", "99999"), ("QUEUE", "0"), ("DEVICE", "tpu")])
def test_a_setting_that_does_not_fit_names_its_variable(served_home, name, value):
    variable = f"HELDOUT_SERVE_{name}"
    assert variable in _refused(served_home, "labels", **{variable: value})


def test_a_token_that_is_too_short_is_not_printed(served_home):
    text = _refused(served_home, "labels", HELDOUT_SERVE_TOKEN="geheim7")
    assert "HELDOUT_SERVE_TOKEN" in text
    assert "geheim7" not in text
