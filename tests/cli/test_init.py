"""``init`` on real files: it writes an experiment that ``folds`` takes, or asks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from heldout import files
from heldout.cli import run
from tests.data.miniatures import LAYOUTS, picture, save, table


@pytest.fixture
def competition(tmp_path, monkeypatch, home):
    """Writes a dataset below ``input/``; experiments go to a repository of the test's own."""
    import exps

    (tmp_path / "exps").mkdir()
    (tmp_path / "exps" / "__init__.py").touch()
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(tmp_path / "exps")])
    monkeypatch.delenv("HELDOUT_DATA", raising=False)

    def write(name):
        folder = home / "input" / name
        folder.mkdir(parents=True)
        if name in LAYOUTS:
            LAYOUTS[name](folder)
        return folder

    yield write
    sys.modules.pop("exps.exp990", None)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_init_writes_what_folds_takes(competition, capsys, name, tmp_path):
    competition(name)
    assert run(["init", name, "--yes", "--name", "exp990"]) == 0
    out = capsys.readouterr().out
    assert "exps/exp990.py" in out
    assert "Next: python run.py folds exp990" in out
    assert len((tmp_path / "exps/exp990.py").read_text().splitlines()) <= 40
    assert run(["folds", "exp990"]) == 0


def test_without_a_terminal_open_questions_are_listed(competition, capsys):
    competition("bids")
    assert run(["init", "bids", "--name", "exp990"]) == 2
    out, err = capsys.readouterr()
    assert "path: Which volumes are the images?" in out
    assert "  1  FLAIR: 28 files" in out
    assert "bids leaves 2 open questions, and this is not a terminal: add --yes" in err
    assert "or answers such as --answer path=1" in err
    answers = ["--answer", "path=2", "--answer", "labels=1"]
    assert run(["init", "bids", "--name", "exp990", *answers]) == 0
    assert "_T1w.nii.gz" in (files.project() / "exps/exp990.py").read_text()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("path=9", "--answer path=9: the question has the choices 1 ... 3"),
        ("fold=1", "--answer fold: no such question was asked; the questions were path, labels"),
        ("path", "--answer 'path': write the question and the number of a choice"),
    ],
)
def test_a_wrong_answer_is_named(competition, capsys, answer, message):
    competition("bids")
    assert run(["init", "bids", "--yes", "--name", "exp990", "--answer", answer]) == 2
    assert message in capsys.readouterr().err


def test_a_terminal_is_asked(competition):
    competition("coco")
    ours, theirs = pty.openpty()
    code = "from heldout.cli import main; main()"
    command = [sys.executable, "-c", code, "init", "coco", "--name", "exp990"]
    environment = {**os.environ, "PYTHONPATH": str(files.REPOSITORY / "src")}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        os.write(ours, b"9\n2\n")
        assert running.wait(60) == 0
    os.close(ours)
    assert "class Exp990(Classify2D)" in (files.project() / "exps/exp990.py").read_text()


def test_a_missing_folder_and_a_damaged_table_are_named(competition, capsys):
    assert run(["init", "nothing"]) == 2
    assert "dataset folder" in capsys.readouterr().err
    folder = competition("twice")
    for number in range(4):
        save(folder / f"images/{number}.png", picture(number, 1)[0])
    table(folder / "train.csv", "id,sick", ["0,1", "1,0", "2,1", "2,0"])
    assert run(["init", "twice", "--yes", "--name", "exp990"]) == 2
    assert "train.csv" in capsys.readouterr().err
