"""Finished fits and sealed decisions at an address."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from heldout import files, remote
from heldout.cli import run
from heldout.errors import UserError
from heldout.train import runs
from tests.finished_runs import TINY


def exchange(address: str, finish, home: Path, monkeypatch) -> None:
    """Send a finished fit, fetch it into another home, and find it whole there."""
    spec = finish(TINY, seeds=(0,), folds=(0, 1))
    unfinished = runs.fit_folder(spec, 0, 1)
    (unfinished / "run.json").unlink()
    here = runs.fit_folder(spec, 0, 0)
    below = here.relative_to(home).as_posix()
    assert remote.push(address) == [below]
    assert remote.push(address) == []
    digest = files.sha256_file(here / "weights.safetensors")
    other = home.with_name("other")
    other.mkdir()
    monkeypatch.setenv("HELDOUT_HOME", str(other))
    assert remote.pull(address) == [below]
    assert remote.pull(address) == []
    assert files.sha256_file(other / below / "weights.safetensors") == digest
    runs.check_weights(other / below)
    assert not (other / unfinished.relative_to(home)).exists()


def test_only_what_is_finished_travels_and_once(finish, home, tmp_path, monkeypatch):
    exchange(f"file://{tmp_path}/there", finish, home, monkeypatch)


def test_a_damaged_file_is_not_taken_for_finished(finish, home, tmp_path, monkeypatch):
    spec = finish(TINY, seeds=(0,), folds=(0,))
    address = f"file://{tmp_path}/there"
    remote.push(address)
    next((tmp_path / "there").rglob("oof.parquet")).write_bytes(b"changed")
    shutil.rmtree(runs.run_folder(spec))
    with pytest.raises(UserError, match=r"oof.parquet arrived damaged: run the command again"):
        remote.pull(address)
    assert not runs.is_finished(runs.fit_folder(spec, 0, 0))


def test_a_sealed_blend_does_not_replace_one_that_is_not_sealed(home, tmp_path, capsys):
    mine, there = home / "working/blends/best", tmp_path / "there/working/blends/best"
    files.write_json(mine / "decision.json", {"seal": None})
    files.write_json(there / "decision.json", {"seal": "x"})
    files.write_json(there / remote.LIST, {"decision.json": files.sha256_file(there / "decision.json")})
    assert remote.pull(f"file://{tmp_path}/there") == []
    assert (mine / "decision.json").read_text() == '{\n  "seal": null\n}\n'
    assert "working/blends/best at file://" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["/tmp/x", "../x"])
def test_a_file_that_belongs_elsewhere_is_not_fetched(home, tmp_path, name):
    there = tmp_path / "there/working/runs/exp/seed0/fold0"
    files.write_json(there / remote.LIST, {name: "0" * 64})
    with pytest.raises(UserError, match=rf"lists {name}, which lies elsewhere: delete that folder"):
        remote.pull(f"file://{tmp_path}/there")


@pytest.mark.parametrize("place", ["working", "working/runs/exp", "working/queue/logs"])
def test_what_is_no_finished_fit_or_blend_is_not_fetched(home, tmp_path, place):
    there = tmp_path / "there" / place
    files.write_text(there / "ledger.jsonl", "forged")
    files.write_json(there / remote.LIST, {"ledger.jsonl": files.sha256_file(there / "ledger.jsonl")})
    assert remote.pull(f"file://{tmp_path}/there") == []
    assert not (home / place / "ledger.jsonl").exists()


def test_commands_work_in_a_folder_of_this_machine(finish, home, tmp_path, monkeypatch, capsys):
    finish(TINY, seeds=(0,), folds=(0, 1))
    address = f"file://{tmp_path}/there"
    remote.push(address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HELDOUT_HOME", address)
    monkeypatch.delenv(remote.VARIABLE, raising=False)
    assert run(["leaderboard"]) == 0
    shown = capsys.readouterr()
    assert "fetched working/runs/exp004" in shown.err
    assert "exp004" in shown.out
    local = tmp_path / "cache" / "heldout" / "homes" / "file"
    assert len(list(local.rglob("run.json"))) == 2
    monkeypatch.delenv(remote.VARIABLE)


def test_an_address_that_cannot_be_reached_is_named(home, monkeypatch):
    with pytest.raises(UserError, match=r"HELDOUT_HOME=nothing://x cannot be reached .*: check the address"):
        remote.pull("nothing://x")


@pytest.mark.extras
def test_a_bucket_serves_as_home(finish, home, monkeypatch):
    pytest.importorskip("s3fs", reason="pip install 'heldout[s3]'")
    server = pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask-cors").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # of another test's server
    s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}").mkdir("bucket")
    try:
        exchange("s3://bucket/project", finish, home, monkeypatch)
    finally:
        server.stop()
