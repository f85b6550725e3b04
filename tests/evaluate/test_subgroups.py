"""Scores by subgroup, and of sealed decisions on labeled data from elsewhere."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.blend.ledger import read_ledger
from heldout.blend.members import load_member
from heldout.cli import run as command
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.subgroups import parse_by, score_subgroups
from heldout.metrics import interval
from tests.finished_runs import finish_fit

COHORT = "exp004+dataset=cohort,source=table,source_options={'labels':'sick'},near_duplicates=False,fold_count=2"


@pytest.fixture
def cohort(home, monkeypatch) -> str:
    """A run on a table with sites and ages."""
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    random, folder = np.random.default_rng(0), home / "input" / "cohort"
    folder.mkdir(parents=True)
    rows = []
    for number in range(90):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (24, 24), np.uint8))
        site, age = "AB"[number % 2], "" if number == 5 else str(20 + number)
        rows.append((f"case{number}", f"{number}.png", int(random.random() < 0.5), site, age))
    pd.DataFrame(rows, columns=["id", "path", "sick", "site", "age"]).to_csv(folder / "table.csv", index=False)
    for fold in (0, 1):
        finish_fit(COHORT, 0, fold, skill=1.2)
    from heldout.config import load

    return load(COHORT).spec


def test_subgroups_are_scored_as_their_cases_alone(cohort):
    held = open_held_out(cohort)
    by = ["site", "age:3", "fold"]
    found = score_subgroups(held.metric, held.ranking_table, held.classes, held.dataset.source, by)
    assert [one.by for one in found] == ["all cases", *["site"] * 2, *["age:3"] * 4, *["fold"] * 2]
    assert found[0].score == pytest.approx(find_row(cohort).score)
    table = held.ranking_table
    even = table["case_id"].str.removeprefix("case").astype(int) % 2 == 0
    expected = interval(held.metric, table[even], held.classes)
    assert (found[1].value, found[1].score, found[1].low) == ("A", expected.value, expected.low)
    ages = [one for one in found if one.by == "age:3"]
    assert sum(one.cases for one in ages) == len(table)
    assert ages[-1].value == "unknown"
    assert ages[-1].score is None
    lower = [float(one.value.strip("(").partition(",")[0]) for one in ages[:-1]]
    assert lower == sorted(lower)


def test_the_command_prints_a_table_or_json(cohort, capsys):
    assert command(["evaluate", cohort, "--by", "site"]) == 0
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert command(["evaluate", cohort, "--by", "site", "--format", "latex"]) == 0
    assert r"\toprule" in capsys.readouterr().out
    assert command(["evaluate", cohort, "--by", "site", "--metric", "brier", "--json"]) == 0
    assert [one["value"] for one in json.loads(capsys.readouterr().out)] == ["", "A", "B"]
    assert command(["evaluate", cohort, "--by", "scanner"]) == 2
    assert "has the column 'scanner'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["site,,age", "site,site", ","])
def test_columns_are_named_once_each(text):
    with pytest.raises(UserError, match="must name columns once each, separated by commas"):
        parse_by(text)


def test_the_one_test_evaluation_is_shown_by_subgroup_too(runs, capsys):
    cases = load_member("exp914").dataset.part("test")
    assert command(["test", "exp914", "--by", "scanner"]) == 2
    assert "has the column 'scanner'" in capsys.readouterr().err
    assert read_ledger() == []  # nothing was spent
    assert command(["test", "exp914", "--by", "patient_id"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    [entry] = read_ledger()
    assert entry.evaluation.decision_evals == 1
    shown = {line[1]: line for line in lines if line[:1] == ["patient_id"]}
    assert set(shown) == set(cases["patient_id"])
    for patient, line in shown.items():
        assert line[2:4] == [str((cases["patient_id"] == patient).sum()), "1"]
