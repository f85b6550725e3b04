"""docs/levels.md, followed to the letter: images become answers of studies, from the table to the kernel."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.files import REPOSITORY
from tests.followed import blocks, copy_project, follow

DOCUMENT = (REPOSITORY / "docs" / "levels.md").read_text(encoding="utf-8")
FASTER = {
    "epochs = 20": "epochs = 6",
    "(128, 128)": "(32, 32)",
    "fold_count = 3": "fold_count = 2\n    near_duplicates = False",
    "--name": "--trials 3 --name",
}
PATIENTS, SUBMITTED = 44, 4
VIEWS = ("l_cc", "l_mlo", "r_cc", "r_mlo")


def write_dataset(folder) -> pd.DataFrame:
    """Two studies of a patient, four views each; a bright spot in the two views of one side is a cancer."""
    random = np.random.default_rng(0)
    header, rows = blocks(DOCUMENT, "csv")[0].splitlines()[0].split(","), []
    (folder / "breast" / "images").mkdir(parents=True)
    (folder / "new").mkdir()
    for patient in range(PATIENTS):
        for study in range(2):
            sick = random.random() < 0.45
            for view in VIEWS:
                name, shown = f"p{patient:02d}_s{study}_{view}", sick and view.startswith("r")
                picture = random.normal(90, 12, (48, 48))
                if shown:
                    y, x = random.integers(8, 40, 2)
                    picture[y - 5 : y + 5, x - 5 : x + 5] += 110
                known = patient < PATIENTS - SUBMITTED
                cv2.imwrite(str(folder / "breast" / "images" / f"{name}.png"), picture.clip(0, 255).astype(np.uint8))
                rows.append([name, f"p{patient:02d}", f"p{patient:02d}_s{study}", str(int(shown)) if known else ""])
                if not known:
                    cv2.imwrite(str(folder / "new" / f"{name}.png"), picture.clip(0, 255).astype(np.uint8))
    table = pd.DataFrame(rows, columns=header)
    table.to_csv(folder / "breast" / "train.csv", index=False)
    hidden = table[table["cancer"] == ""]
    studies = list(dict.fromkeys(hidden["study"]))[::-1]
    pd.DataFrame({"study": studies, "cancer": 0.5}).to_csv(folder / "breast" / "sample_submission.csv", index=False)
    hidden.assign(file=hidden["image"] + ".png")[["file", "study"]].to_csv(folder / "new" / "studies.csv", index=False)
    return table


@pytest.mark.journey
def test_a_reader_gets_from_images_to_answers_of_studies(tmp_path):
    copy_project(tmp_path)
    table = write_dataset(tmp_path / "input")
    printed = follow(DOCUMENT, tmp_path, FASTER)
    blends = tmp_path / "working" / "blends"
    counts = {}
    for name in ("images", "studies", "patients"):
        decision = json.loads((blends / name / "decision.json").read_text())
        counts[name] = len(pd.read_parquet(blends / name / "oof.parquet"))
        assert ("pooling" in decision) == (name != "images")
    assert counts["images"] == 4 * counts["studies"] == 8 * counts["patients"]
    [told] = [text for line, text in printed.items() if line.endswith("--name studies") and "blend" in line]
    assert "cases of a study pooled by" in told

    known = table[table["cancer"] != ""].astype({"cancer": int}).groupby("study")["cancer"].max()
    scored = pd.read_parquet(blends / "studies" / "oof.parquet")
    assert dict(zip(scored["case_id"], scored["y_cancer"], strict=True)) == known[scored["case_id"]].to_dict()
    tested = set(pd.read_parquet(blends / "studies" / "test.parquet")["case_id"])
    assert tested | set(scored["case_id"]) == set(known.index)
    assert not tested & set(scored["case_id"])
    assert "studies: test roc_auc" in printed["test studies"]

    sample = pd.read_csv(tmp_path / "input" / "breast" / "sample_submission.csv")
    sent = pd.read_csv(tmp_path / "submissions" / "studies.csv")
    assert list(sent.columns) == ["study", "cancer"]
    assert list(sent["study"]) == list(sample["study"])
    assert "kernel" in printed["kernel studies --user me"]
    found = pd.read_csv(tmp_path / "found" / "predictions_by_study.csv").set_index("study")
    assert set(found["cases"]) == {4}
    np.testing.assert_allclose(found.loc[sent["study"], "p_cancer"], sent["cancer"], atol=2e-6)
    assert len(pd.read_csv(tmp_path / "found" / "predictions.csv")) == 4 * len(found)
