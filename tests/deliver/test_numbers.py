"""docs/numbers.md, followed to the letter: bone age and grades from a table to a kernel that repeats the submission."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.files import REPOSITORY
from tests.followed import blocks, copy_project, follow

DOCUMENT = (REPOSITORY / "docs" / "numbers.md").read_text(encoding="utf-8")
FASTER = {"epochs = 40": "epochs = 8", "(128, 128)": "(32, 32)", "fold_count = 3": "fold_count = 2"}
CASES, SUBMITTED = 84, 12


def write_datasets(folder) -> None:
    """Images of a disc that grows with age; the last cases have no label."""
    random = np.random.default_rng(0)
    header = blocks(DOCUMENT, "csv")[0].splitlines()[0].split(",")
    ages = random.uniform(12, 220, CASES).round()
    for name in ("boneage", "grades"):
        (folder / name / "train").mkdir(parents=True)
    rows, grades = [], []
    for number, age in enumerate(ages):
        case, known = f"{1377 + number:05d}", number < CASES - SUBMITTED
        y, x = np.ogrid[:48, :48]
        picture = random.normal(60, 8, (48, 48))
        picture[(y - 24) ** 2 + (x - 24) ** 2 < (age / 10) ** 2] += 120
        for name in ("boneage", "grades"):
            cv2.imwrite(str(folder / name / "train" / f"{case}.png"), picture.clip(0, 255).astype(np.uint8))
        rows.append([case, f"{age:g}" if known else "", number % 2 == 0, f"train/{case}.png"])
        grade = int(np.digitize(age, (80, 150)))
        grades.append([case, f"train/{case}.png", *(str(int(grade == k)) if known else "" for k in range(3))])
    pd.DataFrame(rows, columns=header).to_csv(folder / "boneage" / "train.csv", index=False)
    columns = ["id", "path", "grade_0", "grade_1", "grade_2"]
    pd.DataFrame(grades, columns=columns).to_csv(folder / "grades" / "train.csv", index=False)
    ids = [row[0] for row in rows[CASES - SUBMITTED :]]
    pd.DataFrame({"id": ids, "boneage": 100}).to_csv(folder / "boneage" / "sample_submission.csv", index=False)
    pd.DataFrame({"id": ids, "grade": 0}).to_csv(folder / "grades" / "sample_submission.csv", index=False)
    np.save(folder / "ages.npy", ages[CASES - SUBMITTED :])


@pytest.mark.journey
def test_a_reader_gets_from_numbers_and_grades_to_submissions(tmp_path):
    copy_project(tmp_path)
    write_datasets(tmp_path / "input")
    printed = follow(DOCUMENT, tmp_path, FASTER)

    ages = np.load(tmp_path / "input" / "ages.npy")
    submitted = pd.read_csv(tmp_path / "submissions" / "age.csv", dtype={"id": str})
    assert list(submitted) == ["id", "boneage"]
    assert np.abs(submitted["boneage"] - ages).mean() < np.abs(ages - ages.mean()).mean() / 2
    told = printed["blend exp100 exp101 --name age --calibrate linear"]
    assert "calibration: linear" in told
    assert "rmse of the case scores, cross-fitted" in told
    assert re.search(r"age: test mae \d+\.\d+ \[", printed["test age"])
    page = (tmp_path / "working" / "reports" / "age" / "report.html").read_text()
    assert "Predicted and true numbers" in page
    grades = pd.read_csv(tmp_path / "submissions" / "grade.csv")
    assert list(grades) == ["id", "grade"]
    assert np.abs(grades["grade"] - np.digitize(ages, (80, 150))).mean() < 0.7
    board = (tmp_path / "working" / "leaderboard.md").read_text()
    assert "mae" in board
