"""With others, through the command line: a teammate's predictions, data from elsewhere, and Kaggle's own client."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from heldout.blend.ledger import read_ledger
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.files import sha256_file
from heldout.train.import_run import export_map
from tests.data.miniatures import picture, save
from tests.data.test_kaggle import stand_in

__all__ = ["stand_in"]

pytestmark = [pytest.mark.journey, pytest.mark.extras]

SETTINGS = ("epochs=1", "fold_count=2", "seeds=(0,)", "competition=bones", "source_options={'patients':14,'size':48}")
OWN = f"exp001+dataset=tiny,{','.join(SETTINGS)}"
OTHER = OWN.replace("dataset=tiny", "dataset=other").replace("'size':48", "'seed':7,'size':48")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A home with one trained experiment, a teammate's predictions as a member, and two sealed decisions."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        assert run([OWN]) == 0
        own = load(OWN).spec
        assert run(["export-oof", own, "--output", str(home / "ana")]) == 0
        dataset = open_dataset(load(OWN))
        table = pd.read_csv(home / "ana" / "oof.csv", dtype={"id": str})
        rows = []
        for case in dataset.cases[dataset.cases["split"] != "train"].to_dict("records"):
            if case["case_id"] not in set(table["id"]):
                values = np.zeros((len(dataset.classes), 48, 48), np.uint8)
                values[:, 10:30, 10:30] = 200
                export_map(values, home / "ana" / "maps" / f"{case['case_id']}.npz")
                rows.append({"id": case["case_id"], **dict.fromkeys(dataset.classes, 200 / 255)})
        pd.DataFrame(rows).to_csv(home / "ana" / "test.csv", index=False)
        teammate = ["--oof", str(home / "ana" / "oof.csv"), "--test", str(home / "ana" / "test.csv")]
        for words in (
            ["import-oof", "ana", *teammate, "--maps", str(home / "ana" / "maps"), "--by", "Ana"],
            ["blend", own, "ana", "--name", "team", "--trials", "4"],
            ["freeze", "team"],
            ["blend", own, "--name", "solo", "--trials", "2"],
            ["freeze", "solo"],
            ["kernel", "solo", "--user", "ada"],
        ):
            assert run(words) == 0, words
        yield home


def test_a_teammates_tables_and_maps_are_blended_tested_and_submitted(project, stand_in, capsys):
    assert run(["test", "team"]) == 0
    assert "on the locked part" in capsys.readouterr().out
    assert run(["submit", "team", "--kaggle", "--message", "with Ana"]) == 0
    out = capsys.readouterr().out
    written = project / "submissions" / "team.csv"
    assert stand_in.uploads == [written.read_bytes()]
    (sent,) = stand_in.named("CreateSubmission")
    assert (sent["competitionName"], sent["submissionDescription"]) == ("bones", "with Ana")
    assert "bones: Successfully submitted" in out
    assert "Next: python run.py lb team --public SCORE" in out
    decision = json.loads((project / "working" / "blends" / "team" / "decision.json").read_text())
    assert "Ana" in json.dumps(decision)
    sample = pd.read_csv(project / "input" / "tiny" / "sample_submission.csv", dtype=str)
    assert list(pd.read_csv(written, dtype=str)["id"]) == list(sample["id"])


def test_a_refused_submission_stays_on_the_disk_and_is_one_sentence(project, stand_in, capsys):
    stand_in.refuses["StartSubmissionUpload"] = "You must accept this competition's rules"
    assert run(["submit", "solo", "--kaggle"]) == 2
    assert "error: kaggle cannot submit to bones" in capsys.readouterr().err
    assert (project / "submissions" / "solo.csv").is_file()


def test_a_decision_is_scored_on_data_from_elsewhere_once_and_on_record(project, capsys):
    open_dataset(load(OTHER))  # makes the other hospital's files
    assert run(["evaluate", "solo", "--on", OTHER]) == 0
    out = capsys.readouterr().out
    assert "of solo on other" in out
    assert "evaluation 1 of this decision there" in out
    before = read_ledger()
    assert (before[-1].evaluation.name, before[-1].evaluation.dataset) == ("solo", "other")
    assert run(["evaluate", "solo", "--on", OTHER]) == 2
    assert "--repeat" in capsys.readouterr().err
    assert read_ledger() == before


def test_a_kernel_is_pushed_with_its_weights(project, stand_in, capsys):
    assert run(["push", "solo", "--message", "one seed"]) == 0
    assert "https://kaggle.example" in capsys.readouterr().out
    assert [name for name, _ in stand_in.calls if name in ("CreateDataset", "SaveKernel")] == [
        "CreateDataset",
        "SaveKernel",
    ]
    weights = list((project / "kaggle_kernels" / "solo" / "dataset").rglob("*.safetensors"))
    assert weights
    assert sum(map(len, stand_in.uploads)) > sum(path.stat().st_size for path in weights) / 2  # they are zipped
    assert run(["push", "team"]) == 2
    assert "run `python run.py kernel team` first" in capsys.readouterr().err


def test_a_competition_is_downloaded_by_its_slug_and_init_reads_it(project, stand_in, tmp_path, capsys):
    for number in range(12):
        save(tmp_path / "bones" / f"train/{number}.png", picture(number, number % 2)[0])
    rows = "".join(f"{number},{number % 2}\n" for number in range(12))
    (tmp_path / "bones" / "train.csv").write_text(f"id,fracture\n{rows}")
    found = [path for path in (tmp_path / "bones").rglob("*") if path.is_file()]
    stand_in.files = {str(path.relative_to(tmp_path / "bones")): path.read_bytes() for path in found}
    assert run(["download", "bones", "--kaggle", "bones", "--license", "CC0"]) == 0
    assert "Kaggle: bones; license of the data: CC0" in capsys.readouterr().out
    folder = project / "input" / "bones"
    assert {sha256_file(path) for path in folder.rglob("*.png")} == {
        sha256_file(path) for path in found if path.suffix == ".png"
    }
    assert not list((project / "input").glob("*.zip"))
    stand_in.refuses["DownloadDataFiles"] = "You must accept this competition's rules"
    assert run(["download", "other_bones", "--kaggle", "other-bones"]) == 2
    assert "error: kaggle cannot download other-bones" in capsys.readouterr().err
    assert not (project / "input" / "other_bones").exists()
