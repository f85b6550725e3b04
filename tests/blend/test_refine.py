"""Presence and calibration are tuned, cross-fitted, sealed and shipped as one with the blend."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from heldout.blend import calibrate
from heldout.blend.apply import blend_case
from heldout.blend.calibrate import apply_calibration
from heldout.blend.crossfit import crossfit
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.label_objective import LabelObjective
from heldout.blend.members import load_member
from heldout.blend.objective import BlendSettings
from heldout.blend.presence import fuse, levels_of_map, map_scores
from heldout.blend.refine import RefinedObjective, Refinement
from heldout.blend.search import blend
from heldout.blend.study import SearchPlan
from heldout.blend.values import blend_maps
from heldout.blend.verify import verify
from heldout.errors import UserError
from heldout.metrics import score


@pytest.fixture
def few_will_do(monkeypatch):
    """The phantoms are too few to calibrate anything by."""
    monkeypatch.setattr(calibrate, "FEWEST_CASES", 1)


def make(specs, name="mixed", **options):
    return blend(specs, name, trials=6, progress=False, **options)


def labels(members=2, cases=400, folds=4, classes=("a",), exclusive=False, metric="log_loss"):
    """Classifications that are far too sure of themselves."""
    random = np.random.default_rng(0)
    logit = random.normal(0, 1, (cases, len(classes)))
    truth = random.random(logit.shape) < 1 / (1 + np.exp(-logit))
    sure = 1 / (1 + np.exp(-5 * logit[None] + random.normal(0, 0.5, (members, *logit.shape))))
    if exclusive:
        truth = np.eye(len(classes), dtype=bool)[logit.argmax(1)]
        sure /= sure.sum(2, keepdims=True)
    frame = pd.DataFrame({"case_id": [f"case{i}" for i in range(cases)], "fold": np.arange(cases) % folds})
    frame["patient_id"] = frame["case_id"]
    for k, name in enumerate(classes):
        frame[f"y_{name}"] = truth[:, k].astype(float)
    return LabelObjective(frame, classes, metric, sure, exclusive)


def processed(base, **options):
    return RefinedObjective(
        base, np.empty((0, len(base.frame), len(base.classes))), Refinement(plan=SearchPlan(trials=5), **options)
    )


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic", "auto"])
def test_cases_are_calibrated_by_a_map_that_never_saw_them(method):
    objective = processed(labels(), calibrate=method)
    others = objective.frame["fold"].to_numpy() != 1
    fitted = objective.select(others).finish(BlendSettings((500, 500), (128,)))
    held_out = objective.select(~others)
    table = held_out.table(fitted)
    before = table["uncalibrated_a"].to_numpy()
    np.testing.assert_array_equal(before, held_out.base.table(fitted)["p_a"])
    expected = apply_calibration(fitted.calibration, before[:, None])[:, 0].astype(np.float32)
    np.testing.assert_array_equal(table["p_a"], expected.astype(float))
    assert score("ece", table, ["a"]) < score("ece", table.assign(p_a=before), ["a"])


def test_calls_are_tuned_on_the_calibrated_scale():
    objective = processed(labels(metric="f1"), calibrate="platt")
    settings = objective.finish(objective.tune((500, 500))[1])
    table = objective.table(settings)
    np.testing.assert_array_equal(table["d_a"], np.rint(255 * table["p_a"]) >= settings.thresholds[0])
    best = max(
        score("f1", table.assign(d_a=(np.rint(255 * table["p_a"]) >= t).astype(float)), ["a"]) for t in range(256)
    )
    assert score("f1", table, ["a"]) == pytest.approx(best)


def test_exclusive_classes_stay_probabilities():
    objective = processed(labels(classes=("a", "b", "c"), exclusive=True), calibrate="temperature")
    settings = objective.finish(BlendSettings((500, 500), ()))
    assert len(settings.calibration.maps) == 1
    table = objective.table(settings)
    np.testing.assert_allclose(table[["p_a", "p_b", "p_c"]].sum(axis=1), 1, atol=1e-6)
    called = table[["d_a", "d_b", "d_c"]].to_numpy()
    np.testing.assert_array_equal(called.argmax(1), table[["p_a", "p_b", "p_c"]].to_numpy().argmax(1))


def by_hand(decision, case_id):
    """Scores and map of a case from the members' out-of-fold predictions, step by step."""
    predictions = [load_member(m.name).prediction(case_id) for m in decision.members]
    weights = [round(1000 * m.weight) for m in decision.members if m.weight is not None]
    blended = blend_maps([p.map for p in predictions[: len(weights)]], weights)
    of_map = map_scores(levels_of_map(blended), [decision.thresholds[name] for name in decision.classes])
    shares = [round(1000 * share) for share in decision.presence.shares.values()]
    scores = fuse(of_map, np.array([p.scores for p in predictions[len(weights) :]], float), shares)
    return predictions, apply_calibration(decision.calibration, scores)


