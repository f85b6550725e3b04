"""The examples of docs/training.md: each is trained, predicts with its flips and sizes, and differs from its parent."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from heldout.config import loading
from heldout.data.cases import open_dataset
from heldout.files import REPOSITORY
from heldout.train.fit import fit_fold

PAGE = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(\"\"\".*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SMALL = ["source_options={'patients':12,'size':64}", "steps_per_epoch=2", "batch_size=4", "workers=0", "epochs=2"]
SHOWN = {
    *("mixup", "cutmix", "label_smoothing", "layer_decay", "frozen_epochs", "swa_start", "schedule", "class_weighting"),
    *("loss", "focal_gamma", "optimizer", "progressive_sizes", "tta", "tta_scales"),
}


@pytest.fixture
def pages(experiments, monkeypatch):
    monkeypatch.delenv("HELDOUT_DATA")
    monkeypatch.setenv("HELDOUT_HOME", str(experiments.parent))
    for name in ("exp001", "exp004"):
        shutil.copyfile(REPOSITORY / "exps" / f"{name}.py", experiments / f"{name}.py")
    names = [re.search(r"class (Exp[0-9]+)", text)[1].lower() for text in EXAMPLES]
    for name, text in zip(names, EXAMPLES, strict=True):
        (experiments / f"{name}.py").write_text(text)
    return names


@pytest.mark.journey
def test_every_example_is_trained_and_uses_what_it_shows(pages):
    used = set()
    for name in pages:
        config = loading.load(name, None, SMALL)
        parent = loading.load(type(config).__bases__[0].__name__.lower())
        used |= {field for field in SHOWN if getattr(config, field, None) != getattr(parent, field, None)}
        folder = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
        weights = load_file(folder / "weights.safetensors")
        assert all(torch.isfinite(value).all() for value in weights.values()), name
        scores = pd.read_parquet(folder / "oof.parquet").filter(like="p_").to_numpy()
        assert np.isfinite(scores).all()
        assert scores.std() > 0
    assert used >= SHOWN
