"""Blends of heat maps: what a trial scores is what the decision ships."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import blend_case
from heldout.blend.decision import blend_folder, load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score
from heldout.train.fit import fit_fold

SPECS = ["exp926", "exp927"]


@pytest.fixture(scope="module")
def detected(known_experiments, tmp_path_factory):
    """A home with two finished folds of two detections."""
    folder = tmp_path_factory.mktemp("detected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        for spec in SPECS:
            config = load(spec)
            dataset = open_dataset(config)
            for fold in range(2):
                fit_fold(config, dataset, fold, 0, quiet=True)
        yield folder


def shipped(decision, case_id):
    members = [load_member(name) for name in SPECS]
    predictions = [one.prediction(case_id) for one in members if one.name in {m.name for m in decision.members}]
    return blend_case(decision, predictions).detections


def test_a_blend_is_scored_by_the_detections_that_it_ships(detected):
    decision = blend(SPECS, "points", metric="froc:3", trials=4, progress=False)
    table = pd.read_parquet(blend_folder("points") / "oof.parquet")
    assert score("froc:3", table, decision.classes) == pytest.approx(decision.score.cross_fitted)
    assert decision.finder.objects == "points"
    some = table[table["detections"] != "[]"].iloc[::7]
    for row in some.itertuples():
        found = shipped(held_out_decision(decision, row.fold), row.case_id)
        assert np.array(json.loads(row.detections)) == pytest.approx(found, abs=1e-3)
    assert len(some) > 2


def test_thresholds_of_kept_detections_are_tuned_and_cut_what_is_shipped(detected):
    decision = blend(SPECS[1:], "kept", metric="fbeta:1:3", trials=1, progress=False)
    assert decision.finder.kept
    table = pd.read_parquet(blend_folder("kept") / "in_sample.parquet")
    at_half = load_member(SPECS[1]).table
    assert decision.score.in_sample >= score("fbeta:1:3", at_half, decision.classes)
    for row in table.iloc[::7].itertuples():
        found = shipped(decision, row.case_id)
        assert all(round(255 * one) >= decision.levels[int(number)] for number, one in found[:, :2])
        assert len(found) == sum(kept for _, _, kept, *_ in json.loads(row.detections))


def test_a_sealed_decision_says_how_detections_are_found(detected):
    blend(SPECS[:1], "sealed", trials=1, progress=False)
    freeze("sealed")
    decision = load_decision("sealed")
    assert decision.to_json()["finder"]["objects"] == "points"
    assert replace(decision, finder=None).compute_seal() != decision.seal
