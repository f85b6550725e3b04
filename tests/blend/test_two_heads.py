"""A second head is a source of presence with a share of its own: tuned, cross-fitted, sealed, shipped, and named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import OpenDecision, blend_case
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import check_together, load_member, parse_member
from heldout.blend.reference import check_reference
from heldout.blend.search import blend
from heldout.blend.session import Session
from heldout.blend.values import WHOLE
from heldout.blend.verify import verify
from heldout.errors import UserError
from heldout.metrics import score


def make(specs, name="heads", **options):
    return blend(specs, name, trials=6, progress=False, **options)


def test_scores_of_its_cases_are_those_of_the_head(runs):
    member = load_member("exp915")
    assert (member.kind, member.two_heads, load_member("exp911").two_heads) == ("segmentation", True, False)
    decision = load_decision("exp915")
    assert decision.shares == (0, 0, 0, WHOLE)
    for case_id in member.table["case_id"][::5]:
        prediction = member.prediction(case_id)
        np.testing.assert_array_equal(member.scores(case_id), prediction.scores)
        np.testing.assert_array_equal(blend_case(decision, [prediction]).scores, prediction.scores)
        if prediction.scores.max() < member.config.skip_mask_below:
            assert not prediction.map.any()


def test_maps_heads_and_classifications_become_one_decision(runs):
    decision = make(["exp914", "exp915", "exp911"], calibrate="none")
    assert list(decision.presence.shares) == ["top", "maximum", "area", "exp915/head", "exp914"]
    assert sum(decision.shares) == WHOLE
    assert decision.composition.endswith(" exp911, presence with exp915/head, exp914")
    assert decision.presence.metric == "roc_auc"
    folds = decision.search.by_fold
    assert all(len(settings.presence) == 5 for settings in folds.values())
    scores = decision.presence.scores
    assert scores["in_sample"]["roc_auc"].after >= scores["in_sample"]["roc_auc"].before - 1e-12
    crossed = pd.read_parquet(decision.folder / "oof.parquet")
    assert score("roc_auc", crossed, decision.classes) == pytest.approx(scores["cross_fitted"]["roc_auc"].after)
    table = pd.read_parquet(decision.folder / "in_sample.parquet").set_index("case_id")
    members = [load_member(member.name) for member in decision.members]
    for case_id in table.index[::7]:
        found = blend_case(decision, [member.prediction(case_id) for member in members])
        np.testing.assert_array_equal(found.scores, table.loc[case_id, ["p_small", "p_large"]].to_numpy(np.float32))

    freeze("heads")
    sealed = load_decision("heads")
    verify(sealed)
    dataset = members[0].dataset
    new = dataset.part("test")["case_id"].iloc[0]
    (shipped,) = OpenDecision(sealed).predict([(new, dataset.read_image(new))])
    assert shipped.map.any()
    assert np.isfinite(shipped.scores).all()


def test_a_head_that_says_something_else_than_it_did_is_found(runs, monkeypatch):
    from heldout.tasks import multitask

    make(["exp915", "exp911"])
    with monkeypatch.context() as patch:
        patch.setattr(
            multitask.MultiTask2D, "classify_head", lambda _, outputs: outputs["label"].float().sigmoid() * 0.99
        )
        with pytest.raises(UserError, match=r"case \w+ is not reproduced as it was after training \(score off"):
            freeze("heads")
    freeze("heads")
    sealed = load_decision("heads")
    assert check_reference(sealed, Session()) == []
    monkeypatch.setattr(
        multitask.MultiTask2D, "classify_head", lambda _, outputs: outputs["label"].float().sigmoid() * 0.99
    )
    assert any("otherwise than validated (score off" in change for change in check_reference(sealed, Session()))


def test_a_head_alone_is_a_classification(runs):
    member = load_member("exp915/tta=/head")
    assert (member.name, member.kind, member.metric) == ("exp915/tta=/head", "classification", "roc_auc")
    assert member.prediction(member.table["case_id"].iloc[0]).map is None
    decision = make(["exp915/head", "exp914"])
    assert (decision.kind, decision.metric, bool(decision.presence)) == ("classification", "roc_auc", False)
    freeze("heads")
    verify(load_decision("heads"))
    beside = make(["exp911", "exp915/head"], "beside")
    assert list(beside.presence.shares) == ["top", "maximum", "area", "exp915/head"]
    assert [member.weight is None for member in beside.members] == [False, True]


def test_names_of_heads(runs):
    assert parse_member("exp915/seed1/head") == ("exp915", (1,), None, True)
    with pytest.raises(UserError, match="exp911/head: the networks of exp911 have one head only: name exp911 itself"):
        load_member("exp911/head")
    with pytest.raises(UserError, match="is not a member"):
        load_member("exp915/head/head")
    with pytest.raises(UserError, match="exp915 is named twice"):
        check_together([load_member("exp915"), load_member("exp915/head")])
