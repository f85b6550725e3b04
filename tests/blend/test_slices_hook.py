"""The hook postprocess_slices: masks of a patient's images changed together, tuned, sealed, delivered."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import Blended, blend_case
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as evaluate
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.together import groups_by_case, put_together, run_slices_hook
from heldout.blend.verify import open_decision, verify
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_sealed
from heldout.data.sources import natural_key
from heldout.deliver.case_log import CaseLog, Part, finished_cases
from heldout.deliver.kernel.runtime import FailSafe
from heldout.deliver.predict_folder import predict_folder
from heldout.errors import UserError
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.lineage import lineage_of
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score
from heldout.metrics.overlap import count_errors
from heldout.serve.messages import Ask
from heldout.serve.model import Served
from heldout.serve.slices import analyze_slices
from heldout.train.runs import read_info, run_folder

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
SIZES = (("a", 3), ("b", 5))
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
    assert run(["submit", "volumes"]) == 0, capsys.readouterr().err
    assert run(["check-submission", "volumes", str(runs / "submissions" / "volumes.csv")]) == 0
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

    add, written = CaseLog.add, []

    def killed(log, handle, case):
        if len(written) == 2:  # in the middle of a volume
            raise KeyboardInterrupt
        written.append(case.case_id)
        add(log, handle, case)

    monkeypatch.setattr(CaseLog, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(opened, folder, tmp_path / "killed", skip_bad=False, force=False)
    monkeypatch.setattr(CaseLog, "add", add)
    assert finished_cases(tmp_path / "killed") == 2
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    assert predict_folder(opened, folder, tmp_path / "killed", skip_bad=False, force=False).table is not None
    check_masks(tmp_path / "killed", expected, opened.decision.classes)
    (folder / "n3.png").write_bytes(b"no picture")
    outcome = predict_folder(opened, folder, tmp_path / "damaged", skip_bad=True, force=False)
    assert dict(outcome.counts) == {"ok": 7, "skipped": 1}
    turned = cv2.imread(next(iter(map(str, (tmp_path / "damaged").glob("n6*.png")))), 0) > 0
    before = cv2.imread(next(iter(map(str, (tmp_path / "whole").glob("n6*.png")))), 0) > 0
    np.testing.assert_array_equal(turned, ~before)  # the second of its volume now
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


def test_slices_of_two_sizes_are_named(add_hook):
    add_hook("exp911", HEAD.format(choices={}, arguments="**settings", body="        raise ValueError"))
    results = [Blended(name, np.zeros(2, np.float32), None, np.zeros((2, size, 4), np.uint8)) for name, size in SIZES]
    with pytest.raises(UserError, match=r"one size, and a has \(3, 4\) and b has \(5, 4\): give one volume at a time"):
        run_slices_hook(load("exp911"), results, {})


def test_a_kernel_keeps_the_masks_of_a_volume_for_which_the_hook_fails(files, add_hook, capsys):
    decision = files[0].decision
    add_hook("exp911", HEAD.format(choices={}, arguments="**settings", body="        raise ValueError"))
    masks = [np.zeros((2, size, 4), np.uint8) for _, size in SIZES]
    results = [
        Blended(name, np.zeros(2, np.float32), None, mask, uncalibrated=np.zeros(2, np.float32))
        for (name, _), mask in zip(SIZES, masks, strict=True)
    ]
    safe = FailSafe(SimpleNamespace(decision=decision), None, 3, most=1.0)
    found = list(put_together(decision, results, dict.fromkeys(("a", "b"), "one"), safe.together))
    assert [one.mask is mask for one, mask in zip(found, masks, strict=True)] == [True, True]
    assert set(safe.failures) == {"a", "b"}
    assert "case a stays as it was before the hook" in capsys.readouterr().out
    with pytest.raises(UserError, match="fail, more than the 1 that may"):
        list(
            put_together(
                decision,
                results,
                dict.fromkeys(("a", "b"), "one"),
                FailSafe(SimpleNamespace(decision=decision), None, 3, most=0.1).together,
            )
        )


def test_a_volume_in_several_folds_or_of_several_patients_is_refused(add_hook, monkeypatch):
    dataset = load_member("exp911").dataset
    table = pd.DataFrame({"id": dataset.cases["case_id"], "scan": "everyone"})
    table.to_csv(dataset.source.root / "scans.csv", index=False)
    add_hook("exp911", ALWAYS + '    postprocess_by = "scan"\n')
    with pytest.raises(UserError, match="scan everyone has cases of the patients"):
        make()
    monkeypatch.setattr("heldout.blend.postprocess.groups_of", lambda _source, cases, _by: ["one"] * len(cases))
    with pytest.raises(UserError, match="scan one has cases in several folds, so that no fold holds all"):
        make()


def test_a_hook_may_change_masks_in_place(add_hook):
    add_hook("exp911", TURNED)
    expected = make()
    body = """        for number, one in enumerate(results):
            if turned and number % 2:
                one.mask[...] = 1 - one.mask
        return results"""
    add_hook("exp911", HEAD.format(choices={"turned": (False, True)}, arguments="turned", body=body))
    found = blend(["exp911"], "in_place", trials=4, progress=False, metric="dice_all")
    assert (found.score, found.postprocess.settings) == (expected.score, expected.postprocess.settings)


def test_the_hook_is_refused_where_there_are_no_masks_or_another_hook(add_hook):
    add_hook("exp914", ALWAYS)
    with pytest.raises(UserError, match="postprocess_slices of exp914 changes masks, and exp914 is a classification"):
        make(["exp914"], metric="roc_auc")
    add_hook("exp911", ALWAYS + "\n    def postprocess(self, result, turned):\n        return result\n")
    with pytest.raises(UserError, match="postprocess and postprocess_slices are defined together: keep one"):
        load("exp911")


def test_a_hook_that_a_parent_got_after_training_is_no_change_of_its_children(add_hook):
    before = lineage_of(read_info(run_folder("exp912")))
    add_hook("exp911", ALWAYS)
    assert lineage_of(read_info(run_folder("exp912"))) == before
    assert before[0] == "exp911"
