"""Versions of sealed decisions: promoted, rolled back, and switched to while requests are answered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from heldout.errors import UserError
from heldout.serve import registry
from heldout.serve.store import Store
from tests.serve.conftest import REPOSITORY, SPECS, until

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
    assert registry.resolve("lesions@production").decision == "labels"
    assert registry.resolve("lesions@2").decision == "heads"
    assert registry.rollback("lesions").decision == "heads"
    assert registry.promote("lesions@1").decision == "labels"
    code, text = _run(home, "list")
    assert code == 0
    assert "lesions@1" in text
    assert text.count("production") == 1


def test_promotions_are_in_the_audit_log(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_SERVE_AUDIT_LOG", str(tmp_path / "audit.jsonl"))
    for words in (("promote", "labels", "--model", "lesions"), ("promote", "heads", "--model", "lesions")):
        assert _run(home, *words)[0] == 0
    assert _run(home, "rollback", "lesions")[0] == 0
    found = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(one["event"], one["model"], one["decision"]) for one in found] == [
        ("promote", "lesions", "labels"),
        ("promote", "lesions", "heads"),
        ("rollback", "lesions", "labels"),
    ]
    assert all(one["user"] and len(one["seal"]) == 64 for one in found)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: registry.promote("nothing"), "no blend 'nothing'"),
        (lambda: registry.promote("nothing@1"), "no model 'nothing'"),
        (lambda: registry.resolve("lesions@production"), "no model 'lesions'"),
        (lambda: registry.rollback("labels"), "no version that was in production before"),
        (lambda: Store("s3x://bucket"), "cannot be opened"),
    ],
)
def test_what_does_not_exist_is_named(home, act, message):
    with pytest.raises(UserError, match=message):
        act()


def test_a_version_whose_decision_is_another_here_is_refused(home):
    record = registry.promote("labels")
    store = Store()
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
    assert (before["name"], before["served_as"]) == ("labels", ["lesions@production"])
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


AGAIN = """
import shutil, sys
from heldout import files
from heldout.blend.freeze import freeze
from heldout.blend.search import blend
from heldout.serve.registry import promote
shutil.rmtree(files.home() / "working" / "blends" / "labels")
blend([sys.argv[1]], "labels", sampler="equal", trials=1)
freeze("labels")
if "promote" in sys.argv:
    promote("labels")
"""


def _process(home, program, *words):
    environment = os.environ | {"HELDOUT_HOME": str(home), "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr


def test_a_decision_that_was_sealed_again_takes_over_by_its_seal(served_home, serve, picture, tmp_path, monkeypatch):
    home = shutil.copytree(served_home, tmp_path / "home")
    monkeypatch.setenv("HELDOUT_HOME", str(home))
    monkeypatch.delenv("HELDOUT_REGISTRY", raising=False)
    first = registry.promote("labels")
    server = serve("labels@production", "labels", HELDOUT_HOME=str(home), HELDOUT_SERVE_REGISTRY_SECONDS="0.5")

    def ask(name):
        answer = httpx.post(f"{server.url}/classify", files={"file": picture}, params={"model": name}, timeout=120)
        return answer.json()["seal"] if answer.status_code == 200 else answer.status_code

    [shown] = httpx.get(f"{server.url}/v1/models").json()  # one decision under both names
    assert shown["served_as"] == ["labels@production", "labels"]
    assert [ask(name) for name in shown["served_as"]] == [first.seal] * 2
    _process(home, AGAIN, SPECS["labels"], "promote")
    seals = set()

    def switched():
        seals.add(ask("labels@production"))
        return httpx.get(f"{server.url}/v1/models").json()[0]["seal"] != first.seal

    until(switched, server, 120)
    [second] = {one["seal"] for one in httpx.get(f"{server.url}/v1/models").json()}
    assert ask("labels") == second
    assert seals <= {first.seal, second}


def test_a_decision_that_was_sealed_again_does_not_replace_a_dead_process(served_home, serve, picture, tmp_path):
    home = shutil.copytree(served_home, tmp_path / "home")
    server = serve("labels", HELDOUT_HOME=str(home))
    _process(home, AGAIN, SPECS["labels"])
    os.kill(server.children()[0], signal.SIGKILL)
    until(lambda: server.process.poll() is not None, server)
    assert server.process.returncode == 2
    assert "labels was sealed again since it was first served" in server.log.read_text()


def test_processes_of_a_new_version_that_die_leave_the_old_one(home, serve, picture):
    registry.promote("labels", "lesions")
    server = serve("lesions@production", HELDOUT_SERVE_REGISTRY_SECONDS="0.5")
    [old] = server.children()
    registry.promote("heads", "lesions")

    def given_up():
        for child in server.children():
            if child != old:
                os.kill(child, signal.SIGKILL)
        return "the decisions served so far stay: their network processes end" in server.log.read_text()

    until(given_up, server, 120)
    answer = httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=60).json()
    assert answer["decision"] == "labels"
    time.sleep(2)
    assert server.children() == [old]


def test_a_process_that_hangs_is_replaced(serve, picture):
    server = serve("labels", HELDOUT_SERVE_ANSWER_SECONDS="2")
    [old] = server.children()
    os.kill(old, signal.SIGSTOP)
    answer = httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=120)
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1")  # there was no other
    until(lambda: server.children() not in ([], [old]), server)
    until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200, server)
    assert httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=60).status_code == 200


def test_a_registry_in_s3(home, bucket):
    store = Store(f"{bucket}/heldout")
    assert store.names() == []
    registry.promote("labels", "lesions", store)
    registry.promote("heads", "lesions", store)
    fresh = Store(f"{bucket}/heldout")
    assert fresh.names() == ["lesions"]
    assert registry.resolve("lesions@production", fresh).decision == "heads"
    registry.rollback("lesions", fresh)
    assert registry.resolve("lesions@production", fresh).decision == "labels"
    with pytest.raises(UserError, match="cannot be reached"):
        registry.promote("labels", "lesions", Store("s3://no-such-bucket/x"))
