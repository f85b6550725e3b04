"""Versions of sealed decisions: promoted, rolled back, and switched to while requests are answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time

import httpx
import pytest

from heldout.errors import UserError
from heldout.serve import registry
from tests.serve.conftest import REPOSITORY

pytestmark = pytest.mark.extras


@pytest.fixture
def home(served_home, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    monkeypatch.delenv("HELDOUT_REGISTRY", raising=False)
    yield served_home
    shutil.rmtree(served_home / "working" / "registry", ignore_errors=True)


def _run(home, *words):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "run.py"), "registry", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"HELDOUT_HOME": str(home)},
    )
    return done.returncode, done.stdout + done.stderr


def test_versions_are_promoted_and_rolled_back(home):
    first = registry.promote("labels", "lesions")
    assert (first.version, first.decision) == (1, "labels")
    assert registry.promote("heads", "lesions").version == 2
    assert registry.promote("labels", "lesions").version == 1  # the same seal is the same version
    assert registry.resolve("lesions@production") == "labels"
    assert registry.resolve("lesions@2") == "heads"
    assert registry.rollback("lesions").decision == "heads"
    assert registry.promote("lesions@1").decision == "labels"
    code, text = _run(home, "list")
    assert code == 0
    assert "lesions@1" in text
    assert text.count("production") == 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: registry.promote("nothing"), "no blend 'nothing'"),
        (lambda: registry.promote("nothing@1"), "no model 'nothing'"),
        (lambda: registry.resolve("lesions@production"), "no model 'lesions'"),
        (lambda: registry.rollback("labels"), "no version that was in production before"),
        (lambda: registry.Store("s3x://bucket"), "cannot be opened"),
    ],
)
def test_what_does_not_exist_is_named(home, act, message):
    with pytest.raises(UserError, match=message):
        act()


def test_a_version_whose_decision_is_another_here_is_refused(home):
    record = registry.promote("labels")
    store = registry.Store()
    other = record.model_copy(update={"seal": "0" * 64})
    store.write(store.read("labels").model_copy(update={"versions": (other,)}))
    with pytest.raises(UserError, match="not the one here"):
        registry.resolve("labels@1")
    (home / "working" / "registry" / "labels.json").write_text("{}")
    with pytest.raises(UserError, match="restore it"):
        registry.resolve("labels@1")


def test_a_service_switches_without_dropping_a_request(home, serve, picture):
    registry.promote("labels", "lesions")
    server = serve("lesions@production", HELDOUT_SERVE_REGISTRY_SECONDS="0.5")
    answers: list[httpx.Response] = []
    done = threading.Event()

    def ask():
        with httpx.Client(timeout=120) as client:
            while not done.is_set():
                answers.append(client.post(f"{server.url}/classify", files={"file": picture}))
                time.sleep(0.02)  # the new process needs the processor too

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    [before] = httpx.get(f"{server.url}/v1/models").json()
    assert (before["name"], before["served_as"]) == ("labels", "lesions@production")
    registry.promote("heads", "lesions")
    until = time.monotonic() + 240
    while httpx.get(f"{server.url}/v1/models").json()[0]["name"] != "heads":
        assert time.monotonic() < until, server.log.read_text()[-3000:]
        time.sleep(0.2)
    time.sleep(3)
    done.set()
    for client in clients:
        client.join()
    assert {answer.status_code for answer in answers} == {200}
    spoke = [answer.json()["decision"] for answer in answers]
    assert set(spoke) == {"labels", "heads"}
    assert spoke[-1] == "heads"
    named = httpx.post(
        f"{server.url}/classify", files={"file": picture}, params={"model": "lesions@production"}, timeout=60
    )
    assert named.json()["decision"] == "heads"
    while len(server.children()) > 1:  # the old process ends
        assert time.monotonic() < until + 60
        time.sleep(0.2)


def test_a_registry_in_s3(home, monkeypatch):
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # of another test's server
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("models")
        store = registry.Store("s3://models/heldout")
        assert store.names() == []
        registry.promote("labels", "lesions", store)
        registry.promote("heads", "lesions", store)
        fresh = registry.Store("s3://models/heldout")
        assert fresh.names() == ["lesions"]
        assert registry.resolve("lesions@production", fresh) == "heads"
        registry.rollback("lesions", fresh)
        assert registry.resolve("lesions@production", fresh) == "labels"
        with pytest.raises(UserError, match="cannot be reached"):
            registry.promote("labels", "lesions", registry.Store("s3://no-such-bucket/x"))
    finally:
        server.stop()
