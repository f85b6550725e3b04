"""Real trackers: a server of MLflow with SQLite, Weights & Biases offline, Trackio on this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.track.mirror import read_state, state_path
from tests.finished_runs import TINY
from tests.track.test_mirror import add_epochs

pytestmark = pytest.mark.extras
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "heldout-tests"
TRACKIO = ("trackio", "gradio_client", "orjson", "websockets", "watchfiles", "brotli", "uvloop", "httptools")


def pip(*words: str) -> None:
    """Install what the project does not depend on; a machine that cannot skips the test."""
    command = [sys.executable, "-m", "pip", *words] if words[0] == "install" else list(words)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot be installed: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """Address of a server in an environment of its own, as it asks for other versions than the project has."""
    pytest.importorskip("mlflow", reason="the extra track is not installed")
    python = CACHE / "mlflow" / "bin" / "python"
    if not (CACHE / "mlflow" / "bin" / "mlflow").exists():
        venv.create(CACHE / "mlflow", with_pip=True)
        pip(str(python), "-m", "pip", "install", "--quiet", "mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    log = (folder / "log.txt").open("wb")
    server = subprocess.Popen(
        [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *words],
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    until = time.monotonic() + 240
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert server.poll() is None, (folder / "log.txt").read_text()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    os.killpg(server.pid, 15)
    server.wait(30)


def test_an_address_that_the_client_of_mlflow_does_not_take_is_told(finish, home, monkeypatch, capsys):
    pytest.importorskip("mlflow", reason="the extra track is not installed")
    spec = finish(TINY, seeds=(0,), folds=(0,))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nothing://x")
    assert run(["track", "sync", spec, "--track", "mlflow"]) == 2
    assert "error: --track mlflow cannot be opened (" in capsys.readouterr().err


def test_mlflow_server(finish, mlflow_server, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there: sent later
    spec = finish(seeds=(0, 1), folds=(0,))
    add_epochs(spec, 0, 0, 3)
    assert run(["track", "sync", spec, "--track", "mlflow"]) == 1
    said = capsys.readouterr().out
    assert "unsent" in said
    assert re.search(r"^mlflow: .*refused", said, re.MULTILINE), "the whole reason, on a line of its own"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    assert run(["track", "sync"]) == 0
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_server)
    (place,) = [one for one in client.search_experiments() if one.name == "tiny"]
    runs = [one for one in client.search_runs([place.experiment_id]) if one.data.tags["group"] == spec]
    whole = next(one for one in runs if one.data.tags["kind"] == "experiment")
    fits = [one for one in runs if one.data.tags["kind"] == "fit"]
    assert {one.data.tags["mlflow.parentRunId"] for one in fits} == {whole.info.run_id}
    first = next(one for one in fits if one.data.tags["seed"] == "0")
    history = client.get_metric_history(first.info.run_id, "train_loss")
    assert [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)),
    ]  # fmt: skip
    record = json.loads((files.home() / f"working/runs/{spec}/seed0/fold0/run.json").read_text())
    assert first.data.metrics[record["metric"]] == pytest.approx(record["score"])
    assert first.data.tags["sha256.weights"] == record["sha256"]["weights"]
    assert first.data.params["lr"] == "0.001"
    assert first.info.status == "FINISHED"
    assert {one.path for one in client.list_artifacts(first.info.run_id, "records")} >= {"records/run.json"}
    assert client.list_artifacts(whole.info.run_id, "images/overlays")
    path = state_path("mlflow", f"runs/{spec}/seed0/fold0")
    state = read_state(path)
    sent = {place: one.model_copy(update={"points": 1, "digest": ""}) for place, one in state.sent.items()}
    files.write_json(path, state.model_copy(update={"sent": sent}).to_json())  # as if killed when they were sent
    assert run(["track", "sync"]) == 0
    assert len(client.get_metric_history(first.info.run_id, "train_loss")) == 3


def test_weights_and_biases_offline(finish, monkeypatch, capsys):
    pytest.importorskip("wandb", reason="the extra track is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    spec = finish(seeds=(0,), folds=(0, 1))
    for fold in (0, 1):
        add_epochs(spec, 0, fold, 3)
    assert run(["track", "sync", spec, "--track", "wandb"]) == 0
    key = f"runs/{spec}/seed0/fold0"
    sent = read_state(state_path("wandb", key)).sent["offline"]
    assert (sent.points, sent.error) == (3, "")
    (log,) = (files.home() / "working/track/wandb").glob(f"offline-run-*-{sent.id}/run-{sent.id}.wandb")
    rows, group = read_log(log)
    assert group == spec
    losses = [json.loads(row["train_loss"]) for row in rows if "train_loss" in row]
    assert losses == [1.0, 0.5, pytest.approx(1 / 3)]
    assert (log.parent / "files" / "config.json").exists()  # W&B keeps what is attached beside our states
    capsys.readouterr()
    assert run(["track", "sync"]) == 0, "all that is known, beside W&B's own files"
    assert "offline" in capsys.readouterr().out


def scan(log: bytes):
    """Records of a log in the format of LevelDB: blocks of 32 KiB, parts with checksum, length and kind."""
    at, whole = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        whole += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


def read_log(path: Path):
    """Rows of history and the group of an offline run."""
    from wandb.proto import wandb_internal_pb2

    rows, group = [], ""
    for data in scan(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({item.key or "/".join(item.nested_key): item.value_json for item in record.history.item})
        elif record.WhichOneof("record_type") == "run":
            group = record.run.run_group or group
    return rows, group


def test_trackio_on_this_machine(finish, tmp_path):
    target = CACHE / "trackio"
    if not (target / "trackio").exists():
        pip("install", "--quiet", "--no-deps", "--target", str(target), *TRACKIO)
    spec = finish(seeds=(0,), folds=(0,))
    add_epochs(spec, 0, 0, 3)
    path = os.pathsep.join([str(files.REPOSITORY / "src"), str(files.REPOSITORY), *sys.path, str(target)])
    environment = {**os.environ, "PYTHONPATH": path, "TRACKIO_DIR": str(tmp_path / "trackio")}
    code = f"import sys; from heldout.cli import run; sys.exit(run(['track', 'sync', {spec!r}, '--track', 'trackio']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S; "
        "print(json.dumps({run: S.get_logs('tiny', run) for run in S.get_runs('tiny')}, default=str))"
    )
    found = subprocess.run([sys.executable, "-c", read], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    logs = json.loads(found.stdout.splitlines()[-1])
    (rows,) = [rows for name, rows in logs.items() if name.startswith(f"{spec} seed0 fold0 ")]
    assert [row["train_loss"] for row in rows if "train_loss" in row] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert any("final/roc_auc" in row or any(name.startswith("final/") for name in row) for row in rows)


@pytest.mark.journey
def test_a_training_is_followed_and_a_dead_tracker_does_not_stop_it(home, monkeypatch, capfd):
    pytest.importorskip("mlflow", reason="the extra track is not installed")
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    trackers = ["--track", "tensorboard", "--track", "mlflow"]
    assert run(["exp004@quick", "--set", "workers=0", *trackers]) == 0
    assert "mlflow was not sent everything" in capfd.readouterr().err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = home / "working/track/tensorboard/runs" / "exp004@quick+workers=0" / "seed0" / "fold0"
    events = EventAccumulator(str(folder)).Reload()
    assert [one.step for one in events.Scalars("train_loss")] == [1, 2]
    assert events.Images("curves")


def test_fits_of_a_full_run_are_told_where_the_environment_names_a_tracker(home, monkeypatch):
    pytest.importorskip("tensorboard", reason="the extra track is not installed")
    spec = load(
        "exp004+dataset=tiny,epochs=1,seeds=(0,),fold_count=2,workers=0,threads=1,steps_per_epoch=2,"
        "source_options={'patients':24,'images_per_patient':1,'size':32}"
    ).spec
    monkeypatch.setenv("HELDOUT_TRACK", "tensorboard")
    assert run(["full", spec, "--workers", "0"]) == 0
    told = home / "working" / "track" / "tensorboard" / "runs" / spec / "seed0"
    assert all(list((told / fold).glob("events*")) for fold in ("fold0", "fold1"))
    assert run(["full", spec, "--track", "neptune"]) == 2
