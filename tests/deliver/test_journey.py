"""The whole journey through the command line, on few and small phantoms, and what it refuses on the way."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest

from heldout.cli import run
from heldout.data.rle import RunLengths

pytestmark = pytest.mark.journey

IMAGES = "exp001+dataset=tiny,epochs=2,seeds=(0,),source_options={'patients':14,'size':48}"
CHILD = IMAGES.replace("epochs=2", "epochs=1")
VOLUMES = "exp003+dataset=tiny3d,epochs=1,seeds=(0,),steps_per_epoch=2,submission=masks"


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """A home where everything up to the leaderboard was done once."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        for words in (
            ["folds", IMAGES],
            [IMAGES],
            [CHILD],
            ["blend", IMAGES, CHILD, "--name", "pair", "--trials", "4"],
            ["freeze", "pair"],
            ["submit", "pair"],
            ["test", "pair"],
            ["overlay", "pair"],
            ["leaderboard"],
            ["results"],
        ):
            assert run(words) == 0, words
        yield home


def new_images(journey, folder):
    """Three images of the phantom's unlabeled patients, one of another size and name."""
    (folder / "ward").mkdir(parents=True)
    pictures = sorted((journey / "input" / "tiny" / "submit").rglob("*.png"))
    shutil.copy(pictures[0], folder / "first.png")
    shutil.copy(pictures[1], folder / "ward" / "second.png")
    cv2.imwrite(str(folder / "third.jpg"), cv2.resize(cv2.imread(str(pictures[2]), -1), (75, 60)))
    return folder


def test_the_submission_matches_the_sample_and_its_masks_can_be_read(journey):
    sample = pd.read_csv(journey / "input" / "tiny" / "sample_submission.csv", dtype=str, keep_default_na=False)
    written = pd.read_csv(journey / "submissions" / "pair.csv", dtype=str, keep_default_na=False)
    assert list(written.columns) == list(sample.columns)
    assert written.iloc[:, 0].tolist() == sample.iloc[:, 0].tolist()
    for text in written.iloc[:, 1:].to_numpy().ravel():
        RunLengths().decode(text, (48, 48))


