"""A machine that has only the store of a registry: it fetches, verifies and serves what was pushed into it."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import httpx
import pytest

from heldout import files
from heldout.cli import run
from heldout.deliver.kernel.bundle import read_bundle
from heldout.errors import UserError
from heldout.serve import bundle_store, registry
from heldout.serve.store import Store
from tests.serve.conftest import until

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def pushed(served_home, tmp_path_factory) -> Path:
    """A folder store with two versions of a model, the first of them in production."""
    place = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(served_home))
        for name in ("labels", "heads"):
            assert run(["registry", "push", name, "--model", "lesions", "--store", str(place)]) == 0
        assert run(["registry", "promote", "lesions@1", "--store", str(place)]) == 0
    return place


@pytest.fixture
def store(pushed, tmp_path) -> Path:
    return shutil.copytree(pushed, tmp_path / "store")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A home without anything."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "home"


def _ask(server, picture: bytes) -> dict:
    answer = httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.pop("took_ms") > 0
    assert body.pop("request_id")
    return body


def test_a_machine_with_the_store_alone_serves_and_switches(serve, server, store, elsewhere, picture):
    for path in [store, *store.rglob("*")]:  # as a container mounts it
        path.chmod(0o555 if path.is_dir() else 0o444)
    settings = {"HELDOUT_HOME": str(elsewhere), "HELDOUT_SERVE_REGISTRY": str(store)}
    alone = serve("lesions@production", HELDOUT_SERVE_REGISTRY_SECONDS="0.5", **settings)
    here = httpx.post(f"{server.url}/classify", files={"file": picture}, data={"model": "labels"}, timeout=60).json()
    answer = _ask(alone, picture)
    assert answer["sealed"]
    assert answer == {name: here[name] for name in answer}
    [shown] = httpx.get(f"{alone.url}/v1/models").json()
    assert shown["served_as"] == ["lesions@production"]
    answers: list[dict] = []
    done = threading.Event()

    def ask():
        while not done.wait(0.02):
            answers.append(_ask(alone, picture))

    client = threading.Thread(target=ask)
    client.start()
    for path in (store, store / "lesions.json"):
        path.chmod(0o755)
    registry.promote("lesions@2", store=Store(str(store)))
    until(lambda: answers and answers[-1]["decision"] == "heads", alone, 120)
    done.set()
    client.join()
    assert {one["decision"] for one in answers} == {"labels", "heads"}
    assert len(list((elsewhere / "working" / "registry" / "fetched").iterdir())) == 3  # two bundles and the lock
    assert not (elsewhere / "working" / "runs").exists()


def test_a_bucket_is_a_store_too(serve, pushed, bucket, served_home, elsewhere, picture, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    folder = served_home / "working" / "bundles" / "labels"  # as `registry push labels` left it
    assert run(["registry", "push", str(folder), "--store", f"{bucket}/x"]) == 0
    assert run(["registry", "promote", "labels", "--store", f"{bucket}/x"]) == 0
    alone = serve("labels@production", HELDOUT_HOME=str(elsewhere), HELDOUT_SERVE_REGISTRY=f"{bucket}/x")
    assert _ask(alone, picture)["seal"] == read_bundle(folder).decision.seal


def _edit(store: Path, change) -> Path:
    path = store / "lesions.json"
    record = json.loads(path.read_text())
    change(record["versions"][0])
    path.write_text(json.dumps(record))
    return store / "bundles" / (record["versions"][0]["bundle"] or "")


def _renamed(bundle: Path, manifest: dict) -> str:
    """Store a changed manifest under its own hash, as somebody would who wants it to be fetched."""
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    digest = files.sha256_file(bundle / "bundle.json")
    bundle.rename(bundle.parent / digest)
    return digest


def _damaged(bundle: Path) -> None:
    next(bundle.rglob("weights.safetensors")).write_bytes(b"other")


def _lost(bundle: Path) -> None:
    (bundle / "bundle.json").unlink()


def _outside(bundle: Path) -> str:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["../../evil.py"] = "0" * 64
    return _renamed(bundle, manifest)


def _other_seal(bundle: Path) -> str:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["decision"]["name"] = "another"
    return _renamed(bundle, manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_damaged, r"weights\.safetensors is damaged: push the decision"),
        (_lost, r"bundle\.json is missing: push the decision"),
        (_outside, r"lists \.\./\.\./evil\.py, which lies elsewhere"),
        (_other_seal, "was edited after it was sealed"),
    ],
)
def test_what_is_not_what_was_pushed_is_refused(store, elsewhere, change, message):
    target = registry.resolve("lesions@1", Store(str(store)))
    changed = change(store / "bundles" / target.bundle)
    with pytest.raises(UserError, match=message):
        read_bundle(bundle_store.fetch(changed or target.bundle, Store(str(store))))
    assert not list(elsewhere.rglob("evil.py"))


def test_a_version_without_a_bundle_says_how_it_gets_one(store, elsewhere):
    _edit(store, lambda version: version.update(bundle=None))
    with pytest.raises(UserError, match=r"run `python run\.py registry push labels --model lesions`"):
        registry.resolve("lesions@1", Store(str(store)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lesions@1", "lesions@2"], "lesions@1 comes as a bundle, and a service holds one of them alone"),
        (["lesions@1", "again@1"], "lesions@1 and again@1 are versions of one decision"),
    ],
)
def test_bundles_are_served_alone(store, elsewhere, names, message):
    record = json.loads((store / "lesions.json").read_text())
    record["name"], record["versions"][0]["seal"] = "again", "0" * 64
    (store / "again.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        registry.resolve_all(names, str(store))


def test_code_from_elsewhere_waits_for_trust(serve, store, elsewhere, picture):
    target = registry.resolve("lesions@1", Store(str(store)))
    folder = store / "bundles" / target.bundle
    manifest = json.loads((folder / "bundle.json").read_text())
    code = folder / "exps" / "exp004.py"
    code.write_text(code.read_text() + "# of somebody else\n")
    manifest["files"]["exps/exp004.py"] = files.sha256_file(code)
    digest = _renamed(folder, manifest)
    _edit(store, lambda version: version.update(bundle=digest))
    settings = {"HELDOUT_HOME": str(elsewhere), "HELDOUT_SERVE_REGISTRY": str(store)}
    refused = serve("lesions@1", ready=False, **settings)
    assert refused.process.wait(60) == 2
    assert "read these files, then run the command again with --trust" in refused.log.read_text()
    assert _ask(serve("lesions@1", "--trust", **settings), picture)["decision"] == "labels"
