import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.config import BaseConfig
from heldout.data import cases as room
from heldout.data.outside import FILE, outside_lines, outside_report, told
from tests.data import toy


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    return tmp_path / "raw" / "shadows"


def write(folder, ending, brighter=0, submit=0):
    """60 images of noise, labels in turn; ``ending`` of a label's files, and brightness of those without a label."""
    folder.mkdir(parents=True)
    lines = ["id,path,label_shadow"]
    for number in range(60 + submit):
        label = "" if number >= 60 else number % 2
        name = f"a{number * 7919 % 997}.{ending(label)}"
        picture = toy.textured(number, (1, 32, 32))[0] // 2 + (brighter if label == "" else 0)
        cv2.imwrite(str(folder / name), picture.astype(np.uint8))
        lines.append(f"c{number},{name},{label}")
    (folder / "cases.csv").write_text("\n".join(lines))


def report():
    config = BaseConfig(dataset="shadows", source="table", fold_count=3, near_duplicates=False)
    dataset = room.open_dataset(config)
    return dataset, outside_report(dataset, progress=False)


def test_a_label_that_the_file_type_tells_is_said(raw):
    write(raw, lambda label: "png" if label else "jpg")
    dataset, found = report()
    rows = {row.kind: row for row in found.labels}
    assert rows["type"].told == "shadow"
    assert rows["type"].auc > 0.95
    assert "name" not in rows or rows["name"].low <= 0.5
    assert any(
        line.startswith("shadow can be predicted from file type alone: AUC 1.00 (") for line in outside_lines(found)
    )
    assert found.parts == []
    times = (dataset.folder / FILE).stat().st_mtime_ns
    assert outside_report(dataset, progress=False) == found
    assert (dataset.folder / FILE).stat().st_mtime_ns == times


def test_labels_of_which_some_are_unknown_and_numbers_are_told_too():
    count = 120
    kind = np.arange(count) % 2
    cases = pd.DataFrame({"case_id": [f"c{n}" for n in range(count)], "group_id": [f"g{n}" for n in range(count)]})
    shadow = np.where(np.arange(count) % 7 == 0, np.nan, kind)
    age = 40 + 30 * kind + np.arange(count) % 5
    rare = np.where(np.arange(count) < 110, np.nan, kind)
    folds = np.arange(count) // 2 % 3
    tables = {"type": kind[:, None].astype(float)}
    for labels, name in ((shadow, "shadow"), (age, "age above 57")):
        (row,) = told(tables, cases, labels[:, None].astype(float), folds, (name.split()[0],))
        assert (row.kind, row.told, row.auc) == ("type", name, 1)
        assert row.low > 0.9
    assert told(tables, cases, rare[:, None], folds, ("rare",)) == []


def test_nothing_is_said_of_files_that_are_all_alike(raw):
    write(raw, lambda _: "bmp.png")
    _, found = report()
    assert all(row.low <= 0.5 for row in found.labels)
    assert outside_lines(found) == ["file type, size, mode, tags and name predict no label"]


@pytest.mark.parametrize("brighter", [0, 60])
def test_unlabeled_images_are_told_apart_only_where_they_differ(raw, brighter):
    write(raw, lambda _: "png", brighter, submit=30)
    _, found = report()
    picture = next(row for row in found.parts if row.kind == "picture")
    assert picture.told == "submit"
    assert (picture.low > 0.7) == bool(brighter)
    said = "train and submit can be separated by a gray thumbnail alone"
    assert any(said in line for line in outside_lines(found)) == bool(brighter)
