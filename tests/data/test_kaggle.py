"""Kaggle's official client against a stand-in of its HTTP interface: submissions, datasets, notebooks."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from heldout import files
from heldout.data import kaggle as room
from heldout.data.kaggle import download_archive, push_kernel, submit_file
from heldout.errors import UserError
from tests.data.test_download import archive

pytestmark = pytest.mark.extras


class StandIn(ThreadingHTTPServer):
    """Answers what the client asks, and keeps it.

    Attributes:
        calls: Name and content of each request.
        uploads: Bytes of each upload.
        datasets: State of each dataset there is.
        refuses: Message of a refusal, by name of the request.
        fails: Error that a notebook is answered with.
        files: What the archive of a competition holds.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.calls, self.uploads, self.datasets, self.refuses, self.fails = [], [], {}, {}, ""
        self.files = {}

    def named(self, name: str) -> list[dict]:
        return [content for called, content in self.calls if called == name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name, stand_in = self.path.rpartition("/")[2], self.server
        content = json.loads(body) if body.startswith(b"{") else {}
        stand_in.calls.append((name, content))
        if name in stand_in.refuses:
            self.answer({"code": 403, "message": stand_in.refuses[name]}, 403)
            return
        if name == "GetDatasetStatus":
            slug = f"{content['ownerSlug']}/{content['datasetSlug']}"
            if slug not in stand_in.datasets:
                self.answer({"code": 404, "message": "Not found"}, 404)
                return
            self.answer({"status": stand_in.datasets[slug]})
            stand_in.datasets[slug] = "ready"
        elif name in ("StartSubmissionUpload", "StartBlobUpload"):
            self.answer({"token": f"token{len(stand_in.uploads)}", "createUrl": f"{stand_in.url}/upload"})
        elif name in ("CreateDataset", "CreateDatasetVersion"):
            slug = f"{content['ownerSlug']}/{content.get('slug') or content['datasetSlug']}"
            stand_in.datasets[slug] = "pending"
            self.answer({"status": "ok", "url": f"https://kaggle.example/{slug}"})
        elif name == "SaveKernel":
            self.answer({"versionNumber": 1, "url": "https://kaggle.example/code", "error": stand_in.fails})
        elif name == "CreateSubmission":
            self.answer({"message": "Successfully submitted to Bones", "ref": 5})
        elif name == "DownloadDataFiles":  # of a competition: their store is elsewhere
            self.send(b"", "text/plain", 302, Location=f"{stand_in.url}/store/{content['competitionName']}.zip?key=1")
        elif name.endswith(".zip?key=1") and "/store/" in self.path:
            self.send(archive(stand_in.files), "application/zip")
        elif name == "DownloadDataset":
            self.send(archive({"cases.csv": b"id\n"}), "application/zip")
        else:
            self.answer({})

    def do_PUT(self):
        self.server.uploads.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.answer({})

    do_GET = do_POST  # noqa: N815

    def answer(self, content, status=200):
        self.send(json.dumps(content).encode(), "application/json", status)

    def send(self, data, kind, status=200, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


CLIENT = """#!{python}
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = "{url}"
from kaggle.cli import main
main()
"""


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The server, and the official client that asks it in place of Kaggle."""
    if importlib.util.find_spec("kaggle") is None:
        pytest.skip("Kaggle's client is not installed")
    server = StandIn()
    client = tmp_path / "bin" / "kaggle"
    client.parent.mkdir()
    client.write_text(CLIENT.format(python=sys.executable, url=server.url))
    client.chmod(0o755)
    for name, value in {
        "PATH": f"{client.parent}:{os.environ['PATH']}",
        "KAGGLE_USERNAME": "ada",
        "KAGGLE_KEY": "0" * 32,
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(room, "_WAIT", 0.05)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def kernel(tmp_path):
    """What ``kernel`` writes, without the weights."""
    folder = tmp_path / "kaggle_kernels" / "fractures"
    for name, content in {
        "dataset/bundle.json": {"schema": 1},
        "dataset/dataset-metadata.json": {
            "id": "ada/heldout-fractures",
            "title": "heldout fractures",
            "licenses": [{"name": "CC0-1.0"}],
        },
        "notebook/kernel-metadata.json": {
            "id": "ada/heldout-fractures-kernel",
            "title": "heldout fractures kernel",
            "code_file": "fractures.ipynb",
            "language": "python",
            "kernel_type": "notebook",
            "enable_internet": False,
            "dataset_sources": ["ada/heldout-fractures"],
            "competition_sources": ["bones"],
        },
        "notebook/fractures.ipynb": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / name, content)
    return folder


def test_a_submission_is_uploaded_with_its_message(stand_in, tmp_path):
    path = tmp_path / "fractures.csv"
    path.write_text("id,p\na,0.5\n")
    assert submit_file("bones", path, "two seeds")
    assert stand_in.uploads == [path.read_bytes()]
    (sent,) = stand_in.named("CreateSubmission")
    assert (sent["competitionName"], sent["submissionDescription"]) == ("bones", "two seeds")


def test_a_refusal_is_one_sentence(stand_in, tmp_path):
    path = tmp_path / "fractures.csv"
    path.write_text("id,p\n")
    stand_in.refuses["StartSubmissionUpload"] = "You must accept this competition's rules"
    with pytest.raises(
        UserError, match=r"^kaggle cannot submit to bones \(.*\): check the name, your token in ~/.kaggle"
    ):
        submit_file("bones", path, "x")
    assert stand_in.uploads == []


def test_a_kernel_is_pushed_after_its_dataset_then_as_a_new_version(stand_in, kernel):
    push_kernel(kernel, "first")
    assert [name for name, _ in stand_in.calls if name in ("CreateDataset", "SaveKernel")] == [
        "CreateDataset",
        "SaveKernel",
    ]
    (saved,) = stand_in.named("SaveKernel")
    assert (saved["enableInternet"], saved["datasetDataSources"]) == (False, ["ada/heldout-fractures"])
    assert saved["competitionDataSources"] == ["bones"]
    assert stand_in.named("GetDatasetStatus")  # it waited until the dataset was ready
    push_kernel(kernel, "second")
    assert len(stand_in.named("CreateDataset")) == 1
    (version,) = stand_in.named("CreateDatasetVersion")
    assert version["body"]["versionNotes"] == "second"


def test_a_kernel_without_an_owner_is_not_pushed(stand_in, kernel):
    about = kernel / "dataset" / "dataset-metadata.json"
    about.write_text(about.read_text().replace("ada/", "USER/"))
    with pytest.raises(UserError, match=r"names no owner: run `python run.py kernel fractures --user NAME` again"):
        push_kernel(kernel, "x")
    assert stand_in.calls == []


@pytest.mark.parametrize("text", ['{"id": 5}', "[]", '{"title": "x"}'])
def test_metadata_that_was_edited_badly_is_named(kernel, text):
    (kernel / "dataset" / "dataset-metadata.json").write_text(text)
    with pytest.raises(UserError, match=r"dataset-metadata.json names no owner: run `python run.py kernel fractures"):
        push_kernel(kernel, "x")


def test_a_refusal_that_the_client_ends_well_with_is_one_sentence(stand_in, kernel):
    stand_in.fails = "the notebook is too long"
    with pytest.raises(
        UserError, match=r"kaggle cannot upload .*notebook \(Kernel push error: the notebook is too long\)"
    ):
        push_kernel(kernel, "x")


def test_a_dataset_is_downloaded(stand_in, tmp_path):
    assert download_archive("ada/bones", tmp_path / "place").suffix == ".zip"


def test_what_kernel_did_not_write_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is not what `kernel` writes: run `python run.py kernel none` first"):
        push_kernel(tmp_path / "none", "x")
