"""`doctor` names what is wrong with a machine or a project, and how to fix it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from heldout import files
from heldout.cli import doctor as module
from heldout.cli import run


def findings(capsys, *words: str) -> dict[str, tuple[str, str]]:
    code = run(["doctor", "--format", "json", *words])
    assert code in (0, 2)
    return {row["what"]: (row["state"], row["found"]) for row in json.loads(capsys.readouterr().out)}


def test_a_sound_machine_has_no_bad_finding(home, capsys):
    found = findings(capsys, "--quick")
    assert {"Python", "packages", "processor", "memory", "GPU", "writing", "locks", "experiments", "weights"} <= set(
        found
    )
    assert all(state != "bad" for state, _ in found.values())
    assert run(["doctor", "--quick"]) == 0
    assert "none is bad" in capsys.readouterr().out


def test_a_held_folder_is_named_with_its_holder(home, capsys):
    code = "import sys, time; from pathlib import Path; from heldout import files\n"
    code += "with files.lock(Path(sys.argv[1]), 'training exp001'): print('held', flush=True); time.sleep(60)"
    folder = home / "working" / "runs" / "exp001"
    environment = {**os.environ, "PYTHONPATH": str(files.REPOSITORY / "src")}
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, env=environment) as holder:
        holder.stdout.readline()
        state, found = findings(capsys, "--quick")["locks"]
        holder.kill()
    assert state == "note"
    assert found.startswith("working/runs/exp001: process ")
    assert "training exp001" in found


def test_a_broken_experiment_and_a_missing_dataset_are_named(tmp_path, home, monkeypatch, capsys):
    (tmp_path / "exps").mkdir()
    (tmp_path / "exps" / "exp997.py").write_text("import nothing_of_the_kind\n")
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setattr("exps.__path__", [str(tmp_path / "exps")])
    assert findings(capsys, "--quick")["experiments"][0] == "bad"
    assert run(["doctor", "--quick"]) == 2
    said = capsys.readouterr()
    assert "imports nothing_of_the_kind, which does not exist" in " ".join(said.out.split())
    assert "1 of " in said.err
    assert "checks are bad (experiments): see the table for the remedy" in said.err


@pytest.mark.parametrize(("words", "state"), [(("folds exp001@quick",), "ok"), (("folds exp999",), "bad")])
def test_the_self_test_leaves_the_home_alone(home, monkeypatch, capsys, words, state):
    monkeypatch.setattr(module, "SELF_TEST", words)
    found = findings(capsys)["self-test"]
    assert found[0] == state, found
    assert not (home / "working" / "data").exists()
    assert state == "ok" or "`folds exp999` fails with UserError: exps/exp999.py does not exist" in found[1]


@pytest.mark.journey
def test_the_whole_self_test_passes(home, capsys):
    state, found = findings(capsys)["self-test"]
    assert state == "ok", found
