"""The command line: help with an example, and one sentence for a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from heldout import cli
from heldout.cli import app, run
from heldout.files import REPOSITORY

cli.import_commands()
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example: python run.py" in text
    assert command in text


def test_every_command_is_found_in_the_module_that_holds_it():
    held: dict[str, set[str]] = {}
    for one in app.registered_commands:
        held.setdefault(one.callback.__module__, set()).add(one.name or one.callback.__name__)
    for group in app.registered_groups:
        held.setdefault(group.typer_instance.registered_commands[0].callback.__module__, set()).add(group.name)
    assert held == {f"heldout.cli.{module}": set(names) for module, names in cli._COMMANDS.items()}


def test_a_command_imports_no_other_commands(home):
    code = (
        "import sys; from heldout.cli import run; run(['experiments']); "
        "sys.exit(' '.join(name for name in sys.modules if name in ('heldout.cli.reports', 'heldout.cli.queue')))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr.strip()


def test_without_words_there_is_help(capsys):
    assert run([]) == 0
    assert "leaderboard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foldz"], "did you mean `folds`"),
        (["nonsense"], "the commands are"),
        (["--nonsense"], "no such option: --nonsense"),
        (["train"], "missing argument 'EXPERIMENT...'"),
        (["folds", "exp001", "--budgett", "quick"], "--budget"),
        (["exp999"], "exps/exp999.py does not exist"),
        (["exp001", "--fold", "9"], "exp001 has no fold 9: it has 0, 1"),
        (["exp001", "--fold", "x"], "invalid value for '--fold'"),
        (["exp001", "--seed", "5"], "exp001 has no seed 5"),
        (["exp001", "--budget", "huge"], "no budget 'huge'"),
        (["exp001", "--set", "lrr=1"], "unknown field 'lrr'; did you mean 'lr'"),
        (["exp001", "--set", "lr"], "write field=value"),
        (["exp001", "--set", "lr=-1"], "lr = -1"),
        (["predict", "exp001", "--output", "x"], "missing option '--input'"),
        (["results"], "holds no finished run"),
        (["blend", "exp001", "--name", "x", "--seed", "-1"], "invalid value for '--seed'"),
        (["search", "exp001", "--processes", "1000"], "invalid value for '--processes'"),
        (["unpack", "/"], "/ is not a regular file: name a file that `pack` wrote"),
        (["pack", "exp001", "--output", "/"], "--output / is a folder: name the file to write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(home, capsys, words, message):
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("group", ["track", "registry", "corrections"])
def test_a_group_of_commands_without_one_shows_what_there_is(home, capsys, group):
    assert run([group]) == 2
    captured = capsys.readouterr()
    assert "Commands" in captured.out
    assert captured.err == f"error: missing command: see `python run.py {group} --help`\n"


def test_results_without_runs_leave_an_existing_file_alone(home):
    (home / "RESULTS.md").write_text("scores")
    assert run(["results"]) == 2
    assert (home / "RESULTS.md").read_text() == "scores"


def test_predict_refuses_folders_that_could_hurt_the_input(home, tmp_path, capsys):
    new, full = tmp_path / "new", tmp_path / "full"
    for folder in (new, full):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
    for output, message in (
        (new / "out", "contain one another"),
        (tmp_path, "contain one another"),
        (full, "not empty"),
    ):
        assert run(["predict", "exp001", "--input", str(new), "--output", str(output)]) == 2
        assert message in capsys.readouterr().err
    assert run(["predict", "exp001", "--input", str(tmp_path / "none"), "--output", str(tmp_path / "o")]) == 2
    assert "not a folder" in capsys.readouterr().err


def test_listings_print_json_and_nothing_else(home, capsys):
    assert run(["leaderboard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["experiments", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["exp002"]["parent"] == "exp001"
    assert "patch_size = [64, 64]" in rows["exp002"]["changed"]
    assert all(row["error"] is None for row in rows.values())


def test_an_interrupt_is_one_line_and_exit_code_130(home):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "run.py", "exp001"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--look-again", "why"], ["--look-again=why"]])
def test_the_earlier_name_of_an_option_is_accepted_with_a_note(home, capsys, words):
    assert run(["test", "nothing", *words]) == 2
    told = capsys.readouterr().err
    assert "note: --look-again is now called --repeat" in told
    assert "No such option" not in told
    assert "nothing" in told
