"""The examples of docs/folds.md, on the table that it shows."""

import re

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.data.cases import open_dataset
from heldout.files import REPOSITORY
from tests.data.toy import textured

PAGE = (REPOSITORY / "docs" / "folds.md").read_text(encoding="utf-8")


def experiments() -> dict[str, str]:
    return {re.search(r"class (\w+)", text)[1]: text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}


@pytest.fixture
def shadows(tmp_path, monkeypatch):
    header = re.search(r"```csv\n(.*?)\n", PAGE)[1].split(",")
    folder = tmp_path / "raw" / "shadows"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(60):
        name = f"a{number}"
        cv2.imwrite(str(folder / "images" / f"{name}.png"), textured(number, (1, 32, 32))[0])
        rows.append([name, f"p{number // 2}", f"images/{name}.png", number % 2, ["North", "South"][number // 2 % 2]])
        rows[-1].append(20 + number // 2)
    pd.DataFrame(rows, columns=header).to_csv(folder / "cases.csv", index=False)
    folds = pd.DataFrame({"patient": [f"p{number}" for number in range(30)], "fold": np.arange(30) % 3})
    (tmp_path / "home" / "input").mkdir(parents=True)  # beside cases.csv, the source could not tell which is which
    folds.to_csv(tmp_path / "home" / "input" / "folds.csv", index=False)
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    return folder


def config_of(name, **changes):
    text = experiments()[name]
    if "from exps.exp100" in text:
        text = experiments()["Exp100"] + text.split("\n\n\n", 1)[1]
    space = {"__name__": "exps.exp100"}
    exec(compile(text, "docs/folds.md", "exec"), space)
    return space[name](**changes)


def test_folds_balanced_by_site_and_age(shadows):
    dataset = open_dataset(config_of("Exp100"))
    train = dataset.part("train")
    counts = pd.crosstab(train["case_id"].map(dataset.folds), train["c_site"])
    assert (counts.max() - counts.min() <= 2).all()


def test_folds_that_others_share(shadows):
    dataset = open_dataset(config_of("Exp101"))
    train = dataset.part("train")
    assert (train["case_id"].map(dataset.folds) == train["patient_id"].str[1:].astype(int) % 3).all()


def test_the_fields_of_the_table_exist(shadows):
    lines = re.findall(r"\| `(\w+) = (.+?)` \|", PAGE)
    assert len(lines) >= 4
    for name, value in lines:
        assert name in type(config_of("Exp100")).model_fields
        config_of("Exp100", **{"stratify": (), name: eval(value)})


def test_external_data(shadows):
    other = shadows.parent / "more_shadows"
    (other / "images").mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(other / "images" / f"a{number}.png"), textured(900 + number, (1, 32, 32))[0])
    lines = [f"a{number},p{number},images/a{number}.png,{number % 2},North,50" for number in range(4)]
    (other / "cases.csv").write_text("\n".join(["id,patient,path,label_shadow,site,age", *lines]))
    dataset = open_dataset(config_of("Exp102"))
    added = {f"more_shadows-a{number}" for number in range(4)}
    assert set(dataset.part("extra")["case_id"]) == added
    for fold in range(3):
        training, validation = dataset.fold_cases(fold)
        assert added <= set(training["case_id"])
        assert not added & set(validation["case_id"])
