"""The columns of ``predict --uncertainty`` are means over the mask that was written, whatever made it."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from heldout.blend.apply import Blended
from heldout.blend.records import Pooling, Postprocess
from heldout.deliver.predict_folder import predict_folder
from heldout.metrics.uncertainty import Uncertainty


@pytest.mark.parametrize("empty", [False, True])
def test_columns_are_means_over_the_written_mask(home, tmp_path, empty):
    folder = tmp_path / "new"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((8, 8), 100, np.uint8))
    entropy = np.linspace(0, 0.6, 64).reshape(8, 8)
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, 6:, 6:] = 0 if empty else 1
    low = np.full((1, 8, 8), 40, np.uint8)  # nothing reaches one half: a tuned threshold made the mask
    parts = (np.array([0.2]), low, mask, Uncertainty(entropy, entropy / 2, entropy / 2))
    opened = SimpleNamespace(
        decision=SimpleNamespace(
            **{"classes": ("small",), "exclusive": False, "abstention": None, "finder": None, "identity": ""},
            kind="segmentation",
            pooling=Pooling(),
            postprocess=Postprocess(),
        ),
        config=SimpleNamespace(source="phantom", source_options={}),
        predict=lambda images, **_: [Blended(case_id, *parts) for case_id, _ in images],
    )
    predict_folder(opened, folder, tmp_path / "out", skip_bad=False, force=False, uncertainty=True)
    with open(tmp_path / "out" / "predictions.csv", newline="") as handle:
        (row,) = csv.DictReader(handle)
    expected = entropy.mean() if empty else entropy[6:, 6:].mean()
    assert float(row["entropy"]) == pytest.approx(expected, abs=1e-6)
