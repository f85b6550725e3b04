"""Scores of studies and patients: pooled cases, tuned and cross-fitted, sealed, tested and delivered."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.blend.crossfit import crossfit
from heldout.blend.decision import load_decision, read_decision
from heldout.blend.freeze import freeze
from heldout.blend.label_objective import LabelObjective
from heldout.blend.ledger import test as evaluate
from heldout.blend.levels import level_objective
from heldout.blend.numbers import ValueObjective
from heldout.blend.pooling import group_rows, pool, poolings
from heldout.blend.records import Pooling
from heldout.blend.refine import Refinement, add_refinement
from heldout.blend.search import blend
from heldout.blend.study import SearchPlan
from heldout.blend.together import cases_of
from heldout.blend.verify import open_decision
from heldout.data.cases import open_dataset
from heldout.data.levels import groups_of
from heldout.deliver.submission.write import submit
from heldout.errors import UserError
from heldout.evaluate.held_out import open_held_out
from heldout.metrics import score

WAYS = poolings("patient", "classification")


def cases(seed=0, patients=120, each=8, exclusive=False, classes=1) -> tuple[LabelObjective, list[str]]:
    """Patients of whom one image at most shows what there is: the mean of all images says little of it."""
    random = np.random.default_rng(seed)
    names, count = tuple("abc"[:classes]), patients * each
    patient = np.repeat(np.arange(patients), each)
    shown = random.random(patients) < 0.4
    place = random.integers(0, each, patients)
    truth = np.zeros((count, classes))
    for k in range(classes):
        truth[np.arange(patients) * each + place, k] = shown if k == 0 else random.random(patients) < 0.4
    if exclusive:
        truth = np.eye(classes)[np.repeat(random.integers(0, classes, patients), each)]
    scores = 1 / (1 + np.exp(-(4 * truth + random.normal(size=(2, count, classes)))))
    if exclusive:
        scores /= scores.sum(-1, keepdims=True)
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(count)], "fold": patient % 3})
    frame["patient_id"] = [f"p{i}" for i in patient]
    frame[[f"y_{name}" for name in names]] = truth
    return LabelObjective(frame, names, "roc_auc", scores, exclusive), list(frame["patient_id"])


@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from(WAYS))
@settings(max_examples=80, deadline=None)
def test_a_pooled_score_lies_between_those_of_its_cases_in_whatever_order_they_come(seed, count, way):
    values = np.random.default_rng(seed).random((count, 3))
    pooled = pool(values, way, False)
    ceiling = 1 - np.prod(1 - values, axis=0) if way.method == "noisy_or" else values.max(0)
    assert (pooled >= values.min(0) - 1e-9).all()
    assert (pooled <= ceiling + 1e-9).all()
    np.testing.assert_allclose(pool(values[::-1], way, False), pooled, atol=1e-12)
    higher = pool(np.minimum(values + 0.05, 1), way, False)
    assert (higher >= pooled - 1e-12).all()
    together = pool(np.stack([values, values / 2]), way, False)  # several members at once
    np.testing.assert_allclose(together[0], pooled)


@given(st.integers(0, 10_000), st.sampled_from(WAYS))
@settings(max_examples=30, deadline=None)
def test_one_case_keeps_its_scores_and_exclusive_classes_share_one(seed, way):
    random = np.random.default_rng(seed)
    alone = random.random((1, 2))
    np.testing.assert_array_equal(pool(alone, way, False), alone[0])
    several = random.dirichlet(np.ones(3), 5)
    assert pool(several, way, True).sum() == pytest.approx(1)


def test_every_way_is_what_its_name_says():
    p = np.array([0.1, 0.9, 0.4, 0.2])
    found = {(one.method, one.value): float(pool(p[:, None], one, False)[0]) for one in WAYS}
    assert found["mean", 0] == pytest.approx(0.4)
    assert found["max", 0] == 0.9
    assert found["top", 2] == pytest.approx(0.65)
    assert found["top", 5] == pytest.approx(0.4)  # there are four
    assert found["noisy_or", 0] == pytest.approx(1 - 0.9 * 0.1 * 0.6 * 0.8)
    assert found["power", 2] == pytest.approx(np.sqrt((p**2).mean()))
    assert found["log_sum_exp", 5] == pytest.approx(np.log(np.exp(5 * p).mean()) / 5)
    assert found["power", 2] < found["power", 4] < found["power", 8] < 0.9
    assert found["log_sum_exp", 2] < found["log_sum_exp", 5] < found["log_sum_exp", 10] < 0.9


def test_the_pooling_is_chosen_on_the_other_folds_and_pays():
    objective, groups = cases()
    grouped = level_objective(objective, groups, "patient", False)
    assert len(grouped.frame) == 120
    found = crossfit(grouped, SearchPlan("greedy", 1))
    for fold, one in found.by_fold.items():
        others = grouped.select((grouped.frame["fold"] != fold).to_numpy())
        assert one.pooling == others.chosen[0]
    [mean] = [one for way, one in grouped.choices if way.method == "mean"]
    plain = crossfit(mean, SearchPlan("greedy", 1))
    assert found.settings.pooling.method != "mean"
    assert found.scores.cross_fitted > plain.scores.cross_fitted + 0.03
    assert found.scores.cross_fitted == pytest.approx(score("roc_auc", found.cross_fitted, ("a",)))


def test_later_steps_work_on_groups():
    objective, groups = cases()
    steps = Refinement(calibrate="platt")
    refined = add_refinement(level_objective(objective, groups, "patient", False), [], steps)
    found = crossfit(refined, SearchPlan("greedy", 1))
    table = found.cross_fitted
    assert found.settings.pooling.level == "patient"
    assert score("brier", table, ("a",)) < score("brier", table.assign(p_a=table["uncalibrated_a"]), ("a",))
    with pytest.raises(UserError, match="--calibrate linear does not fit these members"):
        add_refinement(level_objective(objective, groups, "patient", False), [], Refinement(calibrate="linear"))


def test_labels_of_a_group_are_those_of_its_cases():
    frame = pd.DataFrame({"case_id": list("abcd"), "patient_id": list("ppqq"), "y_x": [0, 1, np.nan, np.nan]})
    frame["y_z"] = [0.0, np.nan, 0.0, 1.0]
    rows = group_rows(frame, ["p", "p", "q", "q"], ("x", "z"), kind="classification", exclusive=False)
    assert rows["case_id"].tolist() == ["p", "q"]
    np.testing.assert_array_equal(rows[["y_x", "y_z"]].to_numpy(), [[1, 0], [np.nan, 1]])
    assert cases_of(rows) == {"p": ["a", "b"], "q": ["c", "d"]}
    with pytest.raises(UserError, match=r"p has cases in several folds.*name its column in the experiment's field"):
        group_rows(frame.assign(fold=[0, 1, 1, 1]), list("ppqq"), ("x",), kind="classification", exclusive=False)
    frame["y_x"] = [1.0, 0.0, 1.0, 1.0]
    frame["y_z"] = 1 - frame["y_x"]
    with pytest.raises(UserError, match="p has cases of the classes x and z, which exclude each other"):
        group_rows(frame, ["p", "p", "q", "q"], ("x", "z"), kind="classification", exclusive=True)


def test_numbers_of_a_patient_are_pooled_too():
    objective, groups = cases(each=3)
    frame = objective.frame.assign(y_a=np.arange(len(objective.frame)) // 3 * 1.0)
    values = frame[["y_a"]].to_numpy()[None] + np.random.default_rng(0).normal(0, 9, (2, len(frame), 1))
    numbers = ValueObjective(frame, ("a",), "mae", values)
    found = crossfit(level_objective(numbers, groups, "patient", False), SearchPlan("greedy", 1))
    assert found.settings.pooling == Pooling(level="patient", method="mean", value=0.0)
    assert found.scores.cross_fitted < crossfit(numbers, SearchPlan("greedy", 1)).scores.cross_fitted - 1


def test_a_patient_is_blended_sealed_tested_and_submitted_as_it_was_scored(runs):
    with pytest.raises(UserError, match="level patient pools labels and numbers of cases, and exp911 is a segmenta"):
        blend(["exp911"], "masks", level="patient", progress=False)
    decision = blend(["exp914", "exp914/tta=h"], "people", trials=4, level="patient", progress=False)
    dataset = open_dataset(open_held_out("exp914").members[0].config)
    train = dataset.part("train")
    table = pd.read_parquet(decision.folder / "oof.parquet")
    assert set(table["case_id"]) == set(train["patient_id"])
    assert len(table) == train["patient_id"].nunique() == len(train) / 2
    largest = train.groupby("patient_id")[[f"y_{name}" for name in decision.classes]].max()
    np.testing.assert_array_equal(table[largest.columns].to_numpy(), largest.loc[table["case_id"]].to_numpy())
    assert decision.pooling.level == "patient"

    freeze("people", abstain=0.9)
    opened = open_decision("people")
    seen = open_held_out("people")
    for _, row in table.iterrows():  # every patient again, from the maps of its images
        expected = row[[f"p_{name}" for name in decision.classes]].to_numpy(float)
        np.testing.assert_allclose(seen.prediction(row["case_id"]).scores, expected, atol=1e-6)

    result = evaluate(opened.decision)
    tested = pd.read_parquet(result.path)
    assert sorted(tested["case_id"]) == sorted(dataset.part("test")["patient_id"].unique())

    path = submit(opened)
    sent = pd.read_csv(path)
    hidden = dataset.part("submit")
    assert list(sent["id"]) == list(dict.fromkeys(hidden["patient_id"]))
    one = hidden[hidden["patient_id"] == sent["id"][0]]["case_id"]
    singles = list(opened.predict((case, dataset.read_image(case)) for case in one))
    values = np.array([[member.scores for member in single.members] for single in singles], float)[:, 0]
    expected = pool(values, opened.decision.pooling, opened.decision.exclusive)
    np.testing.assert_allclose(sent.loc[0, list(decision.classes)].to_numpy(float), expected, atol=1e-6)


def test_another_pooling_is_another_decision_and_breaks_the_seal(runs):
    decision = blend(["exp914"], "people", trials=2, level="patient", progress=False)
    path = decision.folder / "decision.json"
    stored = json.loads(path.read_text())
    assert stored["pooling"]["level"] == "patient"
    other = "max" if stored["pooling"]["method"] != "max" else "mean"
    path.write_text(json.dumps({**stored, "pooling": {**stored["pooling"], "method": other}}))
    with pytest.raises(UserError, match="was edited after it was written"):
        read_decision("people")
    plain = blend(["exp914"], "images", trials=2, progress=False)
    assert "pooling" not in json.loads((plain.folder / "decision.json").read_text())
    assert plain.identity != decision.identity


def test_an_experiment_of_a_level_stands_for_the_mean_of_its_cases(runs):
    decision = load_decision("exp914")
    assert not decision.pooling
    from heldout.config import load

    config = load("exp914+level=patient")
    assert config.identity_hash() == load("exp914").identity_hash()


def test_a_study_is_found_in_any_table_and_checked(tmp_path):
    from heldout.data.sources import source_class

    for case in ("a", "b", "c"):
        (tmp_path / f"{case}.png").write_bytes(b"")
    (tmp_path / "train.csv").write_text("id,patient,study,x,path\na,p,s1,0,a.png\nb,p,s1,1,b.png\n")
    (tmp_path / "test.csv").write_text("image;study\nc.png;s2\n")
    source = source_class("table")(tmp_path, file="train.csv", labels="x", submit="{id}.png")
    index = source.index()
    assert groups_of(source, index, "study") == ["s1", "s1", "s2"]
    assert groups_of(source, index, "patient") == ["p", "p", "c"]
    with pytest.raises(UserError, match="gives case a a scan: add its row to a CSV file with the columns id and scan"):
        groups_of(source, index, "scan")
    (tmp_path / "train.csv").write_text("id,patient,study,x,path\na,p,s1,0,a.png\nb,q,s1,1,b.png\n")
    source = source_class("table")(tmp_path, file="train.csv", labels="x", submit="{id}.png")
    with pytest.raises(UserError, match="study s1 has cases of the patients p and q: correct the table"):
        groups_of(source, source.index(), "study")
    (tmp_path / "test.csv").write_text("image;study\nc.png;s2\nc.png;s3\n")
    with pytest.raises(UserError, match="several values of study for c: give each case, or patient, one"):
        groups_of(source, source.index(), "study")


def test_a_name_that_stands_for_two_cases_says_the_study_of_neither(tmp_path):
    """Files such as ``1.2.840.1.png`` share what stands before the first point."""
    from heldout.data.sources import source_class

    for case in ("1.2", "1.3"):
        (tmp_path / f"{case}.png").write_bytes(b"")
    (tmp_path / "train.csv").write_text("id,patient,x,path\na,p,0,1.2.png\nb,p,1,1.3.png\n")
    (tmp_path / "studies.csv").write_text("name,study\n1,wrong\n1.2,s1\n1.3,s2\n")
    source = source_class("table")(tmp_path, file="train.csv", labels="x")
    assert groups_of(source, source.index(), "study") == ["s1", "s2"]
