"""The choice of components in a blend: tuned on full maps, cross-fitted, sealed, and applied as it was tuned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import blend_case
from heldout.blend.decision import load_decision, read_decision
from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as look
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.spatial import Spatial, spatial_mask
from heldout.blend.values import blend_maps
from heldout.errors import UserError
from heldout.metrics.overlap import count_errors


@pytest.fixture
def decision(runs):
    return blend(["exp911", "exp912"], "spatial", trials=6, spatial=True, progress=False)


def test_it_is_never_worse_in_sample_than_the_thresholds_alone(runs, decision):
    plain = blend(["exp911", "exp912"], "plain", trials=6, progress=False)
    assert decision.score.in_sample >= plain.score.in_sample - 1e-12
    assert decision.weights == plain.weights
    assert set(decision.spatial) == set(decision.classes)
    assert plain.spatial == {}


def test_what_is_applied_is_what_was_scored(decision):
    members = [load_member(member.name) for member in decision.members]
    table = pd.read_parquet(decision.folder / "in_sample.parquet").set_index("case_id")
    exclusive = members[0].dataset.exclusive
    for case_id in table.index[:6]:
        mask = blend_case(decision, [member.prediction(case_id) for member in members]).mask
        counts = count_errors(mask, members[0].dataset.truth(case_id), len(decision.classes), exclusive)
        names = [[f"{kind}_{name}" for kind in ("tp", "fp", "fn")] for name in decision.classes]
        assert counts.tolist() == [table.loc[case_id, columns].astype(int).tolist() for columns in names]


def test_a_held_out_fold_is_masked_with_settings_of_the_others(decision):
    by_fold = decision.search.by_fold
    members = [load_member(member.name) for member in decision.members]
    table = pd.read_parquet(decision.folder / "oof.parquet").set_index("case_id")
    dataset = members[0].dataset
    for case_id in table.index[::5]:
        settings = by_fold[str(int(table.loc[case_id, "fold"]))]
        maps = [member.prediction(case_id).map for member in members]
        blended = blend_maps(maps, settings.weights)
        mask = spatial_mask(blended, settings.thresholds or None, settings.spatial, dataset.exclusive)
        counts = count_errors(mask, dataset.truth(case_id), len(decision.classes), dataset.exclusive)
        columns = [f"{kind}_{decision.classes[0]}" for kind in ("tp", "fp", "fn")]
        assert counts[0].tolist() == table.loc[case_id, columns].astype(int).tolist()


def test_the_sealed_decision_keeps_it_and_the_test_look_uses_it(decision):
    freeze("spatial")
    sealed = load_decision("spatial")
    assert sealed.spatial == decision.spatial
    result = look(sealed)
    assert 0 <= result.score <= 1


def test_an_edited_component_size_is_refused(decision):
    path = decision.folder / "decision.json"
    path.write_text(path.read_text().replace('"least": ', '"least": 9'))
    with pytest.raises(UserError, match=r"decision\.json was edited after it was written"):
        read_decision("spatial")


def test_scores_that_look_at_no_mask_have_no_choice_of_components(runs):
    with pytest.raises(
        UserError, match="--spatial works on masks, which roc_auc does not score class by class: leave it out"
    ):
        blend(["exp911", "exp912"], "none", trials=6, metric="roc_auc", spatial=True, progress=False)


def test_classifications_have_no_choice_of_components(runs):
    with pytest.raises(UserError, match="--spatial works on masks"):
        blend(["exp914"], "none", trials=6, spatial=True, progress=False)


def test_the_tuned_row_compares_with_the_members_and_the_steps_have_their_own(decision):
    rows = decision.search.baselines
    plain = blend(["exp911", "exp912"], "plain", trials=6, progress=False)
    assert rows["tuned"] == plain.search.baselines["tuned"]
    assert rows["tuned, all stages"].in_sample == decision.score.in_sample
    assert rows["tuned, all stages"].cross_fitted == decision.score.cross_fitted


def test_exclusive_classes_lose_specks_and_fill_background_only():
    blended = np.zeros((2, 9, 9), np.uint8)
    blended[0, 1:8, 1:8] = 255
    blended[0, 4, 4] = 0  # a hole of background
    blended[0, 2, 2], blended[1, 2, 2] = 0, 255  # another class inside
    blended[1, 8, 8] = 255  # a speck
    spatial = [Spatial(255, 255, 0, fill=True), Spatial(255, 255, 20_000)]
    labels = spatial_mask(blended, None, spatial, exclusive=True)[0]
    assert labels[4, 4] == 1
    assert labels[8, 8] == 0
    assert labels[2, 2] == 1  # the small class was dropped, and what it leaves is a hole
    kept = spatial_mask(blended, None, [spatial[0], Spatial(255, 255)], exclusive=True)[0]
    assert (kept[2, 2], kept[8, 8], kept[4, 4]) == (2, 2, 1)
