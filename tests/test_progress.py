"""Progress bars fit the terminal: what runs is cut, numbers and notes are not."""

from __future__ import annotations

import io

import pytest
import rich.console

from heldout.progress import progress_bar, track


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns; what was written to it."""
    out, console = io.StringIO(), rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: console(file=out, force_terminal=True, width=80))
    return out


def test_numbers_and_the_note_of_an_epoch_are_whole_at_80_columns(terminal):
    with progress_bar() as bar:
        task = bar.add_task("exp040_lite0+dataset=bones,lr=0.001,epochs=3 seed 0 fold 1", total=3000)
        bar.update(task, completed=1234, note="epoch 3/15  loss 0.1234  dice_pos 0.4412")
    lines = terminal.getvalue()
    assert "exp040_lite0+dataset=bones" in lines
    assert "1234/3000" in lines
    assert "left" in lines
    assert "epoch 3/15  loss 0.1234  dice_pos 0.4412" in lines
    assert "…" not in lines.split("1234/3000")[1]


def test_items_pass_through_and_are_counted(terminal):
    assert list(track("abc", 3, "Predicting cases")) == ["a", "b", "c"]
    assert "3/3" in terminal.getvalue()


def test_a_disabled_bar_writes_nothing(terminal):
    assert list(track("abc", 3, "Predicting cases", disable=True)) == ["a", "b", "c"]
    assert terminal.getvalue() == ""
