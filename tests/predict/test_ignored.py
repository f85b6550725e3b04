"""Ignored voxels have no score, in any metric and in blends, and are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import join
from heldout.evaluate.cases import SegmentedCase
from heldout.metrics.ignored import hide
from heldout.metrics.registry import score
from heldout.predict.details import mask_details
from heldout.predict.prediction import Prediction, presence, score_known
from heldout.predict.store import build_table
from heldout.report.figures import IGNORED_COLOR, error_areas, planar
from tests.followed import copy_project

ROWS = pd.DataFrame({"case_id": ["a", "b"], "patient_id": ["p", "q"], "fold": 0, "y_lesion": [1.0, 0.0]})


@pytest.fixture
def scored():
    """Two cases whose prediction is right wherever it counts, and wrong all over the ignored band."""
    truths = {"a": np.zeros((1, 32, 32), np.uint8), "b": np.zeros((1, 32, 32), np.uint8)}
    truths["a"][0, 4:12, 4:12] = 1
    maps = {name: np.where(mask == 1, 250, 3).astype(np.uint8) for name, mask in truths.items()}
    for name in truths:
        truths[name][0, 4:20, 12:20] = 255
        maps[name][0, 4:20, 12:20] = 255
    predictions = [score_known(Prediction(name, presence(maps[name]), maps[name]), truths[name]) for name in truths]

    class Config:
        mask_details, metric, finder = ("lesions", "surface"), "hd95_pos", None

    class Source:
        classes = ("lesion",)

        @staticmethod
        def voxel_axes(row):  # noqa: ARG004 - images have no millimeters
            return None

    details = mask_details(Config, Source, lambda case_id: case_id)
    return build_table(ROWS, iter(predictions), truths.__getitem__, exclusive=True, details=details), maps, truths


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        *(("dice_pos", 1), ("dice_all", 1), ("hd95_pos", 0), ("assd_pos", 0), ("lesion_f1_all", 1)),
        *(("lesion_count_error_all", 0), ("lesion_precision_pos", 1), ("roc_auc", 1), ("volume_error_pos", 0)),
    ],
)
def test_a_prediction_that_is_wrong_only_where_it_is_ignored_is_perfect(scored, metric, best):
    assert score(metric, scored[0], ("lesion",)) == pytest.approx(best)
    assert scored[0]["p_lesion"][1] < 0.1, "the presence score of a negative case comes from known voxels"


def test_blends_are_tuned_on_the_same_counts(scored):
    table, maps, truths = scored
    parts = [(hide(maps[name], truths[name])[None], hide(truths[name], truths[name])[0]) for name in ("a", "b")]
    histogram = join([distinct_voxels(*part) for part in parts])
    counts = histogram.counts_by_threshold((1000,))[:, 128]
    assert counts.tolist() == table[["tp_lesion", "fp_lesion", "fn_lesion"]].to_numpy().tolist()


def test_the_overlay_shows_what_is_ignored_and_counts_no_error_there(scored):
    _, maps, truths = scored
    case = SegmentedCase("a", np.zeros((1, 32, 32)), truths["a"] == 1, maps["a"] >= 128, truths["a"] == 255)
    shown = planar(case)
    assert case.dice == 1
    assert not np.any(error_areas(shown.truth, shown.scored)[1:])
    assert shown.ignored.sum() == 128
    assert IGNORED_COLOR


EXPERIMENT = '''"""Uncertain borders."""

from heldout.tasks import Segment2D


class {name}(Segment2D):
    dataset = "borders"
    source = "table"
    source_options = {{"labels": "small, large", "exclusive": True{ignore}}}
    encoder = "resnet18"
    image_size = (64, 64)
    epochs = 2
    batch_size = 8
    workers = 0
    fold_count = 2
    test_fraction = 0.25
    mask_details = ("lesions", "surface")
    presence_weight = 0.1
    lr = 1e-3
    seeds = ({seeds})
'''


@pytest.mark.journey
def test_a_dataset_with_uncertain_borders_from_files_to_the_test_score(tmp_path):
    copy_project(tmp_path)
    data = tmp_path / "input/borders"
    data.mkdir(parents=True)
    random, rows = np.random.default_rng(0), []
    for number in range(32):
        image, mask = random.normal(100, 10, (64, 64)), np.zeros((64, 64), np.uint8)
        for label in [(), (1,), (2,), (1, 2)][number % 4]:
            y, x = random.integers(14, 50, 2)
            square = (np.ogrid[:64, :64][0] - y) ** 2 + (np.ogrid[:64, :64][1] - x) ** 2
            mask[(square < (8 + 6 * label) ** 2) & (mask == 0)] = 255
            mask[square < (4 + 4 * label) ** 2], image[square < (4 + 4 * label) ** 2] = label, 200 + 20 * label
        cv2.imwrite(str(data / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(data / f"{number}_mask.png"), mask)
        rows.append(f"c{number:02d},p{number:02d},{number}.png,{number}_mask.png")
    (data / "cases.csv").write_text("id,patient,path,mask\n" + "\n".join(rows) + "\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HELDOUT")}

    def run(line: str, code: int = 0) -> str:
        command = [sys.executable, "run.py", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    for number, ignore in (("exp940", ""), ("exp941", ', "ignore": 255'), ("exp942", ', "ignore": 255')):
        text = EXPERIMENT.format(name=number.capitalize(), ignore=ignore, seeds="0,")
        (tmp_path / f"exps/{number}.py").write_text(text.replace("1e-3", "3e-3") if number == "exp942" else text)
    refused = " ".join(run("folds exp940", 2).split())
    assert "unknown label 255" in refused
    assert '"ignore": 255' in refused
    assert "Traceback" not in refused
    run("train exp941")
    run("train exp942")
    run("blend exp941 exp942 --name border --trials 10 --spatial --presence-metric roc_auc --calibrate platt")
    run("freeze border")
    run("test border")
    run("test exp941")
    run("overlay exp941")
    run("report border")
    table = pd.read_parquet(tmp_path / "working/runs/exp941/seed0/fold0/oof.parquet")
    for label in ("small", "large"):
        known = table[[f"{kind}_{label}" for kind in ("tp", "fp", "fn")]].to_numpy().sum()
        assert 0 < known < 64 * 64 * len(table)
    decision = json.loads((tmp_path / "working/blends/border/decision.json").read_text())
    assert decision["spatial"]
    assert decision["presence"]
    assert decision["calibration"]
