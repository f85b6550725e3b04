"""The hook postprocess: added to trained runs, tuned and cross-fitted by blend, sealed, delivered."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import Blended, OpenDecision, blend_case, run_hook
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as evaluate
from heldout.blend.members import load_member
from heldout.blend.postprocess import hook_hash
from heldout.blend.search import blend
from heldout.blend.together import groups_by_case, put_together
from heldout.blend.verify import open_decision, verify
from heldout.cli import run
from heldout.config import load
from heldout.deliver.predict_folder import predict_folder
from heldout.errors import UserError
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score
from heldout.metrics.overlap import count_errors
from heldout.serve.model import Served

pytestmark = pytest.mark.usefixtures("runs")

HEAD = """    postprocess_choices = {choices}

    def postprocess(self, result, {arguments}):
        from dataclasses import replace
{body}
"""
SMALLEST = """
        from scipy.ndimage import label
        mask = result.mask.copy()
        for channel in mask:
            parts, _ = label(channel)
            channel[np.bincount(parts.ravel())[parts] < smallest] = 0
        return replace(result, mask=mask)"""
NEW = "{'patients':14,'images_per_patient':2,'size':32,'seed':7}"
MASKS = HEAD.format(choices={"smallest": (0, 3, 8, 900)}, arguments="smallest", body=SMALLEST)
SCORES = HEAD.format(
    choices={"turn": (False, True), "power": (1.0, 0.5)},
    arguments="turn, power",
    body="        return replace(result, scores=(1 - result.scores if turn else result.scores) ** power)",
)


def make(specs, **options):
    return blend(specs, "mended", trials=6, progress=False, **options)


def test_masks_are_tuned_cross_fitted_sealed_and_delivered(add_hook):
    add_hook("exp911", MASKS)
    decision = make(["exp911"], metric="dice_all")
    tried = load("exp911").postprocess_choices["smallest"]
    assert decision.postprocess.settings["smallest"] in tried
    assert all(one.postprocess["smallest"] in tried for one in decision.search.by_fold.values())
    member = load_member("exp911")
    crossed = pd.read_parquet(decision.folder / "oof.parquet").set_index("case_id")
    for case_id in crossed.index[::6]:
        fold = int(crossed.loc[case_id, "fold"])
        held = held_out_decision(decision, fold)
        assert held.postprocess.settings == decision.search.by_fold[str(fold)].postprocess
        found = blend_case(held, [member.prediction(case_id)])
        counts = count_errors(found.mask, member.dataset.truth(case_id), len(decision.classes), decision.exclusive)
        stored = crossed.loc[case_id, [f"{kind}_{name}" for name in decision.classes for kind in ("tp", "fp", "fn")]]
        np.testing.assert_array_equal(counts.ravel(), stored.to_numpy(float))
    assert score("dice_all", crossed.reset_index(), decision.classes) == pytest.approx(decision.score.cross_fitted)

    freeze("mended")
    sealed = load_decision("mended")
    verify(sealed)
    new = member.dataset.part("test")["case_id"].iloc[0]
    (shipped,) = OpenDecision(sealed).predict([(new, member.dataset.read_image(new))])
    assert shipped.mask.shape[1:] == shipped.map.shape[1:]
    add_hook("exp911", MASKS.replace("< smallest", "<= smallest"))
    with pytest.raises(UserError, match="the code of postprocess of exp911 changed"):
        verify(load_decision("mended"))


def test_the_hook_sees_of_a_new_case_what_it_saw_when_it_was_tuned():
    seen = []
    config = SimpleNamespace(experiment="exp911", postprocess=lambda result: seen.append(result) or result)
    scores, mask = np.float32([0.5]), np.zeros((1, 4, 4), np.uint8)
    case = Blended("7", scores, mask, mask, classified=np.ones((1, 1)), uncalibrated=np.float32([0.4]))
    assert run_hook(config, case, {}).uncalibrated is case.uncalibrated
    assert (seen[0].uncalibrated, seen[0].classified.size) == (None, 0)


def test_methods_that_the_hook_calls_are_pinned(add_hook):
    body = "        return replace(result, scores=self.bounded(result.scores))\n\n"
    body += "    def bounded(self, scores):\n        return {}"
    text = HEAD.format(choices={}, arguments="**settings", body=body)
    add_hook("exp914", text.replace("return {}", "return scores.clip(0, 1)"))
    before = hook_hash(load("exp914"))
    add_hook("exp914", text.replace("return {}", "return scores.clip(0, 0.9)"))
    assert hook_hash(load("exp914")) != before
    add_hook("exp914", text.replace("return {}", "return scores.clip(0, 1)  # as before"))
    assert hook_hash(load("exp914")) == before


def test_a_function_that_also_acts_on_import_is_pinned(add_hook):
    body = "        return replace(result, scores=bounded(result.scores))\n\n\n"
    body += "def bounded(scores):\n    return {}\n\n\nSHOWN = bounded(np.ones(1))"
    text = HEAD.format(choices={}, arguments="**settings", body=body)
    add_hook("exp914", text.replace("return {}", "return scores.clip(0, 1)"))
    before = hook_hash(load("exp914"))
    add_hook("exp914", text.replace("return {}", "return scores.clip(0, 0.9)"))
    assert hook_hash(load("exp914")) != before


def test_the_best_settings_of_scores_are_chosen_and_the_first_of_equals(add_hook):
    plain = make(["exp914"], metric="roc_auc")
    assert not plain.postprocess
    assert "postprocess" not in plain.to_json()
    add_hook("exp914", SCORES)
    decision = make(["exp914"], metric="roc_auc")
    upright = plain.score.in_sample >= 0.5
    assert decision.postprocess.settings == {"turn": not upright, "power": 1.0}  # a power changes no order
    assert decision.score.in_sample == pytest.approx(max(plain.score.in_sample, 1 - plain.score.in_sample))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        return result.mask", r"postprocess of exp911 returns a ndarray: return dataclasses.replace"),
        ("        return replace(result, mask=result.mask[:, :5])", r"gives case \w+ other mask than an array \(2, 32"),
        ("        return replace(result, scores=result.scores * np.nan)", r"gives case \w+ other scores than an array"),
        (
            "        raise KeyError('size')",
            r"postprocess of exp911 fails for case \w+ \(KeyError: 'size'\): correct it",
        ),
    ],
)
def test_a_hook_that_is_wrong_is_named(add_hook, body, message):
    add_hook("exp911", HEAD.format(choices={"smallest": (0, 1)}, arguments="smallest", body=body))
    with pytest.raises(UserError, match=message):
        make(["exp911"])


TABLE = """    postprocess_choices = {choices}

    def postprocess_table(self, table, {arguments}):
{body}
"""
ALIKE = """        scores = table.filter(like="p_")
        return table.assign(**(1 - share) * scores + share * scores.max())"""
ALIKE = TABLE.format(choices={"share": (0.0, 0.5, 1.0)}, arguments="share", body=ALIKE)


def test_cases_of_a_patient_are_changed_together_cross_fitted_sealed_and_delivered(add_hook):
    before = pd.read_parquet(make(["exp914"], metric="roc_auc").folder / "oof.parquet")
    add_hook("exp914", ALIKE)
    decision = make(["exp914"], metric="roc_auc")
    after = pd.read_parquet(decision.folder / "oof.parquet")
    shares = {int(fold): one.postprocess["share"] for fold, one in decision.search.by_fold.items()}
    assert set(decision.postprocess.settings) == {"share"}
    for fold, share in shares.items():
        rows, names = before[before["fold"] == fold], [f"p_{name}" for name in decision.classes]
        expected = (1 - share) * rows[names] + share * rows.groupby("patient_id")[names].transform("max")
        np.testing.assert_allclose(after[after["fold"] == fold][names], expected, atol=1e-6)
    assert any(shares.values()), "some fold's cases are told apart better when those of a patient are drawn together"
    held = open_held_out("mended")
    for case_id in after["case_id"].iloc[::9]:
        stored = after.set_index("case_id").loc[case_id, [f"p_{name}" for name in decision.classes]].to_numpy(float)
        np.testing.assert_allclose(held.prediction(case_id).scores, stored, atol=1e-6)

    freeze("mended", abstain=0.9)
    opened = open_decision("mended")
    source, cases = opened.dataset.source, opened.dataset.part("test")
    images = [(case_id, opened.dataset.read_image(case_id)) for case_id in cases["case_id"]]
    alone = {one.case_id: one.scores for one in opened.predict(images)}
    groups = groups_by_case(decision, source, cases)
    assert set(groups.values()) == set(cases["patient_id"])
    together = {one.case_id: one.scores for one in put_together(opened.decision, opened.predict(images), groups)}
    share, persons = decision.postprocess.settings["share"], cases.set_index("case_id")["patient_id"]
    for case_id, scores in together.items():
        highest = np.max([alone[other] for other in persons.index[persons == persons[case_id]]], axis=0)
        np.testing.assert_allclose(scores, (1 - share) * alone[case_id] + share * highest, atol=1e-6)
    evaluate(opened.decision)
    tested = pd.read_parquet(decision.folder / "test.parquet").set_index("case_id")
    for case_id, scores in together.items():
        np.testing.assert_allclose(tested.loc[case_id, [f"p_{name}" for name in decision.classes]], scores, atol=1e-6)
    with pytest.raises(UserError, match="postprocess_table of mended needs all cases of a patient, and a service"):
        Served("mended")
    add_hook("exp914", ALIKE.replace("scores.max()", "scores.min()"))
    with pytest.raises(UserError, match="the code of postprocess of exp914 changed"):
        verify(load_decision("mended"))


def test_new_files_are_changed_with_those_that_a_table_names_together(add_hook, tmp_path):
    folder, dataset = tmp_path / "new", load_member("exp914").dataset
    people = dataset.cases["patient_id"].str.replace("p", "person ")
    pd.DataFrame({"id": dataset.cases["case_id"], "person": people}).to_csv(dataset.source.root / "people.csv")
    add_hook("exp914", ALIKE.replace("(0.0, 0.5, 1.0)", "(1.0,)") + '    postprocess_by = "person"\n')
    decision = make(["exp914"], metric="roc_auc")
    assert decision.postprocess.by == "person"
    freeze("mended")
    opened, folder = open_decision("mended"), tmp_path / "new"
    folder.mkdir()
    for number, image in enumerate(dataset.part("test")["image"]):
        shutil.copyfile(dataset.source.paths(image)[0], folder / f"n{number}.png")
    with pytest.raises(UserError, match=r"gives case n0 a person: add its row to a CSV file"):
        predict_folder(opened, folder, tmp_path / "out", skip_bad=False, force=False)
    (folder / "people.csv").write_text(
        "id,person\nn0,a\nn1,b\nn2,a\nn3,b\n" + "".join(f"n{k},{k}\n" for k in range(4, 20))
    )
    predict_folder(opened, folder, tmp_path / "out", skip_bad=False, force=False)
    found = pd.read_csv(tmp_path / "out" / "predictions.csv", index_col="name")
    images = ((path.name, opened.dataset.source.read_image(row)) for path, row in loose(opened, folder))
    alone = {one.case_id: one.scores for one in opened.predict(images)}
    for name, others in {"n0": "02", "n1": "13", "n2": "02", "n3": "13"}.items():
        highest = np.max([alone[f"n{number}.png"] for number in others], axis=0)
        np.testing.assert_allclose(
            found.loc[f"{name}.png", [f"p_{one}" for one in decision.classes]], highest, atol=1e-5
        )


def loose(opened, folder):
    source = type(opened.dataset.source)(folder)
    return [(folder / row["name"], row) for row in source.loose(folder).to_dict("records")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        return None", "postprocess_table of exp914 returns no table with case_id and p_"),
        ("        return table[::-1]", "returns other rows for the table of case .*: return each case once"),
        ("        return table.assign(p_small=float('inf'))", "scores that are not finite numbers: correct it"),
        ("        raise KeyError('x')", r"fails for the table of case \w+ \(KeyError: 'x'\): correct it"),
    ],
)
def test_a_table_hook_that_is_wrong_is_named(add_hook, body, message):
    add_hook("exp914", TABLE.format(choices={}, arguments="**settings", body=body))
    with pytest.raises(UserError, match=message):
        make(["exp914"], metric="roc_auc")


def test_a_table_hook_is_refused_where_there_are_masks_pooled_cases_or_another_hook(add_hook):
    add_hook("exp911", ALIKE)
    with pytest.raises(UserError, match="postprocess_table of exp911 changes scores of cases, and exp911 is a segm"):
        make(["exp911"])
    add_hook("exp914", ALIKE)
    with pytest.raises(UserError, match="changes cases, and level patient pools them: blend with --level case"):
        make(["exp914"], level="patient")
    add_hook("exp914", SCORES + ALIKE)
    with pytest.raises(UserError, match="postprocess and postprocess_table are defined together: keep one"):
        load("exp914")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, None),
        ({"smallest": ()}, r"postprocess_choices smallest = \(\): list different values"),
        ({"smallest": (1, 1)}, "list different values"),
        ({"two words": (1,)}, "cannot name an argument"),
        ({"a": tuple(range(65))}, "are 65 combinations: leave 64 at most"),
    ],
)
def test_choices_that_no_one_can_try_are_refused(add_hook, choices, message):
    add_hook("exp911", HEAD.format(choices=choices, arguments="**settings", body="        return result"))
    if message is None:
        assert make(["exp911"]).postprocess.settings == {}
        return
    with pytest.raises(UserError, match=message):
        load("exp911")


def test_calibrated_scores_stay_in_their_order(add_hook, monkeypatch):
    from heldout.blend import calibrate

    monkeypatch.setattr(calibrate, "FEWEST_CASES", 1)
    add_hook("exp914", SCORES)
    with pytest.raises(UserError, match=r"postprocess of exp914 changes calibrated scores.*leave --calibrate out"):
        make(["exp914"], calibrate="temperature")


def test_choices_without_a_hook_are_refused(add_hook):
    add_hook("exp911", "    postprocess_choices = {'smallest': (0, 1)}\n")
    with pytest.raises(UserError, match="are settings of the hook postprocess: define it, or leave them out"):
        load("exp911")


@pytest.mark.parametrize("spec", ["exp911", "exp914"])
def test_masks_and_scores_are_tested_and_evaluated_after_the_hook(add_hook, spec, capsys):
    body = "        return replace(result, {})".format(
        "mask=1 - result.mask" if spec == "exp911" else "scores=1 - result.scores"
    )
    add_hook(spec, HEAD.format(choices={}, arguments="**settings", body=body))
    decision = make([spec], metric="dice_all" if spec == "exp911" else "log_loss")
    freeze("mended")
    assert run(["evaluate", "mended", "--on", f"{spec}+dataset=new,source_options={NEW}"]) == 0
    elsewhere = pd.read_parquet(decision.folder / "on_new.parquet")
    assert f"{score(decision.metric, elsewhere, decision.classes):.4f}" in capsys.readouterr().out
    tested = evaluate(load_decision("mended")).table
    if spec == "exp911":
        for table in (tested, elsewhere):
            marked = table.filter(like="fp_").sum(axis=1) + table.filter(like="tp_").sum(axis=1)
            assert marked.min() > 32 * 32, "most of each image is marked once masks are turned around"
    opened = open_decision("mended")
    images = [(case_id, opened.dataset.read_image(case_id)) for case_id in tested["case_id"]]
    names = [f"p_{name}" for name in decision.classes]
    for found, row in zip(opened.predict(images), tested[names].to_numpy(float), strict=True):
        np.testing.assert_allclose(found.scores, row, atol=1e-6)


def test_a_table_hook_is_applied_to_other_data(add_hook):
    add_hook("exp914", ALIKE.replace("(0.0, 0.5, 1.0)", "(1.0,)"))
    decision = make(["exp914"], metric="roc_auc")
    freeze("mended")
    assert run(["evaluate", "mended", "--on", f"exp914+dataset=new,source_options={NEW}"]) == 0
    table = pd.read_parquet(decision.folder / "on_new.parquet")
    names = [f"p_{name}" for name in decision.classes]
    assert (table.groupby("patient_id")[names].nunique() == 1).all(axis=None)
    assert table[names].nunique().min() > 5
