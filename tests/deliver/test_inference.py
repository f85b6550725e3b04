"""Names and statuses of what ``predict`` writes."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from heldout.deliver.predict_folder import examine, find_cases, output_stems
from heldout.deliver.predict_tables import write_table
from heldout.errors import UserError
from tests.data.toy import get_source


@pytest.fixture
def folder(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (64, 48), np.uint8)
    for name in ("good.png", "cut.png", "cut.jpg"):
        cv2.imwrite(str(tmp_path / name), picture)
    for name, share in (("cut.png", 0.3), ("cut.jpg", 0.7)):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    return tmp_path


@pytest.fixture
def rows(folder):
    source = get_source("phantom", folder, {})
    return {row["name"]: (source, row) for row in source.loose(folder).to_dict("records")}


def test_a_good_file_is_ok_whether_or_not_bad_ones_may_be_skipped(rows):
    assert examine(*rows["good.png"], skip_bad=False) == ("ok", "")
    assert examine(*rows["good.png"], skip_bad=True) == ("ok", "")


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_a_damaged_file_stops_the_command_and_is_named_with_the_remedy(rows, name):
    with pytest.raises(UserError, match=rf"{name}.*--skip-bad"):
        examine(*rows[name], skip_bad=False)


def test_what_is_left_of_a_file_is_predicted_with_a_note_and_the_rest_listed(rows):
    status, note = examine(*rows["cut.jpg"], skip_bad=True)
    assert status == "salvaged"
    assert "cut.jpg" in note
    status, note = examine(*rows["cut.png"], skip_bad=True)
    assert status == "skipped"
    assert "cut.png" in note


def test_an_image_of_another_kind_stops_the_command_or_is_listed_as_skipped(folder):
    for name in ("cut.png", "cut.jpg"):
        (folder / name).unlink()
    (folder / "ward").mkdir()
    (folder / "ward" / "scan.gif").write_bytes(b"GIF89a")
    (folder / "notes.txt").write_text("notes")
    source = get_source("phantom", folder, {})
    with pytest.raises(UserError, match=r"ward/scan\.gif is not an image .*: convert it to \.png .*--skip-bad"):
        find_cases(source, folder, skip_bad=False)
    rows, notes = find_cases(source, folder, skip_bad=True)
    found = {row["name"]: notes[case_id][0] for case_id, row in rows.items()}
    assert found == {"good.png": "ok", "ward/scan.gif": "skipped"}


def test_cases_that_share_an_id_are_named_and_none_is_lost(folder, monkeypatch):
    twins = [{"case_id": "x", "patient_id": "x", "image": "", "name": f"{site}/x.png"} for site in ("siteA", "siteB")]
    monkeypatch.setattr("heldout.data.sources.phantom.Phantom._loose_rows", lambda *_: twins)
    with pytest.raises(UserError, match=r"siteA/x\.png and siteB/x\.png have the same case id x: rename one"):
        find_cases(get_source("phantom", folder, {}), folder, skip_bad=True)


def test_masks_are_named_after_their_inputs_and_never_collide():
    names = {"1": "a.jpg", "2": "a.png", "3": "sub/a.png", "4": "scan.nii.gz", "5": "v1.2.png"}
    assert output_stems(names) == {"1": "a.jpg", "2": "a.png", "3": "sub/a", "4": "scan", "5": "v1.2"}


def test_every_input_has_a_row_and_a_skipped_one_no_probability(tmp_path):
    path, rows = tmp_path / "predictions.csv", {"x": {"name": "a, b.png"}, "y": {"name": "c.png"}}
    write_table(path, rows, {"x": [0.25, 1.0]}, {"x": ("ok", ""), "y": ("skipped", 'said "no"')}, ("small", "large"))
    with open(path, newline="") as handle:
        read = list(csv.reader(handle))
    assert read == [
        ["name", "p_small", "p_large", "status", "note"],
        ["a, b.png", "0.250000", "1.000000", "ok", ""],
        ["c.png", "", "", "skipped", 'said "no"'],
    ]
