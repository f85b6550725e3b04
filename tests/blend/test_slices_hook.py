"""The hook postprocess_slices: masks of a patient's images changed together, tuned, sealed, delivered."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import OpenDecision, blend_case
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as evaluate
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.together import groups_by_case, put_together
from heldout.blend.verify import open_decision, verify
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_sealed
from heldout.data.sources import natural_key
from heldout.deliver.case_log import Part
from heldout.deliver.predict_folder import predict_folder
from heldout.errors import UserError
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score
from heldout.metrics.overlap import count_errors
from heldout.serve.messages import Ask
from heldout.serve.model import Served
from heldout.serve.slices import analyze_slices

pytestmark = pytest.mark.usefixtures("runs")

HEAD = """    postprocess_choices = {choices}

    def postprocess_slices(self, results, {arguments}):
        from dataclasses import replace
{body}
"""
# every other image of a patient has its mask turned round
TURNED = """        turn = [number % 2 if turned else 0 for number in range(len(results))]
        return [replace(one, mask=1 - one.mask if yes else one.mask) for one, yes in zip(results, turn)]"""
TURNED = HEAD.format(choices={"turned": (False, True)}, arguments="turned", body=TURNED)
ALWAYS = TURNED.replace("(False, True)", "(True,)")
NEW = "{'patients':14,'images_per_patient':2,'size':32,'seed':7}"


def make(specs=("exp911",), **options):
    return blend(list(specs), "volumes", trials=4, progress=False, **{"metric": "dice_all", **options})


def changed(results, groups):
    """What the hook makes of masks by case id."""
    found = {}
    for group in set(groups.values()):
        cases = sorted((case_id for case_id in results if groups[case_id] == group), key=natural_key)
        for number, case_id in enumerate(cases):
            mask = results[case_id].mask
            found[case_id] = 1 - mask if number % 2 else mask
    return found


def counts_of(table, case_id, classes):
    return table.loc[case_id, [f"{kind}_{name}" for name in classes for kind in ("tp", "fp", "fn")]].to_numpy(float)


def test_settings_are_tuned_on_volumes_and_cross_fitted(add_hook):
    add_hook("exp911", TURNED)
    decision = make()
    assert decision.postprocess.by == "patient"
    member, held = load_member("exp911"), open_held_out("volumes")
    crossed = pd.read_parquet(decision.folder / "oof.parquet").set_index("case_id")
    for fold, rows in crossed.groupby("fold"):
        settings = held_out_decision(decision, int(fold))
        assert settings.postprocess.settings == decision.search.by_fold[str(fold)].postprocess
        before = {case_id: blend_case(settings, [member.prediction(case_id)]) for case_id in rows.index}
        after = changed(before, dict(rows["patient_id"])) if settings.postprocess.settings["turned"] else None
        for case_id in rows.index[::5]:
            mask = before[case_id].mask if after is None else after[case_id]
            counts = count_errors(mask, member.dataset.truth(case_id), len(decision.classes), decision.exclusive)
            np.testing.assert_array_equal(counts.ravel(), counts_of(crossed, case_id, decision.classes))
            np.testing.assert_array_equal(held.prediction(case_id).mask, mask)
    assert score("dice_all", crossed.reset_index(), decision.classes) == pytest.approx(decision.score.cross_fitted)


def test_a_sealed_decision_is_verified_tested_evaluated_and_submitted_with_the_hook(add_hook, runs, capsys):
    add_hook("exp911", ALWAYS)
    decision = make()
    freeze("volumes")
    opened = open_decision("volumes")
    source, cases = opened.dataset.source, opened.dataset.part("test")
    images = [(case_id, opened.dataset.read_image(case_id)) for case_id in cases["case_id"]]
    before = {one.case_id: one for one in opened.predict(images)}
    groups = groups_by_case(decision, source, cases)
    expected = changed(before, groups)
    asked = []

    def watched():
        for one in before.values():
            asked.append(one.case_id)
            yield one

    for result in put_together(opened.decision, watched(), groups):
        np.testing.assert_array_equal(result.mask, expected[result.case_id])
        begun = [groups[one] for one in asked]
        assert result.case_id in asked
        assert len(set(begun)) <= 1 + list(dict.fromkeys(groups.values())).index(groups[result.case_id]), "no waiting"
    tested = evaluate(opened.decision).table.set_index("case_id")
    sealed = open_sealed(opened.dataset)
    for case_id, mask in expected.items():
        counts = count_errors(mask, sealed.truth(case_id), len(decision.classes), decision.exclusive)
        np.testing.assert_array_equal(counts.ravel(), counts_of(tested, case_id, decision.classes))
    assert run(["evaluate", "volumes", "--on", f"exp911+dataset=new,source_options={NEW}"]) == 0
    elsewhere = pd.read_parquet(decision.folder / "on_new.parquet")
    shown = elsewhere[[one for one in elsewhere if one.startswith(("tp_", "fp_"))]].sum(axis=1)
    second = elsewhere["patient_id"].duplicated()
    assert (shown[second].mean() > 32 * 32 / 2) != (shown[~second].mean() > 32 * 32 / 2)
    add_hook("exp911", ALWAYS.replace("number % 2", "number % 3"))
    with pytest.raises(UserError, match="the code of postprocess of exp911 changed"):
        verify(load_decision("volumes"))


@pytest.fixture
def files(add_hook, tmp_path):
    """A sealed decision, a folder of new files whose patients a table names, and their masks after the hook."""
    dataset = load_member("exp911").dataset
    people = dataset.cases["patient_id"].str.replace("p", "person ")
    pd.DataFrame({"id": dataset.cases["case_id"], "person": people}).to_csv(dataset.source.root / "people.csv")
    add_hook("exp911", ALWAYS + '    postprocess_by = "person"\n')
    make()
    freeze("volumes")
    opened, folder = open_decision("volumes"), tmp_path / "new"
    folder.mkdir()
    shown = dataset.part("train")["image"].iloc[:8]
    for number, image in enumerate(shown):
        shutil.copyfile(dataset.source.paths(image)[0], folder / f"n{number}.png")
    (folder / "people.csv").write_text("id,person\n" + "".join(f"n{k},{k % 3}\n" for k in range(8)))
    source = type(dataset.source)(folder)
    images = ((row["case_id"], source.read_image(row)) for row in source.loose(folder).to_dict("records"))
    before = {one.case_id: one for one in opened.predict(images)}
    expected = changed(before, {f"n{k}": str(k % 3) for k in range(8)})
    return opened, folder, expected


def check_masks(output, expected, classes):
    for case_id, mask in expected.items():
        for name, one in zip(classes, mask, strict=True):
            [path] = output.glob(f"{case_id}_{name}*.png") if len(classes) > 1 else output.glob(f"{case_id}*.png")
            np.testing.assert_array_equal(cv2.imread(str(path), 0) > 0, one > 0)


def test_slices_of_a_folder_are_changed_together_by_parts_and_after_a_kill(files, tmp_path, monkeypatch):
    opened, folder, expected = files
    outcome = predict_folder(opened, folder, tmp_path / "whole", skip_bad=False, force=False)
    assert outcome.table is not None
    check_masks(tmp_path / "whole", expected, opened.decision.classes)
    for number in (2, 1):
        part = Part(number, 2)
        outcome = predict_folder(opened, folder, tmp_path / "parts", skip_bad=False, force=False, part=part)
    assert outcome.table is not None
    check_masks(tmp_path / "parts", expected, opened.decision.classes)

    predict, seen = OpenDecision.predict, []

    def killed(self, images, **options):
        for result in predict(self, images, **options):
            seen.append(result.case_id)
            if len(seen) == 8:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(OpenDecision, "predict", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(opened, folder, tmp_path / "killed", skip_bad=False, force=False)
    monkeypatch.setattr(OpenDecision, "predict", predict)
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    assert predict_folder(opened, folder, tmp_path / "killed", skip_bad=False, force=False).table is not None
    check_masks(tmp_path / "killed", expected, opened.decision.classes)
    tables = [(tmp_path / one / "predictions.csv").read_text() for one in ("whole", "parts", "killed")]
    assert len(set(tables)) == 1


def test_a_service_takes_the_slices_of_an_upload_as_one_volume(files, tmp_path):
    _, folder, _ = files
    served = Served("volumes")
    (folder / "people.csv").unlink()
    cases = served.read(folder)
    before = {case.case_id: served.predict([served.prepare(case)])[0] for case in cases}
    expected = changed(before, dict.fromkeys(before, "volume"))
    found = analyze_slices(served, Ask("stack", "volumes", "", "1", folder))
    for k, name in enumerate(served.decision.classes):
        assert found.areas[name] == sum(int(mask[k].sum()) for mask in expected.values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        return None", r"fails for the slices from \w+ on \(TypeError: .*\): correct it"),
        ("        return results[1:]", r"returns other cases for the slices from \w+ on: return each once, in its ord"),
        ("        return results[::-1]", "returns other cases"),
        ("        return [replace(one, mask=one.mask[:, 1:]) for one in results]", "other mask than an array"),
        ("        return [replace(one, scores=one.scores / 2) for one in results]", r"changes scores of case \w+: ch"),
        ("        raise KeyError('x')", r"fails for the slices from \w+ on \(KeyError: 'x'\): correct it"),
    ],
)
def test_a_hook_that_is_wrong_is_named(add_hook, body, message):
    add_hook("exp911", HEAD.format(choices={}, arguments="**settings", body=body))
    with pytest.raises(UserError, match=f"postprocess_slices of exp911 {message}|of exp911 gives case .*{message}"):
        make()


def test_the_hook_is_refused_where_there_are_no_masks_or_another_hook(add_hook):
    add_hook("exp914", ALWAYS)
    with pytest.raises(UserError, match="postprocess_slices of exp914 changes masks, and exp914 is a classification"):
        make(["exp914"], metric="roc_auc")
    add_hook("exp911", ALWAYS + "\n    def postprocess(self, result, turned):\n        return result\n")
    with pytest.raises(UserError, match="postprocess and postprocess_slices are defined together: keep one"):
        load("exp911")
