"""Surface scores at a tolerance: equal to MONAI's, with a policy for empty masks, and part of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_surface_dice

from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.metrics import get_metric, score
from heldout.metrics.surface import surface_dice
from heldout.predict.details import mask_details


def masks(seed, dimensions):
    random = np.random.default_rng(seed)
    shape = (9, 8, 7)[:dimensions]
    found = []
    for _ in range(2):
        mask = np.zeros(shape, bool)
        low = [random.integers(0, size - 2) for size in shape]
        mask[tuple(slice(a, a + random.integers(1, 5)) for a in low)] = True
        found.append(mask)
    return found


@given(st.integers(0, 10_000), st.sampled_from((2, 3)), st.sampled_from((0.4, 1.0, 2.5)))
@settings(max_examples=40, deadline=None)
def test_it_is_that_of_monai(seed, dimensions, tolerance):
    pred, truth = masks(seed, dimensions)
    spacing = (1.0, 0.7, 2.0)[:dimensions]
    tensors = [torch.from_numpy(np.pad(mask, 1))[None, None].float() for mask in (pred, truth)]
    expected = compute_surface_dice(*tensors, [tolerance], True, spacing=list(spacing))
    assert surface_dice(pred, truth, spacing, tolerance) == pytest.approx(float(expected), abs=1e-6)
    by_area = compute_surface_dice(*tensors, [tolerance], True, spacing=list(spacing), use_subvoxels=True)
    assert surface_dice(pred, truth, spacing, tolerance, by_area=True) == pytest.approx(float(by_area), abs=1e-6)


def test_by_area_is_refused_where_voxels_are_sheared():
    pred, truth = masks(3, 3)
    sheared = np.array([[1.0, 0, 0.5], [0, 1, 0], [0, 0, 2]])
    with pytest.raises(UserError, match=r"surface_dice:1 needs voxels with right angles.*nsd:1 instead"):
        surface_dice(pred, truth, sheared, 1.0, by_area=True)


def test_empty_masks():
    some, none = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert surface_dice(none, none, (1, 1), 1) == 1
    assert surface_dice(some, none, (1, 1), 1) == surface_dice(none, some, (1, 1), 1) == 0


def test_it_is_measured_where_an_experiment_ranks_by_it_and_scored_over_positives(home):
    config = load("exp001+metric=nsd:1.5,source_options={'patients':24,'images_per_patient':1,'size':32}")
    dataset = open_dataset(config)
    measure = mask_details(config, dataset.source, dataset.row)
    case_id = dataset.part("train")["case_id"][0]
    truth = dataset.truth(case_id)
    found = measure(case_id, truth, truth, 255 * truth)
    assert found == {f"nsd:1.5_{name}": 1.0 for name in dataset.classes}
    ids = ["a", "b", "c"]
    table = pd.DataFrame({"case_id": ids, "y_x": [1, 1, 0], "p_x": 0.5, "tp_x": [5, 0, 0], "fp_x": [0, 0, 3]})
    table = table.assign(fn_x=[0, 4, 0], **{"nsd:1.5_x": [0.8, 0.0, 0.0]})
    assert score("nsd:1.5", table, ["x"]) == pytest.approx(0.4)
    with pytest.raises(UserError, match=r"set mask_details = \('nsd:2',\) in the experiment"):
        score("nsd:2", table, ["x"])


def test_a_tolerance_is_a_number():
    with pytest.raises(UserError, match="needs a tolerance in mm after the colon, such as nsd:2"):
        get_metric("nsd:wide")
    with pytest.raises(UserError, match="surfaces of slices make no surface of a patient"):
        get_metric("patient:nsd:2")
    assert not get_metric("surface_dice:0.5").tunable