def test_segmentations_and_a_classification_become_one_decision(runs, few_will_do):
    decision = make(["exp914", "exp912", "exp911"], calibrate="platt")
    assert [(m.name, m.weight is None) for m in decision.members] == [
        ("exp912", False),
        ("exp911", False),
        ("exp914", True),
    ]
    assert decision.kind == "segmentation"
    assert decision.presence.metric == "roc_auc"
    assert list(decision.presence.shares) == ["top", "maximum", "area", "exp914"]
    assert sum(decision.presence.shares.values()) == pytest.approx(1)
    tables = {name: pd.read_parquet(decision.folder / f"{name}.parquet") for name in ("in_sample", "oof")}
    for name, key in (("in_sample", "in_sample"), ("oof", "cross_fitted")):
        table = tables[name]
        plain = table.drop(columns=[f"uncalibrated_{c}" for c in decision.classes])
        before = plain.assign(**{f"p_{c}": table[f"top_{c}"] for c in decision.classes})
        fused = plain.assign(**{f"p_{c}": table[f"uncalibrated_{c}"] for c in decision.classes})
        found = decision.presence.scores[key]["roc_auc"]
        assert found.before == pytest.approx(score("roc_auc", before, decision.classes))
        assert found.after == pytest.approx(score("roc_auc", fused, decision.classes))
        for metric, value in decision.calibration.scores[key].items():
            assert value.before == pytest.approx(score(metric, fused, decision.classes))
            assert value.after == pytest.approx(score(metric, table, decision.classes))
    assert decision.presence.scores["in_sample"]["roc_auc"].after >= (
        decision.presence.scores["in_sample"]["roc_auc"].before - 1e-12
    )
    in_sample = tables["in_sample"].set_index("case_id")
    for case_id in in_sample.index[::6]:
        predictions, expected = by_hand(decision, case_id)
        result = blend_case(decision, predictions)
        np.testing.assert_array_equal(result.scores, expected.astype(np.float32))
        np.testing.assert_array_equal(
            result.scores, in_sample.loc[case_id, ["p_small", "p_large"]].to_numpy(np.float32)
        )
    freeze("mixed")
    sealed = load_decision("mixed")
    verify(sealed)
    assert set(sealed.reference.blended) == {one.case_id for one in sealed.reference.cases}


def test_a_presence_mix_needs_no_classification(runs):
    decision = make(["exp911"], presence_metric="average_precision")
    assert list(decision.presence.shares) == ["top", "maximum", "area"]
    assert decision.presence.metric == "average_precision"
    assert not decision.calibration


def test_without_steps_nothing_of_them_is_decided(runs):
    decision = make(["exp911"])
    assert not decision.presence
    assert not decision.calibration
    table = pd.read_parquet(decision.folder / "oof.parquet")
    assert not [column for column in table if column.startswith(("top_", "uncalibrated_"))]


def test_the_same_seed_tunes_the_same_steps(runs):
    first, second = (make(["exp911", "exp914"], name, seed=2, calibrate="auto") for name in ("one", "two"))
    assert (first.presence, first.calibration, first.score) == (second.presence, second.calibration, second.score)


