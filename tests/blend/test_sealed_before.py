"""Decisions that earlier code sealed stay valid: they verify, are submitted as they were, and stay on the leaderboard.

The archives hold runs, datasets and submissions as an early version left them; exp921 ... exp925 are their experiments.
"""

from __future__ import annotations

import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heldout import files
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.verify import check_maps, open_decision
from heldout.deliver.submission.write import submit
from heldout.evaluate.collect import find_row
from heldout.evaluate.held_out import HeldOut
from heldout.files import REPOSITORY
from heldout.records import read_json

ARCHIVES = Path(__file__).parent / "sealed_before"
PACKAGE = REPOSITORY / "src" / "heldout"
OPENING = {"blend/verify.py", "blend/reference.py"}  # entered before anything is submitted
STEP = 1 / 255  # a map may differ by rounding where another processor adds in another order


@pytest.fixture(params=["labels", "masks", "stages"])
def sealed(request, known_experiments, home, monkeypatch) -> str:
    """Name of a decision that lies in a home of the test's own."""
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as archive:
        archive.extractall(home, filter="data")
    return request.param


def test_it_is_what_was_validated_and_submits_the_same(sealed, home):
    path = home / "working" / "blends" / sealed / "decision.json"
    before = path.read_bytes()
    assert check_maps(load_decision(sealed)) == []
    assert freeze(sealed).read_bytes() == before
    stored = pd.read_csv(home / "submissions" / f"{sealed}.csv", index_col="id")
    fresh = pd.read_csv(submit(open_decision(sealed)), index_col="id")
    assert list(fresh.index) == list(stored.index)
    assert list(fresh.columns) == list(stored.columns)
    np.testing.assert_allclose(fresh, stored, atol=1e-5 if sealed == "labels" else STEP)


def test_its_way_to_a_submission_is_the_one_in_the_plan_of_the_code(sealed):
    entered: set[str] = set()

    def follow(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE) and frame.f_code.co_name != "<module>":
            entered.add(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(follow)
    try:
        opened = open_decision(sealed)
        opening, entered = entered, set()
        submit(opened)
    finally:
        sys.setprofile(None)
    opening, entered = (
        {path for path in paths if path.startswith(("blend/", "deliver/"))} for paths in (opening, entered)
    )
    steps = (REPOSITORY / "docs" / "house.md").read_text().partition("to a submission")[2].partition("## Rules")[0]
    listed = set(re.findall(r"`([\w/]+\.py)`", steps))
    assert entered <= listed - OPENING
    assert opening <= listed
    assert len(opening | entered) <= 15


def test_frozen_today_members_without_weight_are_dropped_and_nothing_else_changes(sealed, home, capsys):
    path = home / "working" / "blends" / sealed / "decision.json"
    files.write_json(path, {**read_json(path), "kept": None, "sealed_at": None, "seal": None})
    before = load_decision(sealed)
    case = load_member(before.members[0].name).cases["case_id"].iloc[0]
    expected = HeldOut.of_blend(before).prediction(case)
    freeze(sealed)
    decision = load_decision(sealed)
    dropped = [one.member.name for one in decision.search.dropped]
    assert dropped == {"labels": [], "masks": ["exp922", "exp923"], "stages": ["exp925"]}[sealed]
    assert [one.name for one in decision.searched] == [one.name for one in before.members]
    assert [one.name for one in decision.members] == [one.name for one in before.members if one.name not in dropped]
    assert all(f"{name} has no weight and is dropped" in capsys.readouterr().err for name in dropped[:1])
    stored = pd.read_csv(home / "submissions" / f"{sealed}.csv", index_col="id")
    fresh = pd.read_csv(submit(open_decision(sealed)), index_col="id")
    np.testing.assert_allclose(fresh, stored, atol=1e-5 if sealed == "labels" else STEP)
    np.testing.assert_array_equal(HeldOut.of_blend(decision).prediction(case).scores, expected.scores)


def test_it_is_on_the_leaderboard_with_its_score(sealed, home):
    stored = read_json(home / "working" / "blends" / sealed / "decision.json")
    assert find_row(sealed).score == pytest.approx(stored["score"]["cross_fitted"])


def test_they_cover_calibration_components_and_presence(sealed, home):
    stored = read_json(home / "working" / "blends" / sealed / "decision.json")
    covered = {
        "labels": lambda: stored["calibration"]["method"] == "temperature",
        "masks": lambda: set(stored["spatial"]) == {"small", "large"} and len(stored["presence"]["shares"]) > 1,
        "stages": lambda: stored["members"][1]["first_stage"]["spec"] == "exp921",
    }
    assert covered[sealed]()
