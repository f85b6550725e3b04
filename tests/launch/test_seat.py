"""A place of a node, what it receives, and what it tells."""

from __future__ import annotations

import time

import pytest

from heldout import files
from heldout.errors import UserError
from heldout.launch.seat import Part, Seat, make_own, receive
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
        assert [(name, data) for name, _, data, _ in parts] == [("run.json", b"1"), ("run.json", b"")]
    assert len(asked) == 1


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
    assert [name for name, *_ in told(seat)[2]] == ["a"]
    assert not left.exists()


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


@pytest.mark.parametrize("name", ["/tmp/x", "../x"])
def test_a_file_that_belongs_elsewhere_is_not_written(tmp_path, name):
    with pytest.raises(UserError, match=f"a node sent {name}, which is no file of"):
        Arrival(tmp_path / "fold0").take([(name, 0, b"abc", None)])
