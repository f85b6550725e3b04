"""docs/new-competition.md, followed to the letter: its CSV layout, its experiments, its commands."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.files import REPOSITORY
from tests.followed import blocks, copy_project, follow

DOCUMENT = (REPOSITORY / "docs" / "new-competition.md").read_text(encoding="utf-8")
FASTER = {"epochs = 30": "epochs = 2", "image_size = (96, 96)": "image_size = (32, 32)"}


def write_dataset(folder, header: str) -> None:
    """24 patients with two images each; a shadow is a dark disc; the last four patients are unlabeled."""
    random = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir(parents=True)
    for number in range(48):
        patient, positive = number // 2, number % 3 == 0
        picture = random.normal(150, 20, (64, 64))
        if positive:
            y, x = random.integers(16, 48, 2)
            rows_, columns = np.ogrid[:64, :64]
            picture[(rows_ - y) ** 2 + (columns - x) ** 2 < 100] -= 90
        name = f"{number + 1:04d}"
        cv2.imwrite(str(folder / "images" / f"{name}.png"), picture.clip(0, 255).astype(np.uint8))
        rows.append([name, f"p{patient:02d}", f"images/{name}.png", "" if patient >= 20 else str(int(positive))])
    table = pd.DataFrame(rows, columns=header.split(","))
    table.to_csv(folder / "cases.csv", index=False)
    sample = table[table["label_shadow"] == ""][["id"]].assign(label_shadow=0.5)[::-1]
    sample.to_csv(folder / "sample_submission.csv", index=False)


@pytest.mark.journey
def test_a_reader_gets_from_images_to_a_submission(tmp_path):
    copy_project(tmp_path)
    write_dataset(tmp_path / "input" / "shadows", blocks(DOCUMENT, "csv")[0].splitlines()[0])
    printed = follow(DOCUMENT, tmp_path, FASTER)

    assert "fold 2" in printed["folds exp100"]
    board = (tmp_path / "working" / "leaderboard.md").read_text()
    assert board.index("exp101") < board.index("Not ranked") < board.index("exp100@quick")
    submitted = pd.read_csv(tmp_path / "submissions" / "first.csv", dtype=str)
    assert submitted["id"].tolist() == [f"{number:04d}" for number in range(48, 40, -1)]
    assert submitted["label_shadow"].astype(float).between(0, 1).all()
