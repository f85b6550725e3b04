"""A bundle holds all that the service needs, gives the same bits, and is not served where it predicts otherwise."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from heldout import files
from heldout.blend.apply import predict_case
from heldout.blend.session import Session
from heldout.cli import run
from heldout.errors import UserError
from heldout.serve.bundle import _check_reference, open_bundled

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def bundle(served_home, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "volumes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(served_home))
        assert run(["bundle", "volumes", "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A home without anything, for a process that opens a bundle and then works in it."""
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "pycache_prefix", sys.pycache_prefix)
    return tmp_path


def _seal_again(bundle: Path, name: str) -> None:
    """Write the hash of a changed file into the manifest, as somebody would who wants it to be served."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"][name] = files.sha256_file(bundle / name)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_a_trusted_bundle_answers_as_the_decision_does(serve, server, copy, volume, elsewhere, capsys):
    name = "exps/exp003.py"
    (copy / name).write_text((copy / name).read_text() + "# of somebody else\n")
    _seal_again(copy, name)
    assert run(["serve", str(copy), "--port", "0"]) == 2
    assert "read these files, then run the command again with --trust" in capsys.readouterr().err
    bundled = serve(str(copy), "--trust", HELDOUT_HOME=str(elsewhere))
    info = httpx.get(f"{bundled.url}/model/info").json()
    assert (info["name"], info["sealed"]) == ("volumes", True)
    answers = [
        httpx.post(f"{one.url}/segment", files={"file": volume}, data={"model": "volumes"}, timeout=60).json()
        for one in (server, bundled)
    ]
    for answer in answers:
        assert [answer.pop(name) for name in ("took_ms", "request_id")]
    assert answers[0] == answers[1]
    assert answers[0]["files"]
    saved = httpx.post(
        f"{bundled.url}/v1/corrections", files={"file": volume}, data={"verdict": "accepted"}, timeout=60
    )
    assert saved.status_code == 201, saved.text
    assert list(elsewhere.glob("working/corrections/volumes/*/v1/*.json"))
    again = serve(str(copy), HELDOUT_HOME=str(elsewhere))  # it is trusted from then on
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(30) == 0
    assert "Stopped." in again.log.read_text()


def test_a_bundle_is_replaced_and_nothing_else(served_home, bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    assert run(["bundle", "volumes", "--output", str(bundle)]) == 0
    (tmp_path / "mine.txt").write_text("mine")
    assert run(["bundle", "volumes", "--output", str(tmp_path)]) == 2
    assert "name another folder with --output" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_reference_cases_that_are_predicted_otherwise_are_refused(copy, elsewhere):
    name = "working/blends/volumes/reference_images.npz"
    with np.load(copy / name) as stored:
        arrays = dict(stored)
    arrays["0.image"] = arrays["0.image"][:, ::-1]
    np.savez_compressed(copy / name, **arrays)
    _seal_again(copy, name)
    with pytest.raises(UserError, match="is not what was validated: the code predicts case"):
        open_bundled(copy, Session())


def test_reference_cases_are_predicted_in_the_format_that_was_sealed(copy, elsewhere, monkeypatch):
    decision = open_bundled(copy, Session()).decision
    members = [one.model_copy(update={"predict_precision": "bf16-mixed"}) for one in decision.members]
    formats = []

    def predict(config, *rest, **options):
        formats.append(config.predict_precision)
        return predict_case(config, *rest, **options)

    monkeypatch.setattr("heldout.serve.bundle.predict_case", predict)
    assert _check_reference(replace(decision, members=tuple(members)), Session()) == []
    assert set(formats) == {"bf16-mixed"}


def test_a_changed_file_is_refused(copy, elsewhere):
    (copy / "working/blends/volumes/kept.npz").write_bytes(b"other")
    with pytest.raises(UserError, match=r"kept\.npz is missing or changed"):
        open_bundled(copy, Session())


def test_a_kernels_bundle_says_what_it_lacks(copy, elsewhere):
    (copy / "working/blends/volumes/reference_images.npz").unlink()
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if (copy / name).is_file()}
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"write one with `python run\.py bundle volumes`"):
        open_bundled(copy, Session())


def test_a_folder_without_a_bundle_is_said_to_be_one(elsewhere, capsys):
    (elsewhere / "empty").mkdir()
    assert run(["serve", str(elsewhere / "empty")]) == 2
    assert "empty holds no bundle: write one with `python run.py bundle NAME`" in capsys.readouterr().err


def test_a_bundle_is_served_alone(bundle, served_home, capsys, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    assert run(["serve", "labels", str(bundle)]) == 2
    assert "start another service" in capsys.readouterr().err
