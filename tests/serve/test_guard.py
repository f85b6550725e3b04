"""Who may ask: names of the service, pages of other sites, tokens; and what the log says of it."""

from __future__ import annotations

import json
import resource
import socket
import time

import httpx
import pytest

from heldout.serve.log import log_failure
from tests.serve.conftest import until

pytestmark = pytest.mark.extras
PAGE = "https://reviews.example"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.fixture(scope="module")
def guarded(serve_module, tmp_path_factory):
    """A service with tokens that a page of another host may call, with other flips than were sealed."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text("anna: a-long-token\n")
    return serve_module(
        "labels",
        "--token-file",
        str(tokens),
        HELDOUT_SERVE_ALLOW_ORIGINS=PAGE,
        HELDOUT_SERVE_TTA="h",
        HELDOUT_SERVE_HEADER_SECONDS="1",
    )


ANNA = {"authorization": "Bearer a-long-token"}


def test_a_name_that_is_not_of_this_machine_is_refused_where_no_token_guards(server, picture):
    def ask(host):
        return httpx.post(f"{server.url}/classify", files={"file": picture}, headers={"host": host}, timeout=60)

    refused = ask("evil.example")
    assert refused.status_code == 421
    assert "ALLOW_HOSTS" in refused.json()["detail"]
    assert [ask(host).status_code for host in ("localhost:9", "127.0.0.1", "[::1]:8000")] == [200] * 3


def test_a_page_of_another_site_cannot_send_what_is_kept(server, picture):
    def review(origin):
        return httpx.post(
            f"{server.url}/v1/corrections",
            files={"file": picture},
            data={"verdict": "accepted", "model": "nothing"},
            headers={"origin": origin},
        )

    assert {review(one).status_code for one in ("http://evil.example", "null", "http://localhost:1")} == {403}
    assert review(server.url).status_code == 404  # asked, and there is no such decision


def test_a_browser_may_ask_for_leave_without_the_token(guarded, picture):
    leave = httpx.options(f"{guarded.url}/classify", headers=PREFLIGHT)
    assert leave.status_code == 200
    assert leave.headers["access-control-allow-origin"] == PAGE
    other = httpx.options(f"{guarded.url}/classify", headers=PREFLIGHT | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    asked = httpx.post(f"{guarded.url}/classify", files={"file": picture}, headers=ANNA | {"origin": PAGE}, timeout=60)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
    assert httpx.post(f"{guarded.url}/classify", files={"file": picture}, headers={"origin": PAGE}).status_code == 401


def test_the_description_opens_without_a_token_and_asks_for_one(guarded, server):
    described = httpx.get(f"{guarded.url}/openapi.json").json()
    assert described["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in httpx.get(f"{server.url}/openapi.json").json()


def test_other_flips_than_were_sealed_are_said(guarded, server, picture):
    info = httpx.get(f"{guarded.url}/model/info", headers=ANNA).json()
    assert (info["sealed"], len(info["warnings"])) == (False, 1)
    answer = httpx.post(f"{guarded.url}/classify", files={"file": picture}, headers=ANNA, timeout=60).json()
    assert answer["sealed"] is False
    assert "not 'none' as it was validated" in answer["warnings"][-1]
    sealed = httpx.post(
        f"{server.url}/classify", files={"file": picture}, params={"model": "labels"}, timeout=60
    ).json()
    assert sealed["sealed"] is True
    assert not any("validated" in text for text in sealed["warnings"])


def test_a_head_that_does_not_come_is_not_waited_for(guarded):
    host, port = guarded.url.removeprefix("http://").split(":")
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        start = time.monotonic()
        with socket.create_connection((host, int(port)), timeout=20) as line:
            line.sendall(sent)
            assert line.recv(100).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - start < 10
    with httpx.Client() as client:  # a connection that is used again, and again after a while
        assert client.get(f"{guarded.url}/healthz").status_code == 200
        time.sleep(1.5)
        assert client.get(f"{guarded.url}/healthz").status_code == 200


def test_the_log_names_the_decision_that_spoke(server, picture):
    answer = httpx.post(f"{server.url}/classify", files={"file": picture}, params={"model": "labels"}, timeout=60)
    number = answer.json()["request_id"]
    until(lambda: number in server.log.read_text(), server, 10)
    [line] = [json.loads(line) for line in server.log.read_text().splitlines() if number in line]
    assert (line["decision"], line["seal"]) == ("labels", answer.json()["seal"])
    assert (line["route"], line["status"]) == ("/classify", 200)


def test_a_failure_is_logged_by_place_and_not_by_what_it_quotes(capsys):
    try:
        raise RuntimeError("PatientName = Doe^Jane")
    except RuntimeError as error:
        log_failure("0123", error)
    line = json.loads(capsys.readouterr().err)
    assert (line["request_id"], line["error"]) == ("0123", "RuntimeError")
    assert "test_guard.py" in line["places"][-1]
    assert "Doe" not in str(line)


def test_a_full_disk_is_not_called_a_damaged_upload(server):
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        answer = httpx.post(f"{server.url}/segment", files={"file": b"\x89PNG" + b"x" * 3_000_000}, timeout=60)
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    assert answer.status_code == 507, answer.text
    assert "disk for uploads is full" in answer.json()["detail"]
