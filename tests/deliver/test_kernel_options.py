"""What ``kernel`` refuses at the door, before a decision is even looked for."""

from __future__ import annotations

import pytest

from heldout.cli import run


@pytest.mark.parametrize("user", ["", "ada/lovelace", "ada lovelace", "ada@example.org", "a" * 51])
def test_a_user_that_kaggle_could_not_have_is_refused(user, capsys, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    assert run(["kernel", "no-such-decision", "--user", user]) == 2
    assert f"--user {user!r} (or $KAGGLE_USERNAME) is not a Kaggle user name" in capsys.readouterr().err


def test_the_user_of_the_environment_is_checked_as_well(capsys, monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "ada lovelace")
    assert run(["kernel", "no-such-decision"]) == 2
    assert "--user 'ada lovelace'" in capsys.readouterr().err


@pytest.mark.parametrize("user", ["ada", "Ada_L-1815"])
def test_a_fitting_user_gets_past_the_door(user, capsys):
    assert run(["kernel", "no-such-decision", "--user", user]) == 2
    assert "no-such-decision" in capsys.readouterr().err


def test_a_wheel_that_is_none_is_refused(tmp_path, capsys):
    assert run(["kernel", "no-such-decision", "--wheel", str(tmp_path / "monai.tar.gz")]) == 2
    assert "monai.tar.gz is not a wheel: fetch it with `pip download" in capsys.readouterr().err
