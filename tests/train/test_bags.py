"""Multi-crop and 2.5D classification in the fold loop: killed and resumed, a run ends with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heldout import files
from heldout.data.cases import open_dataset
from heldout.tasks.classify import Classify3D
from heldout.train.fit import fit_fold
from tests.data import toy

BASE = {
    "dataset": "toys",
    "source": "toy",
    "source_options": {"classes": "big", "kind": "classification", "dimensions": 3},
    "fold_count": 2,
    "test_fraction": 0.0,
    "near_duplicates": False,
    "normalize": "unit",
    "epochs": 2,
    "batch_size": 4,
    "workers": 0,
    "precision": "32-true",
}
CROPS = {"encoder": "resnet10", "stem": "small", "width": 0.1, "crop_size": (6, 6, 6), "pooling": "attention"}
SLICES = {"arch": "slices", "encoder": "resnet10t", "slice_step": 2, "pooling": "attention"}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def volumes(monkeypatch, tmp_path):
    """Sixteen small volumes, half of them with a block; one thread."""
    folder, random = toy.install(monkeypatch, tmp_path), np.random.default_rng(0)
    (tmp_path / "home").mkdir()
    rows, images = [], {}
    for number in range(16):
        case_id = f"c{number:02d}"
        rows.append({"case_id": case_id, "patient_id": case_id, "y_big": number % 2})
        images[case_id] = random.integers(0, 99, (1, 10, 9, 8)).astype(np.uint8)
        images[case_id][0, 2:6, 2:6, 2:6] += np.uint8(100 * (number % 2))
    toy.write_toy(folder, rows, images, {})
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("fields", [CROPS, SLICES], ids=["crops", "slices"])
def test_a_killed_run_resumes_bit_by_bit(fields, tmp_path):
    config = Classify3D.create(overrides=BASE | fields)
    dataset = open_dataset(config)
    whole = fit_fold(config, dataset, 0, 0, quiet=True, folder=tmp_path / "whole")

    def kill(progress):
        if progress.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        fit_fold(config, dataset, 0, 0, quiet=True, folder=tmp_path / "killed", watch=kill)
    resumed = fit_fold(config, dataset, 0, 0, quiet=True, folder=tmp_path / "killed")
    for name in ("weights.safetensors", "oof.parquet"):
        assert files.sha256_file(resumed / name) == files.sha256_file(whole / name)