def test_the_leaderboard_ranks_the_blend_by_its_cross_fitted_score_and_counts_the_look(journey, capsys):
    assert run(["leaderboard", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    decision = json.loads((journey / "working" / "blends" / "pair" / "decision.json").read_text())
    assert rows["pair"]["score"] == decision["score"]["cross_fitted"]
    assert rows["pair"]["in_sample"] == decision["score"]["in_sample"]
    assert rows["pair"]["test_evals"] == 1
    assert rows["pair"]["test_score"] is not None
    assert rows[CHILD]["parent"] == "exp001"
    assert "epochs = 1" in rows[CHILD]["changed"]
    assert all(row["complete"] for row in rows.values())
    text = (journey / "RESULTS.md").read_text()
    assert "pair" in text
    assert "python run.py report" in text


def test_a_second_look_needs_a_reason(journey, capsys):
    assert run(["test", "pair"]) == 2
    assert "--repeat" in capsys.readouterr().err


def test_new_files_get_masks_under_their_names_and_sizes(journey, tmp_path, capsys):
    folder, output = new_images(journey, tmp_path / "new"), tmp_path / "out"
    assert run(["predict", "pair", "--input", str(folder), "--output", str(output)]) == 0
    assert "3 ok" in capsys.readouterr().out
    table = pd.read_csv(output / "predictions.csv")
    assert table["name"].tolist() == ["first.png", "third.jpg", "ward/second.png"]
    assert table[["p_small", "p_large"]].to_numpy().min() >= 0
    for stem, shape in (("first", (48, 48)), ("third", (60, 75)), ("ward/second", (48, 48))):
        for label in ("small", "large"):
            mask = cv2.imread(str(output / f"{stem}_{label}.png"), cv2.IMREAD_UNCHANGED)
            assert mask.shape == shape
            assert set(np.unique(mask)) <= {0, 255}


def test_the_same_image_is_predicted_alike_from_a_folder_and_for_the_submission(journey, tmp_path):
    folder, output = new_images(journey, tmp_path / "new"), tmp_path / "out"
    assert run(["predict", "pair", "--input", str(folder), "--output", str(output)]) == 0
    written = pd.read_csv(journey / "submissions" / "pair.csv", dtype=str, keep_default_na=False)
    mask = cv2.imread(str(output / "first_large.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(RunLengths().decode(written["large"][0], (48, 48)), mask // 255)


def test_an_unreadable_file_stops_predict_before_anything_is_written(journey, tmp_path, capsys):
    folder, output = new_images(journey, tmp_path / "new"), tmp_path / "out"
    (folder / "zz.png").write_bytes((folder / "first.png").read_bytes()[:100])
    words = ["predict", "pair", "--input", str(folder), "--output", str(output)]
    assert run(words) == 2
    assert "zz.png" in capsys.readouterr().err
    assert not output.exists()
    assert run([*words, "--skip-bad"]) == 0
    table = pd.read_csv(output / "predictions.csv").set_index("name")
    assert table.loc["zz.png", "status"] == "skipped"
    assert np.isnan(table.loc["zz.png", "p_small"])
    assert not list(output.glob("zz*"))


def test_changed_weights_are_refused_and_the_earlier_submission_stays(journey, capsys, tmp_path):
    weights = journey / "working" / "runs" / CHILD / "seed0" / "fold0" / "weights.safetensors"
    before, submission = weights.read_bytes(), (journey / "submissions" / "pair.csv").read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        folder = new_images(journey, tmp_path / "new")
        for words in (["submit", "pair"], ["predict", "pair", "--input", str(folder), "--output", str(tmp_path / "o")]):
            assert run(words) == 2
            assert str(weights.parent) in capsys.readouterr().err
    finally:
        weights.write_bytes(before)
    assert (journey / "submissions" / "pair.csv").read_bytes() == submission
    assert not (tmp_path / "o").exists()


def test_a_submission_that_would_not_match_is_not_written(journey, capsys):
    sample = journey / "input" / "tiny" / "sample_submission.csv"
    before, submission = sample.read_text(), (journey / "submissions" / "pair.csv").read_bytes()
    sample.write_text(before + "stranger,,\n")
    try:
        assert run(["submit", "pair"]) == 2
        assert "'stranger'" in capsys.readouterr().err
    finally:
        sample.write_text(before)
    assert (journey / "submissions" / "pair.csv").read_bytes() == submission


def test_an_upload_needs_the_name_of_the_competition(journey, capsys):
    assert run(["submit", "pair", "--kaggle"]) == 2
    assert 'pair names no competition: set `competition = "its-slug"`' in capsys.readouterr().err


def test_volumes_are_submitted_and_predicted_on_their_own_grid(journey, tmp_path):
    assert run([VOLUMES]) == 0
    assert run(["submit", VOLUMES]) == 0
    folder = tmp_path / "new"
    shutil.copytree(journey / "input" / "tiny3d" / "submit", folder)
    assert run(["predict", VOLUMES, "--input", str(folder), "--output", str(tmp_path / "out")]) == 0
    [archive] = (journey / "submissions").glob("exp003*.zip")
    scans = sorted(folder.rglob("*.nii.gz"))
    with zipfile.ZipFile(archive) as masks:
        assert len(masks.namelist()) == 2 * len(scans)
        for scan in scans:
            source, stem = nibabel.load(scan), scan.name.removesuffix(".nii.gz")
            for label in ("small", "large"):
                predicted = tmp_path / "out" / scan.relative_to(folder).with_name(f"{stem}_{label}.nii.gz")
                content = masks.read(f"{stem}_{label}.nii.gz")
                for mask in (nibabel.load(predicted), nibabel.Nifti1Image.from_bytes(gzip.decompress(content))):
                    assert mask.shape == source.shape
                    np.testing.assert_array_equal(mask.affine, source.affine)
                    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
