"""A place of a node, what it receives, and what it tells."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from heldout import files
from heldout.errors import UserError
from heldout.launch.seat import END, Part, Seat, make_own, receive
from heldout.launch.travel import Arrival


def test_a_damaged_file_is_not_put_in_place(tmp_path):
    folder = tmp_path / "fold0"
    folder.mkdir()
    with pytest.raises(UserError, match=r"weights.safetensors arrived damaged: run the command again"):
        Arrival(folder).take([("weights.safetensors", 0, b"abc", None), ("weights.safetensors", 3, b"", "0" * 64)])
    assert not (folder / "weights.safetensors").exists()


def test_a_seat_receives_a_file_once_and_tells_what_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = []

    def content():
        asked.append(1)
        yield b"print('hello')\n"

    thing = ("code/main.py", files.sha256_bytes(b"print('hello')\n"), content)
    seat = Seat("scratch")
    script = (
        "import pathlib, main; p = pathlib.Path('home/fit'); p.mkdir(parents=True); (p / 'run.json').write_text('1')"
    )
    for _ in range(2):
        seat.start(
            ["-c", script.replace("mkdir(", "mkdir(exist_ok=True, ")],
            {"PYTHONPATH": "code"},
            "log",
            [thing],
            "home/fit",
        )
        code, text, parts = told(seat)
        assert (code, text) == (0, "hello\n")
        assert [(name, data) for name, _, data, _ in parts] == [("run.json", b"1"), ("run.json", b""), ("", b"")]
    assert len(asked) == 1


def test_what_is_still_being_received_is_not_told(tmp_path, monkeypatch):
    """The state that a fit resumes from comes in an archive, and half of it would replace the whole at the sender."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("heldout.launch.seat.SEND_SECONDS", 0.0)
    seat, met, goes_on = Seat("scratch"), threading.Event(), threading.Event()

    def content():
        half = seat.base / "home/fit/state.pt"
        half.parent.mkdir(parents=True)
        half.write_bytes(b"half")
        met.set()
        goes_on.wait(20)
        half.unlink()
        yield b"x"

    thing = ("code/main.py", files.sha256_bytes(b"x"), content)
    seat.start(["-c", "pass"], {}, "log", [thing], "home/fit")
    assert met.wait(20)
    assert seat.poll() == (None, "", [])
    goes_on.set()
    assert told(seat) == (0, "", [])


def told(seat: Seat) -> tuple[int, str, list[Part]]:
    """Exit code, log and files of the command, once it has ended."""
    text, parts, code, end = "", [], None, time.monotonic() + 20
    while code is None:
        assert time.monotonic() < end
        code, new, found = seat.poll(0.2)
        text, parts = text + new, parts + found
    return code, text, parts


def test_a_fit_does_not_start_from_what_an_earlier_one_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seat = Seat("scratch/home")
    left = seat.scratch / "home/fit"
    left.mkdir(parents=True)
    (left / "run.json").write_text("of an earlier fit")
    seat.start(["-c", "import os; print(os.path.exists('home/fit'))"], {}, "log", [], "home/fit")
    assert told(seat) == (0, "False\n", [])
    seat.start(["-c", "import os; os.makedirs('home/fit'); open('home/fit/a', 'w')"], {}, "log", [], "home/fit")
    assert [name for name, *_ in told(seat)[2]] == ["a", ""]
    assert not left.exists()


def test_what_a_dead_seat_left_of_the_run_is_removed_and_what_another_holds_is_not(tmp_path, monkeypatch):
    """A fit that a node left behind would refuse the others of its run once the experiment is edited."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run, make = "home/working/runs/exp", "import os; os.makedirs({0!r}, exist_ok=True); open({0!r} + '/a', 'w')"
    dead, busy, seat = (Seat("scratch/home") for _ in range(3))
    dead.start(["-c", make.format(f"{run}/seed0/fold0")], {}, "log0", [], f"{run}/seed0/fold0")
    busy.start(["-c", make.format(f"{run}/seed0/fold1") + "; input()"], {}, "log1", [], f"{run}/seed0/fold1")
    left, used = (seat.scratch / run / "seed0" / name for name in ("fold0", "fold1"))
    end = time.monotonic() + 20
    while not (left / "a").exists() or not (used / "a").exists() or dead.process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    dead.place.close()  # as the end of its process does, before anything was told
    received = seat.scratch / run / "seed0/fold3/run.json"  # what another fit starts from, of an archive
    files.write_text(received, "{}")
    seat.start(["-c", "print(1)"], {}, "log2", [], f"{run}/seed0/fold2")
    assert told(seat)[:2] == (0, "1\n")
    assert (left.exists(), (used / "a").exists(), received.exists()) == (False, True, True)
    busy.interrupt()
    assert [name for name, *_ in told(busy)[2]] == ["a", ""]
    assert not used.exists()


def test_a_folder_that_another_could_have_made_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "elsewhere")
    seat = Seat("scratch/home")
    seat.start(["-c", "print(1)"], {}, "log", [], "home/fit")
    code, text, _ = told(seat)
    assert code == 1
    assert "scratch is a link or belongs to another user: delete it" in text
    make_own(tmp_path / "own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_removed_is_received_again(tmp_path):
    asked: list[int] = []

    def content():
        asked.append(1)
        yield b"abc"

    for _ in range(2):
        receive(tmp_path / "a.pack", files.sha256_bytes(b"abc"), content)
        (tmp_path / "a.pack").unlink()
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["/tmp/x", "../x", ".lock", "oof_maps/.x"])
def test_a_file_that_belongs_elsewhere_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match=f"a node sent {name}, which is no file of"):
        Arrival(tmp_path / "fold0").take([(name, 0, b"abc", None)])


WRITER = """
import os, pathlib, sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: ended.set() if not sys.stdin.read() else None, daemon=True).start()
fit, number = pathlib.Path("home/fit"), 0
fit.mkdir(parents=True)
while not ended.is_set():
    number += 1
    for name in ("first", "second"):
        (fit / ".part").write_text(str(number))
        os.replace(fit / ".part", fit / name)
    time.sleep(0.005)
