"""Commands about experiment files, on real files in ``exps/``."""

from __future__ import annotations

import json
import sys

import pytest

from heldout import files
from heldout.cli import run
from heldout.config.texts import parse
from heldout.errors import UserError
from heldout.tasks.create import write_experiment


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Names for new experiments, in a repository of the test's own beside the experiments that there are."""
    import exps

    (tmp_path / "exps").mkdir()
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(tmp_path / "exps")])
    names = ["exp980", "exp981_try"]
    yield names
    for name in names:
        sys.modules.pop(f"exps.{name}", None)


def test_fields_tells_value_default_origin_and_what_is_allowed(capsys):
    assert run(["fields", "exp002@quick", "--set", "lr=0.1", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["lr"]["value"], rows["lr"]["default"], rows["lr"]["set_by"]) == (0.1, 0.001, "--set")
    assert (rows["epochs"]["value"], rows["epochs"]["set_by"]) == (2, "budget quick")
    assert (rows["loss"]["value"], rows["loss"]["set_by"]) == ("tversky", "exp002")
    assert (rows["encoder"]["set_by"], rows["ema_decay"]["set_by"]) == ("exp001", "BaseConfig")
    assert rows["ema_decay"]["allowed"] == "float > 0, < 1 | None"
    assert all(row["description"] for row in rows.values())


@pytest.mark.parametrize("words", [["exp002", "epochs", "lr"], ["epochs", "lr"]], ids=["of an experiment", "of tasks"])
def test_fields_shows_those_that_are_named_alone(capsys, words):
    assert run(["fields", *words, "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == {"epochs", "lr"}


def test_fields_names_the_nearest_of_one_that_does_not_exist(capsys):
    assert run(["fields", "exp002", "epoch"]) == 2
    assert "there is no field 'epoch'; did you mean 'epochs'?" in capsys.readouterr().err


def test_fields_without_an_experiment_lists_those_of_every_task(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["fields"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"dropout = 0.0", "encoder = 'resnet18'", "filters = (16, 32, 64, 128)"} <= {line.rstrip() for line in lines}
    assert max(map(len, lines)) <= 80


def test_new_writes_a_file_that_passes_its_checks(written, capsys):
    command = ["new", written[1], "--from", "exp001", "--title", "A larger learning rate.", "--set", "lr=0.01"]
    assert run(command) == 0
    assert run(["check", written[1]]) == 0
    assert "network, loss and gradients" in capsys.readouterr().out
    assert run(command) == 2
    assert "exists already: choose another name" in capsys.readouterr().err


def test_check_names_what_a_new_experiment_lacks(written, capsys):
    assert run(["new", written[0], "--from", "Segment2D", "--title", "Nothing is set."]) == 0
    assert run(["check", written[0]]) == 2
    assert "dataset is empty: set it" in capsys.readouterr().out


def test_check_refuses_a_child_that_changes_nothing(written, capsys):
    assert run(["new", written[0], "--from", "exp001", "--title", "Nothing is changed."]) == 0
    assert run(["check", written[0]]) == 2
    assert "it changes nothing of exp001" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "parent", "title", "settings", "message"),
    [
        ("060", "exp040", "A title.", [], "cannot name an experiment"),
        ("exp980", "exp999", "A title.", [], "exps/exp999.py does not exist"),
        ("exp980", "exp040", 'A "title".', [], "without double quotes"),
        ("exp980", "exp040", "", [], "one line of 1 to 100 letters"),
        ("exp980", "exp040", "A title.", ["lrr=1"], "did you mean 'lr'"),
        ("exp980", "exp040", "A title.", ["lr=many"], "lr = 'many'"),
    ],
)
def test_a_wrong_new_experiment_is_refused_and_leaves_no_file(written, name, parent, title, settings, message):
    with pytest.raises(UserError) as caught:
        write_experiment(name, parent, title, dict(map(parse, settings)))
    assert message in str(caught.value)
    assert not (files.project() / "exps" / "exp980.py").exists()


def test_an_earlier_name_is_told_with_today_s(capsys):
    assert run(["fields", "exp040s", "--json"]) == 0
    assert "exp040s is now called exp040_stretch" in capsys.readouterr().err


def test_experiments_lists_one_title_each_and_one_experiment_in_full(capsys):
    assert run(["experiments"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 170
    assert run(["experiments", "exp042_warm"]) == 0
    assert "warm_start = 'exp040'" in capsys.readouterr().out
