"""Settings from options, the environment and `.env`, and what they change; files in the form that was asked for."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys
import zipfile

import httpx
import nibabel
import numpy as np
import pytest

from tests.serve.conftest import REPOSITORY, as_array, until

pytestmark = pytest.mark.extras
TOKEN = "a-token-of-the-environment"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def configured(serve_module):
    """A service with a token of the environment, and further settings in `.env`."""
    lines = ("DEFAULT_THRESHOLD=0.02", "JOB_KEEP_MINUTES=0.02", "TOKEN=is-not-read", "AUDIT_LOG=kept/audit.jsonl")
    return serve_module("heads", dotenv="\n".join(f"HELDOUT_SERVE_{line}" for line in lines), HELDOUT_SERVE_TOKEN=TOKEN)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, str]:
    """Value by variable, as `--show-settings` prints them."""
    folder = tmp_path_factory.mktemp("shown")
    lines = ("PORT=4001", "QUEUE=5", "BATCH=6", "ALLOW_ORIGINS=https://a.example, https://b.example")
    (folder / ".env").write_text("\n".join(f"HELDOUT_SERVE_{line}" for line in lines))
    given = {"HELDOUT_SERVE_PORT": "4002", "HELDOUT_SERVE_QUEUE": "7", "HELDOUT_SERVE_TOKEN": TOKEN, "COLUMNS": "250"}
    words = [sys.executable, str(REPOSITORY / "run.py"), "serve", "frac1", "--port", "4003", "--show-settings"]
    done = subprocess.run(words, cwd=folder, env=os.environ | given, capture_output=True, text=True, check=True)
    assert TOKEN not in done.stdout
    return dict(re.findall(r"HELDOUT_SERVE_(\w+) +(\S+)", done.stdout))


def test_the_web_process_holds_no_networks():
    code = "import sys, heldout.serve.run; print({'torch', 'pandas', 'scipy', 'monai'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DECISION", "frac1"),  # an argument
        ("PORT", "4003"),  # an option before the environment and .env
        ("QUEUE", "7"),  # the environment before .env
        ("BATCH", "6"),  # .env
        ("ALLOW_ORIGINS", "https://a.example,https://b.example"),
        ("TOKEN", "set"),  # and not what it is
        ("WORKERS", "1"),  # a default
    ],
)
def test_an_option_counts_before_the_environment_and_that_before_the_file(shown, name, value):
    assert shown[name] == value


def test_a_token_of_the_environment_is_asked_for_and_not_written(configured, picture):
    files = {"file": picture}
    assert httpx.post(f"{configured.url}/segment", files=files).status_code == 401
    other = {"authorization": "Bearer is-not-read"}
    assert httpx.post(f"{configured.url}/segment", files=files, headers=other).status_code == 401
    assert httpx.post(f"{configured.url}/segment", files=files, headers=HEADERS, timeout=60).status_code == 200
    assert TOKEN not in configured.log.read_text()


def test_a_default_threshold_cuts_masks_where_a_request_names_none(configured, server, picture):
    def areas(service, **options):
        answer = httpx.post(
            f"{service.url}/segment",
            files={"file": picture},
            params={"model": "heads", "files": "false"} | options,
            headers=HEADERS,
            timeout=60,
        ).json()
        return answer["areas"], answer["threshold"], answer["warnings"][-1:]

    said = ["the mask is cut at 0.02, not as it was sealed"]
    assert areas(configured) == areas(server, threshold=0.02) == (areas(configured)[0], 0.02, said)
    assert areas(configured, threshold=0.9) == areas(server, threshold=0.9)
    assert areas(configured)[0] != areas(configured, threshold=0.9)[0]


def test_a_job_is_kept_for_as_long_as_the_setting_says(configured, picture):
    with httpx.Client(base_url=configured.url, headers=HEADERS, timeout=60) as client:
        links = client.post("/v1/jobs", files={"file": picture}).json()["links"]
        with client.stream("GET", links["events"]) as events:
            assert '"done"' in list(events.iter_lines())[-2]
        assert client.get(links["result"]).json()["decision"] == "heads"
        until(lambda: client.get(links["result"]).status_code == 404, configured, 20)


def test_the_audit_log_says_who_did_what(configured, picture):
    def lines():
        return [json.loads(line) for line in (configured.log.parent / "kept" / "audit.jsonl").read_text().splitlines()]

    with httpx.Client(base_url=configured.url, timeout=60) as client:
        refused = client.post("/segment", files={"file": ("DoeJane.png", picture)})
        form = {"verdict": "rejected", "model": "heads", "comment": "Doe"}
        review = client.post("/v1/corrections", files={"file": ("DoeJane.png", picture)}, data=form, headers=HEADERS)
        assert client.get("/healthz").status_code == 200
    until(lambda: review.headers["x-request-id"] in {one.get("request_id") for one in lines()}, configured, 10)
    found = {one.get("request_id"): one for one in lines()}
    one, saved = found[review.headers["x-request-id"]], review.json()
    assert (one["event"], one["reviewer"], one["route"], one["status"]) == ("request", "token", "/v1/corrections", 201)
    assert (one["decision"], one["seal"], one["verdict"], one["case"]) == (
        "heads",
        saved["seal"],
        "rejected",
        saved["case"],
    )
    assert found[refused.headers["x-request-id"]]["status"] == 401
    first = lines()[0]
    assert (first["event"], first["decisions"][0]["seal"]) == ("served", saved["seal"])
    assert not any("Doe" in str(one) or one.get("route") == "/healthz" for one in lines())


def test_an_audit_log_that_cannot_be_written_is_refused(tmp_path):
    from heldout.errors import UserError
    from heldout.serve.audit import AuditLog

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="HELDOUT_SERVE_AUDIT_LOG"):
        AuditLog(tmp_path / "file" / "audit.jsonl")


def test_a_line_that_a_killed_writer_left_is_taken_away(tmp_path):
    from heldout.serve.audit import AuditLog

    audit = AuditLog(tmp_path / "audit.jsonl")
    audit.write("request", number=1)
    with open(audit.path, "a") as handle:
        handle.write('{"time": "2026')
    audit.write("request", number=2)
    assert [json.loads(line)["number"] for line in audit.path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize(
    ("model", "format_", "what"),
    [
        ("heads", "png", "mask"),
        ("heads", "png", "probability"),
        ("volumes", "nifti", "mask"),
        ("volumes", "nifti", "probability"),
    ],
)
def test_files_alone_are_those_of_the_answer(server, picture, volume, model, format_, what):
    files = {"file": picture if model == "heads" else volume}

    def ask(**options):
        return httpx.post(f"{server.url}/v1/predict", files=files, params={"model": model} | options, timeout=60)

    named = {name: base64.b64decode(text) for name, text in ask().json()["files"].items() if name.startswith(what)}
    answer = ask(return_binary="true", format=format_, what=what, maps="false")
    assert answer.status_code == 200, answer.text
    if len(named) == 1:
        found = {next(iter(named)): answer.content}
    else:
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found.keys() == named.keys()
    assert {name.partition(".")[2] for name in found} == {"png" if format_ == "png" else "nii.gz"}
    for name, content in found.items():
        if format_ == "png":
            pair = as_array(content), as_array(named[name])
        else:
            images = [nibabel.Nifti1Image.from_bytes(gzip.decompress(one)) for one in (content, named[name])]
            pair = tuple(np.asanyarray(one.dataobj) for one in images)
        np.testing.assert_array_equal(*pair)
    other = {"png": "nifti", "nifti": "png"}[format_]
    refused = ask(return_binary="true", format=other, what=what)
    assert refused.status_code == 422
    assert f"the input gives {format_} files" in refused.json()["detail"]
