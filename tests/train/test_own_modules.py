"""A plain ``nn.Module`` and a plain loss of the user's own are trained in every task, without any wrapping."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import nn

from heldout.data.cases import open_dataset
from heldout.tasks import TASKS
from heldout.train.fit import fit_fold
from tests.data import toy

FIELDS = {
    "dataset": "toys",
    "source": "toy",
    "fold_count": 2,
    "test_fraction": 0.0,
    "near_duplicates": False,
    "normalize": "unit",
    "epochs": 2,
    "batch_size": 4,
    "workers": 0,
    "precision": "32-true",
}


class Own(nn.Module):
    """A convolution: a map, its mean, or both, as plain tensors."""

    def __init__(self, dimensions: int, classes: int, answer: str) -> None:
        super().__init__()
        self.convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions](1, classes, 3, padding=1)
        self.answer = answer

    def forward(self, image):
        mask = self.convolution(image)
        label = mask.flatten(2).mean(dim=2)
        return {"mask": mask, "label": label, "both": (mask, label)}[self.answer]


def squared_error(guess, truth):
    return ((guess.sigmoid() - truth) ** 2).mean()


@pytest.mark.parametrize("task", TASKS)
def test_a_plain_module_and_loss_are_trained(task, monkeypatch, tmp_path):
    folder, random = toy.install(monkeypatch, tmp_path), np.random.default_rng(0)
    (tmp_path / "home").mkdir()
    size = (12, 11, 10)[: task.dimensions]
    rows = [{"case_id": f"c{n:02d}", "patient_id": f"c{n:02d}", "y_big": n % 2} for n in range(8)]
    images = {row["case_id"]: random.integers(0, 99, (1, *size)).astype(np.uint8) for row in rows}
    masks = {row["case_id"]: (images[row["case_id"]] > 60).astype(np.uint8) * np.uint8(row["y_big"]) for row in rows}
    toy.write_toy(folder, rows, images, masks if task.kind == "segmentation" else {})

    class Experiment(task):
        def build_model(self, classes, exclusive):
            return Own(self.dimensions, classes, "both" if self.two_heads else self.output)

        def build_loss(self, exclusive, positive_weight=None):
            return squared_error

    options = {"classes": "big", "kind": task.kind, "dimensions": task.dimensions}
    config = Experiment.create(overrides=FIELDS | {"source_options": options})
    found = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    assert set(load_file(found / "weights.safetensors")) == {"convolution.weight", "convolution.bias"}
    assert len((found / "metrics.csv").read_text().splitlines()) == 1 + config.epochs
    assert (found / "oof.parquet").is_file()