print(number)
"""


def test_files_that_change_while_they_are_sent_are_those_of_one_moment(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("heldout.launch.seat.SEND_SECONDS", 0.0)
    monkeypatch.setattr("heldout.launch.seat.CHUNK", 1)  # a part at each call
    seat = Seat("scratch/home")
    seat.start(["-c", WRITER], {}, "log", [], "home/fit")
    here: dict[str, str] = {}
    sent: dict[str, str] = {}
    sets, code, log, end = 0, None, "", time.monotonic() + 120
    while code is None:
        assert time.monotonic() < end
        code, text, parts = seat.poll()
        log += text
        for name, offset, data, sha256 in parts:
            if (name, offset, data, sha256) == END:
                here |= sent
                sent, sets = {}, sets + 1
                assert int(here.get("second", 0)) <= int(here["first"]) <= int(here.get("second", 0)) + 1
                if sets == 4:
                    seat.interrupt()
            else:
                sent[name] = (sent.get(name, "") if offset else "") + data.decode()
    assert here == {"first": log.strip(), "second": log.strip()}
    assert not list(tmp_path.rglob(".fit.taken"))


def whole(name: str, data: bytes) -> list[Part]:
    return [(name, 0, data, None), (name, len(data), b"", files.sha256_bytes(data))]


def test_files_that_belong_together_arrive_together_or_not_at_all(tmp_path):
    folder = tmp_path / "fold0"
    Arrival(folder).take([*whole("state.pt", b"1"), *whole("metrics.csv", b"1"), END])
    lost = Arrival(folder)
    lost.take([*whole("hard_negatives/epoch002.csv", b"2"), *whole("metrics.csv", b"2")])  # and the node is gone
    assert {path.name: path.read_bytes() for path in folder.glob("*.*t")} == {"state.pt": b"1"}
    assert (folder / "metrics.csv").read_bytes() == b"1"
    last = Arrival(folder)
    last.take([*whole("run.json", b"{}"), *whole("weights.safetensors", b"2"), END])
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "metrics.csv",
        "run.json",
        "weights.safetensors",  # and no state any more, as where it was trained
    ]


def test_a_copy_of_the_home_is_not_taken_for_the_home_itself(home, tmp_path):
    from heldout.launch.on_ray import RayEngine

    earlier, engine = RayEngine(None, 1, 1), RayEngine(None, 1, 1)
    earlier.seen()
    copied = tmp_path / "copy"
    shutil.copytree(home, copied)
    path, text = engine.seen()
    assert Seat().sees(path, text)
    assert not Seat().sees(str(copied / Path(path).relative_to(home)), text)
    earlier.close()
    engine.close()
    assert not list((home / "working" / "launch").glob("seen-*"))


def nodes(*resources: dict[str, float]) -> SimpleNamespace:
    return SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": one} for one in resources])


@pytest.mark.parametrize(
    ("cluster", "options", "expected"),
    [
        (nodes({"CPU": 8}, {"CPU": 8}), (None, None, None), (2, 8)),
        (nodes({"CPU": 8}, {"CPU": 8}), (4, None, None), (4, 4)),
        (nodes({"CPU": 8}, {"CPU": 8}), (4, None, 8), (4, 4)),  # known threads of one do not beat the share of others
        (nodes({"CPU": 8}, {"CPU": 8}), (None, None, 2), (8, 2)),
        (nodes({"CPU": 16, "GPU": 4}, {"CPU": 16, "GPU": 4}, {"CPU": 2}), (None, None, None), (8, 4)),
        (nodes({"CPU": 16, "GPU": 4}), (None, 2, None), (2, 8)),
        (nodes({"CPU": 16, "GPU": 4}), (None, 0.5, None), (8, 2)),
        (nodes({"CPU": 16, "GPU": 4}), (2, None, None), (2, 8)),
    ],
)
def test_a_cluster_trains_as_many_fits_as_it_has_room_for(home, monkeypatch, cluster, options, expected):
    from heldout.launch import ray_cluster

    monkeypatch.setattr(ray_cluster, "connect", lambda _: cluster)
    workers, gpus, threads = options
    engine = ray_cluster.ray_engine([], "auto", workers, gpus, threads)
    assert (engine.workers, engine.threads) == expected


def test_gpus_that_no_node_has_are_refused(home, monkeypatch):
    from heldout.launch import ray_cluster

    monkeypatch.setattr(ray_cluster, "connect", lambda _: nodes({"CPU": 8, "GPU": 1}))
    with pytest.raises(UserError, match="--gpus-per-fit 2: no node of the cluster has as many GPUs; lower it"):
        ray_cluster.ray_engine([], "auto", None, 2, None)
    pair = SimpleNamespace(devices=2)
    with pytest.raises(UserError, match="devices = 2: no node of the cluster has as many GPUs; lower it"):
        ray_cluster.ray_engine([pair], "auto", None, None, None)
    monkeypatch.setattr(ray_cluster, "connect", lambda _: nodes({"CPU": 8, "GPU": 4}))
    assert ray_cluster.ray_engine([pair], "auto", None, None, None).workers == 2
