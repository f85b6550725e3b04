"""Labels that some cases lack: no loss, no score, spread over the folds, and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Pillow

from heldout.blend.search import blend
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.checks import check_case
from heldout.data.image import BadFile
from heldout.data.records import read_leaks
from heldout.metrics import METRICS, interval, score
from heldout.tasks.losses import TaskLoss, build
from heldout.train.fit import fit_fold
from tests.data.toy import get_source

CLASSES = ("bright", "left")
EXPERIMENT = '''
"""A table in which some findings are unknown."""

from torch import nn

from heldout.tasks import Classify2D


class Exp990(Classify2D):
    dataset = "findings"
    source = "table"
    image_size = (16, 16)
    normalize = "unit"
    fold_count = 2
    test_fraction = 0.0
    near_duplicates = False
    epochs = 8
    batch_size = 8
    lr = 1e-1
    augment = "none"
    workers = 0
    precision = "32-true"

    def build_model(self, classes, exclusive):
        return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(4, classes))


class Exp991(Exp990):
    lr = 3e-2
'''


@pytest.fixture
def findings(experiments, tmp_path, monkeypatch):
    """Sixty images; a third of the cells are empty, and four rows say nothing at all."""
    folder, random = tmp_path / "data" / "findings", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    monkeypatch.setenv("HELDOUT_DATA", str(folder.parent))
    rows = []
    for number in range(64):
        bright, left = number % 2, number // 2 % 2
        array = random.normal(90 + 60 * bright, 20, (16, 16))
        array[:, : 8 if left else 0] += 40
        Pillow.fromarray(array.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number:02d}.png")
        cells = [str(bright), str(left)] if number % 3 else [str(bright), ""] if number % 2 else ["", str(left)]
        rows.append([f"{number:02d}", f"images/{number:02d}.png", *(cells if number < 60 else ["", ""])])
    pd.DataFrame(rows, columns=["id", "path", *CLASSES]).to_csv(folder / "train.csv", index=False)
    first, second = EXPERIMENT.strip().split("\n\n\nclass Exp991")
    (experiments / "exp990.py").write_text(first + "\n")
    child = '"""Slower."""\n\nfrom exps.exp990 import Exp990\n\n\nclass Exp991' + second + "\n"
    (experiments / "exp991.py").write_text(child)
    return folder


def test_from_a_table_with_empty_cells_to_a_blend(findings):
    for spec in ("exp990", "exp991"):
        config = load(spec)
        dataset = open_dataset(config)
        for fold in range(2):
            folder = fit_fold(config, dataset, fold, 0, quiet=True)
    train = dataset.part("train")
    unknown = train[[f"y_{name}" for name in CLASSES]].isna()
    assert unknown.sum().tolist() == [10, 10]
    assert (dataset.cases["split"] == "submit").sum() == 4
    for name in unknown:
        by_fold = unknown[name].groupby(train["case_id"].map(dataset.folds)).sum()
        assert abs(by_fold[0] - by_fold[1]) <= 2
    lines = [line for line in read_leaks(dataset.folder).found if "have no label" in line]
    assert [line.split(" training")[0] for line in lines] == ["bright: 10 of 60", "left: 10 of 60"]
    table = pd.read_parquet(folder / "oof.parquet")
    assert table[[f"y_{name}" for name in CLASSES]].isna().any().all()

    for method in ("mean", "rank", "power", "stack", "classes"):
        decision = blend(["exp990", "exp991"], f"by-{method}", trials=5, method=method, progress=False)
        assert decision.score.cross_fitted > 0.5
    calibrated = blend(["exp990"], "calibrated", trials=2, calibrate="auto", metric="f1", progress=False)
    assert set(calibrated.thresholds) == set(CLASSES)


def table_of(seed=0, cases=60):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, (cases, 2)).astype(float)
    chance = np.clip(truth * 0.4 + random.uniform(0, 0.6, truth.shape), 0, 1)
    ids = [f"{number:02d}" for number in range(cases)]
    columns = {f"y_{name}": truth[:, k] for k, name in enumerate(CLASSES)}
    columns |= {f"p_{name}": chance[:, k] for k, name in enumerate(CLASSES)}
    return pd.DataFrame({"case_id": ids, "patient_id": ids, "fold": [int(one) % 2 for one in ids], **columns})


@pytest.mark.parametrize("name", [name for name, one in METRICS.items() if one.kind == "classification"])
def test_a_score_is_the_mean_of_the_classes_on_their_known_cases(name):
    table = table_of()
    table.loc[:20, "y_bright"] = np.nan
    table.loc[40:, "y_left"] = np.nan
    alone = [score(name, table[table[f"y_{one}"].notna()], [one]) for one in CLASSES]
    assert score(name, table, CLASSES) == pytest.approx(np.mean(alone))
    assert np.isfinite(interval(name, table, CLASSES).low)


@pytest.mark.parametrize("name", ["bce", "focal", "asymmetric"])
def test_an_unknown_label_has_no_loss_and_no_gradient(name):
    loss = TaskLoss(lambda channels, softmax: build(name, channels, softmax, masks=False), "label", False)
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    label = torch.tensor([[0.0, 1], [1, torch.nan], [1, 0], [torch.nan, 1], [0, 0], [1, 1]])
    value = loss({"label": logits}, {"label": label})
    value.backward()
    known = ~label.isnan()
    assert bool((logits.grad[~known] == 0).all())
    assert bool((logits.grad[known] != 0).all())
    each = [
        loss({"label": logits[row : row + 1, k : k + 1]}, {"label": label[row : row + 1, k : k + 1]})
        for row, k in known.nonzero().tolist()
    ]
    assert value.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_a_class_of_exclusive_ones_that_is_unknown_is_refused(findings):
    source = get_source("table", findings, {"exclusive": True})
    row = next(row for row in source.index().to_dict("records") if np.isnan(row["y_left"]) and row["split"] == "")
    with pytest.raises(BadFile, match="has no label for left: fill it in"):
        check_case(source, row)