@pytest.mark.parametrize(
    ("target", "change"), [("fuse", lambda *given: fuse(*given) / 2), ("apply_calibration", lambda _, p: p / 2)]
)
def test_code_that_puts_scores_together_otherwise_is_found(runs, few_will_do, monkeypatch, target, change):
    import heldout.blend.apply as apply

    make(["exp911", "exp914"], calibrate="platt")
    with monkeypatch.context() as patch:
        patch.setattr(apply, target, change)
        with pytest.raises(UserError, match=r"mixed: the code scores case \w+ otherwise than validated"):
            freeze("mixed")
    freeze("mixed")
    monkeypatch.setattr(apply, target, change)
    with pytest.raises(UserError, match=r"the code blends the members' predictions of case \w+ otherwise"):
        verify(load_decision("mixed"))


@pytest.mark.parametrize("part", ["shares", "maps"])
def test_an_edited_step_is_refused(runs, few_will_do, part):
    make(["exp911", "exp914"], calibrate="platt")
    path = freeze("mixed")
    value = json.loads(path.read_text())
    if part == "shares":
        value["presence"]["shares"]["exp914"] = 0.999
    else:
        value["calibration"]["maps"][0][0] *= 2
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"mixed/decision.json was edited after it was sealed"):
        load_decision("mixed")


BAD = {
    "unknown method": ({"calibrate": "magic"}, "calibration 'magic' does not exist: choose one of none, temperature"),
    "mask metric": ({"presence_metric": "dice_pos"}, "--presence-metric dice_pos scores masks: choose one of labels"),
    "unknown metric": ({"presence_metric": "auc"}, "metric 'auc' does not exist"),
}


@pytest.mark.parametrize("bad", BAD)
def test_steps_that_do_not_exist_are_refused(runs, bad):
    options, message = BAD[bad]
    with pytest.raises(UserError, match=message):
        make(["exp911"], **options)
    assert not (runs / "working" / "blends" / "mixed" / "decision.json").exists()


def test_classifications_alone_have_no_presence_to_mix(runs):
    with pytest.raises(UserError, match="--presence-metric is for blends of segmentations: leave it out, or add"):
        make(["exp914"], presence_metric="roc_auc")


def test_too_few_cases_to_calibrate_are_named(runs):
    with pytest.raises(UserError, match="platt calibration needs 5 positive cases of small, and there are 4 to fit on"):
        make(["exp911"], calibrate="platt")
    assert not (runs / "working" / "blends" / "mixed" / "decision.json").exists()


def test_the_command_prints_what_the_steps_change_and_draws_it(runs, few_will_do, capsys):
    from heldout.cli import run

    options = ["--name", "mixed", "--trials", "4", "--calibrate", "temperature", "--presence-metric", "roc_auc"]
    assert run(["blend", "exp911", "exp912/tta=", "exp914", *options]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in (
        "exp912/tta=",
        "presence: ",
        " exp914",
        "calibration: temperature",
        "ece of the case scores, cross-fitted",
    ):
        assert part in printed
    assert "cross-fitted" in (runs / "working" / "blends" / "mixed" / "reliability.svg").read_text()
    assert run(["leaderboard", "--json"]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["name"] == "mixed")
    assert ", presence with exp914; exp911 alone reaches " in row["title"]
    assert run(["overlay", "mixed"]) == 0


def test_a_calibration_that_flatters_itself_is_told_the_truth():
    """A flexible map of scores that know nothing looks well calibrated where it was fitted, and nowhere else."""
    base = labels(cases=120)
    noise = LabelObjective(base.frame, base.classes, "log_loss", np.random.default_rng(1).random((1, 120, 1)), False)
    found = crossfit(processed(noise, calibrate="isotonic"), SearchPlan(trials=1))
    maps = [settings.calibration.maps for settings in (found.settings, *found.by_fold.values())]
    assert all(one != other for i, one in enumerate(maps) for other in maps[:i])
    assert found.scores.optimism > 0.03
    honest = score("log_loss", found.cross_fitted, ["a"])
    assert found.scores.cross_fitted == pytest.approx(honest)
    assert honest > np.log(2) - 0.05
