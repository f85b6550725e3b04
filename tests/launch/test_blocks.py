"""Intervals of a metric of the user's own, shared by the workers of an engine."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from heldout import files
from heldout.cli import run
from heldout.errors import UserError
from heldout.launch import blocks
from heldout.launch.local import local_engine
from heldout.metrics import left_out
from heldout.metrics.jackknife import intervals
from tests.finished_runs import TINY

SLOW = """
import contextlib
import os
import sys
from pathlib import Path

import heldout as ho
import numpy as np

KILLED = Path(__file__).with_name("killed")


@ho.metric(higher_is_better=True)
def slow(cases, weights):
    if os.environ.get("KILL") and "blocks" in str(sys.modules["__main__"].__spec__):
        with contextlib.suppress(FileExistsError):  # one process alone
            KILLED.touch(exist_ok=False)
            os.kill(os.getpid(), 9)
    y, p = cases.truth[:, 0], np.sqrt(cases.probability[:, 0])
    return (weights * np.where(y, p, 1 - p)).sum(1) / weights.sum(1)
"""


def tables() -> list[pd.DataFrame]:
    random, ids = np.random.default_rng(0), [f"p{number:02}" for number in range(60)]
    same = {"case_id": ids, "patient_id": ids, "fold": [0, 1] * 30, "y_a": [0, 1, 1] * 20}
    return [pd.DataFrame({**same, "p_a": random.random(60)}) for _ in range(2)]


@pytest.fixture
def slow(experiments, monkeypatch):
    """A metric whose intervals are always worth several processes."""
    (experiments / "metrics.py").write_text(SLOW, encoding="utf-8")
    monkeypatch.setattr(blocks, "START_SECONDS", 0.0)
    monkeypatch.setattr(left_out, "_elsewhere", [])
    return experiments


def test_processes_give_the_bits_of_one_and_a_killed_one_loses_nothing(slow, monkeypatch):
    alone, said = intervals("slow", tables(), ["a"]), []
    monkeypatch.setenv("KILL", "1")
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 2)
    blocks.spread_intervals(lambda: local_engine(2, 0, None), said.append)
    assert intervals("slow", tables(), ["a"]) == alone
    assert (slow / "killed").exists()
    assert sum("is gone; it goes on after its last block" in line for line in said) == 1
    assert sum(line.endswith("finished") for line in said) == 2
    assert not list((files.home() / "working" / "queue" / "intervals").iterdir())


def test_a_command_that_was_stopped_goes_on_after_the_last_block(slow, monkeypatch):
    alone, made = intervals("slow", tables(), ["a"]), []

    def stopped(engine, work, say):
        made.append(work.done())
        blocks._score_part(work.folder, blocks.Part(1, 2 if len(made) == 1 else 1))
        if len(made) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(blocks, "run_in_parts", stopped)
    blocks.spread_intervals(lambda: None, print)
    with pytest.raises(KeyboardInterrupt):
        intervals("slow", tables(), ["a"])
    assert intervals("slow", tables(), ["a"]) == alone
    assert made == [0, 4]  # of 7 beside the first


def test_an_engine_that_cannot_be_had_ends_the_leaderboard(finish, own_file, monkeypatch, capsys):
    own_file(SLOW)
    monkeypatch.setattr(blocks, "START_SECONDS", 0.0)
    monkeypatch.setattr(left_out, "_elsewhere", [])
    finish(f"{TINY},metric='slow'", seeds=(0,))
    assert run(["leaderboard", "--engine", "local", "--workers", "999"]) == 2
    assert "--workers 999: this machine has" in capsys.readouterr().err
    left_out._elsewhere.clear()
    assert run(["leaderboard", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["score"] is not None


def test_a_metric_that_fails_in_a_part_is_named_with_its_log(slow, monkeypatch):
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 1)
    intervals("slow", tables(), ["a"])
    text = SLOW.replace("y, p =", "raise ho.UserError('no')\n    y, p =")
    blocks.spread_intervals(lambda: (slow / "metrics.py").write_text(text) and local_engine(1, 0, None), print)
    with pytest.raises(UserError, match=r"part 1/1 failed \(.*\): see .*interval-[0-9a-f]{16}-1of1.log"):
        intervals("slow", tables(), ["a"])
