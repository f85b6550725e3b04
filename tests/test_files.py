"""Artifacts are whole or absent, hashes are stable, and two processes never hold one folder."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heldout import claims, files
from heldout.errors import UserError
from heldout.records import read_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.json"
    files.write_json(path, {"dice": 0.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"dice": float("nan")})

    def stop_halfway():
        with files.atomic(path) as handle:
            handle.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_halfway()
    assert read_json(path) == {"dice": 0.5}
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.json"]


def test_write_with_keeps_the_ending_of_the_name(tmp_path):
    files.write_with(tmp_path / "case.nii.gz", lambda path: path.write_text("".join(path.suffixes)))
    assert (tmp_path / "case.nii.gz").read_text() == ".nii.gz"
    assert len(list(tmp_path.iterdir())) == 1


def test_hashes(tmp_path):
    files.write_text(tmp_path / "a", "abc")
    assert files.sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert files.sha256_json({"b": 1, "a": [1.5]}) == files.sha256_json({"a": [1.5], "b": 1})


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "decision.json").write_text("{")
    with pytest.raises(UserError, match=r"decision\.json is not valid JSON.*run again"):
        read_json(tmp_path / "decision.json")


def test_a_missing_dataset_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"Task99 does not exist.*HELDOUT_DATA"):
        files.dataset_root("Task99")


def test_a_dataset_is_found_below_input_where_another_folder_is_named_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "home/input/a").mkdir(parents=True)
    assert files.dataset_root("a") == tmp_path / "home/input/a"
    (tmp_path / "data/a").mkdir(parents=True)
    assert files.dataset_root("a") == tmp_path / "data/a"


def test_the_second_process_is_told_who_holds_the_folder(tmp_path):
    code = f"from heldout import files\nfrom pathlib import Path\nwith files.lock(Path({str(tmp_path)!r}), 'x'): pass"
    with files.lock(tmp_path, "training exp042 fold 0"):
        second = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(files.REPOSITORY / "src")},
        )
        assert "training exp042 fold 0" in second.stderr
        assert "InUse" in second.stderr
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(files.REPOSITORY / "src")}).returncode == 0
    )


@pytest.mark.parametrize("path", ["/dev/full", "/dev/null", "/dev/zero"])
def test_a_device_is_neither_replaced_nor_read(path):
    before = Path(path).stat().st_rdev
    with pytest.raises(UserError, match=f"{path} is not a regular file.*name another file"):
        files.write_bytes(Path(path), b"0")
    with pytest.raises(UserError, match=f"{path} is not a regular file.*name another file"):
        files.write_with(Path(path), lambda temporary: temporary.write_bytes(b"x"))
    with pytest.raises(UserError, match=f"{path} is not a regular file: name a JSON file"):
        read_json(Path(path))
    assert Path(path).stat().st_rdev == before


WITHOUT_LOCKS = """
import fcntl, sys, time
from collections.abc import Callable
from pathlib import Path
from heldout import claims, files
fcntl.flock = lambda *_: None  # as a mount may answer whose locks do not hold between machines
claims.locks_hold = lambda _: False
folder = Path(sys.argv[1])
"""
COUNTS = """
for _ in range(20):
    with files.lock(folder, "counting", wait=True):
        number = int((folder / "count").read_text())
        time.sleep(0.001)
        (folder / "count").write_text(str(number + 1))
"""
HOLDS = """
with files.lock(folder, "holding"):
    print("held", flush=True)
    time.sleep(60)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WITHOUT_LOCKS + program, str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(files.REPOSITORY / "src")})


def test_where_every_lock_succeeds_one_process_at_a_time_holds_a_folder(tmp_path):
    (tmp_path / "count").write_text("0")
    processes = [start(COUNTS, tmp_path) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "80"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "count"]


def test_where_every_lock_succeeds_the_second_is_told_and_a_killed_holder_lets_go(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr(claims, "locks_hold", lambda _: False)
    holder = start(HOLDS, tmp_path)
    assert holder.stdout.readline() == "held\n"
    told = pytest.raises(UserError, match=rf"in use by process {holder.pid} on .*holding.*: wait for it to end")
    with told, files.lock(tmp_path, "trying"):
        pass
    assert files.is_locked(tmp_path)
    holder.kill()
    holder.wait()
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.5)
    with files.lock(tmp_path, "going on", wait=True):
        assert files.is_locked(tmp_path)
    assert not files.is_locked(tmp_path)


def test_where_the_kernel_has_no_locks_the_claim_serves(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match="No locks available"), files.lock(tmp_path, "on a local disk"):
        pass
    monkeypatch.setattr(claims, "locks_hold", lambda _: False)
    with files.lock(tmp_path, "holding"):
        assert files.is_locked(tmp_path)
        with pytest.raises(UserError, match="in use by process"), files.lock(tmp_path, "trying"):
            pass
    assert not files.is_locked(tmp_path)


def test_locks_of_local_disks_are_relied_on_and_those_of_network_mounts_are_not(tmp_path, monkeypatch):
    assert claims.locks_hold(tmp_path)
    mounts = f"server:/x {tmp_path} nfs4 rw 0 0\n/dev/vda / ext4 rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts)
    real = Path
    monkeypatch.setattr(
        claims, "Path", lambda place: tmp_path / "mounts" if place == "/proc/self/mounts" else real(place)
    )
    assert not claims.locks_hold(tmp_path / "working")
    assert claims.locks_hold(real("/usr"))


def interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Whether the work came to so many lines of ours; it is interrupted there, as a signal does it."""
    left = number

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in (files.__file__, contextlib.__file__):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def bytes_of(path):
    with files.atomic(path) as handle:
        handle.write(b"new")


def file_of_a_library(path):
    files.write_with(path, lambda temporary: temporary.write_bytes(b"new"))


def folder_of_files(path):
    with files.new_folder(path) as draft:
        (draft / "one").write_bytes(b"new")


@pytest.mark.parametrize("write", [bytes_of, file_of_a_library, folder_of_files])
def test_a_write_that_is_interrupted_at_any_line_leaves_the_old_or_the_new_and_nothing_else(
    tmp_path, monkeypatch, write
):
    monkeypatch.setattr("os.fsync", lambda _: None)  # which only takes time here
    place = tmp_path / "it"
    there = place / "one" if write is folder_of_files else place
    there.parent.mkdir(exist_ok=True)
    number, found = 1, set()
    there.write_bytes(b"old")
    while interrupted_at(number, lambda: write(place)):
        gc.collect(0)  # what was open is let go, as where the traceback ends
        assert [path.name for path in tmp_path.iterdir()] == ["it"], number
        found.add(there.read_bytes())
        there.write_bytes(b"old")
        number += 1
    assert number > 10
    assert found == {b"old", b"new"}
    assert there.read_bytes() == b"new"
