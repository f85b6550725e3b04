"""From a raw folder to the file that its sample submission asks for, on layouts that ``init`` was tried on last."""

from __future__ import annotations

import csv
import sys

import pytest

from heldout.cli import run
from tests.data.further_layouts import FURTHER
from tests.data.to_submission import TO_SUBMISSION

SUBMITTED = {
    "rsna_hemorrhage": "stage_2_sample_submission.csv",
    **dict.fromkeys(
        (
            "wheat",
            "box_strings",
            "hpa",
            "rsna_mammography",
            "rsna_lumbar",
            "cervical_spine",
            "abdominal_trauma",
            "pcam",
            "hubmap_organs",
        ),
        "sample_submission.csv",
    ),
}
FAST = ["--set", "epochs=1", "--set", "fold_count=2", "--set", "test_fraction=0", "--set", "workers=0"]
SMALL = ["--set", "steps_per_epoch=1"]


@pytest.fixture
def layout(tmp_path, monkeypatch, home):
    import exps

    (tmp_path / "exps").mkdir()
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(tmp_path / "exps")])
    monkeypatch.delenv("HELDOUT_DATA", raising=False)

    def write(name):
        folder = home / "input" / name
        folder.mkdir(parents=True)
        (TO_SUBMISSION | FURTHER)[name](folder)
        return folder

    yield write
    sys.modules.pop("exps.exp990", None)


@pytest.mark.journey
@pytest.mark.parametrize("name", sorted(set(TO_SUBMISSION | FURTHER) - set(SUBMITTED)))
def test_init_writes_what_folds_takes(layout, name, capsys):
    layout(name)
    assert run(["init", name, "--yes", "--name", "exp990"]) == 0
    assert run(["folds", "exp990"]) == 0, capsys.readouterr().err


@pytest.mark.journey
@pytest.mark.parametrize("name", SUBMITTED)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_submission_has_the_rows_and_columns_of_the_sample(layout, name, home, capsys):
    folder = layout(name)
    assert run(["init", name, "--yes", "--name", "exp990"]) == 0
    assert run(["exp990", *FAST, *SMALL]) == 0, capsys.readouterr().err
    spec = next((home / "working" / "runs").iterdir()).name
    assert run(["blend", spec, "--name", "all"]) == 0
    assert run(["freeze", "all"]) == 0
    assert run(["submit", "all"]) == 0, capsys.readouterr().err
    with (folder / SUBMITTED[name]).open() as sample, (home / "submissions" / "all.csv").open() as written:
        wanted, found = list(csv.reader(sample)), list(csv.reader(written))
    assert found[0] == wanted[0]
    assert [row[0] for row in found] == [row[0] for row in wanted]
    assert run(["check-submission", "all", str(home / "submissions" / "all.csv")]) == 0


@pytest.mark.journey
@pytest.mark.parametrize(("answer", "columns"), [("1", ["id", "detections"]), ("4", ["id", "Negative for Pneumonia"])])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_images_and_studies_of_one_dataset_are_submitted_each(layout, home, capsys, answer, columns):
    layout("siim_covid")
    assert run(["init", "siim_covid", "--name", "exp990", "--answer", f"labels={answer}"]) == 0
    assert run(["exp990", *FAST, *SMALL]) == 0, capsys.readouterr().err
    spec = next((home / "working" / "runs").iterdir()).name
    assert run(["blend", spec, "--name", "all", "--trials", "3"]) == 0
    assert run(["freeze", "all"]) == 0
    assert run(["submit", "all"]) == 0, capsys.readouterr().err
    with (home / "submissions" / "all.csv").open() as written:
        header, *rows = list(csv.reader(written))
    assert header[:2] == columns
    assert [row[0] for row in rows] == [f"{70000 + number:012x}_image" for number in range(3)]
