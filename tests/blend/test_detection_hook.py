"""The hook postprocess_detections: tuned and cross-fitted by blend, sealed, delivered."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import OpenDecision, blend_case
from heldout.blend.decision import load_decision
from heldout.blend.detection_hook import run_detection_hook, to_frame
from heldout.blend.freeze import freeze
from heldout.blend.ledger import test as evaluate
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.verify import verify
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score
from heldout.serve.model import Served
from heldout.tasks.finder import Finder
from heldout.train.fit import fit_fold

SPEC = "exp927"
ELSEWHERE = f"{SPEC}+dataset=new,source_options={{'patients':14,'images_per_patient':2,'size':32,'seed':7}}"
HOOK = """    postprocess_choices = {choices}

    def postprocess_detections(self, found, {arguments}):
{body}
"""
MOVE = "        return found.assign(x=found.x + far, y=found.y - far, score=found.score * share)"
MOVED = HOOK.format(choices={"far": (30.0, 1.0), "share": (0.9, 0.5)}, arguments="far, share", body=MOVE)


@pytest.fixture(scope="module")
def detected(known_experiments, tmp_path_factory):
    """A home with two finished folds of points."""
    folder = tmp_path_factory.mktemp("hooked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        config = load(SPEC)
        dataset = open_dataset(config)
        for fold in range(2):
            fit_fold(config, dataset, fold, 0, quiet=True)
    return folder


@pytest.fixture(autouse=True)
def _home(detected, tmp_path, monkeypatch):
    shutil.copytree(detected, tmp_path / "home")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)


def make(**options):
    return blend([SPEC], "points", trials=1, progress=False, **{"metric": "froc:3", **options})


def rows_of(text):
    return np.array(json.loads(text)).reshape(-1, 7)


def test_detections_are_tuned_cross_fitted_sealed_and_delivered(add_hook, capsys):
    plain = make()
    before = pd.read_parquet(plain.folder / "in_sample.parquet").set_index("case_id")
    add_hook(SPEC, MOVED)
    decision = make()
    assert decision.postprocess.settings == {"far": 1.0, "share": 0.9}
    assert all(one.postprocess["far"] in (30.0, 1.0) for one in decision.search.by_fold.values())
    after = pd.read_parquet(decision.folder / "in_sample.parquet").set_index("case_id")
    some = [case_id for case_id in before.index if before.loc[case_id, "detections"] != "[]"][::5]
    for case_id in some:
        old, new = rows_of(before.loc[case_id, "detections"]), rows_of(after.loc[case_id, "detections"])
        np.testing.assert_allclose(new[:, 3:] - old[:, 3:], np.tile([-1.0, 1.0], (len(old), 2)), atol=1e-3)  # y, x
        np.testing.assert_allclose(new[:, 1], 0.9 * old[:, 1], atol=1e-3)
    crossed = pd.read_parquet(decision.folder / "oof.parquet").set_index("case_id")
    assert score("froc:3", crossed.reset_index(), decision.classes) == pytest.approx(decision.score.cross_fitted)
    for case_id in some:
        held = held_out_decision(decision, int(crossed.loc[case_id, "fold"]))
        found = blend_case(held, [load_member(SPEC).prediction(case_id)]).detections
        np.testing.assert_allclose(rows_of(crossed.loc[case_id, "detections"]), found, atol=1e-3)

    freeze("points")
    sealed = load_decision("points")
    dataset = verify(sealed).dataset
    tested = evaluate(sealed).table.set_index("case_id")
    served = Served("points")
    for case_id in dataset.part("test")["case_id"]:
        (shipped,) = OpenDecision(sealed).predict([(case_id, dataset.read_image(case_id))])
        np.testing.assert_allclose(rows_of(tested.loc[case_id, "detections"]), shipped.detections, atol=1e-3)
        if len(shipped.detections):
            row = shipped.detections[0]
            assert served.objects(shipped, None)[0]["x"] == pytest.approx(row[4], abs=1e-3)
            again = served.objects(shipped, 0.01)
            assert again[0]["score"] == pytest.approx(row[1], abs=1e-3), "at another threshold the hook is called too"
    assert (
        run(["evaluate", "points", "--on", f"{SPEC}+dataset=new,source_options={{'patients':14,'size':32,'seed':7}}"])
        == 0
    )
    new = pd.read_parquet(decision.folder / "on_new.parquet")
    assert f"{score('froc:3', new, decision.classes):.4f}" in capsys.readouterr().out
    add_hook(SPEC, MOVED.replace("found.x + far", "found.x - far"))
    with pytest.raises(UserError, match="the code of postprocess of exp927 changed"):
        verify(load_decision("points"))


def test_the_hook_works_with_thresholds_that_keep_detections(add_hook):
    add_hook(
        SPEC,
        HOOK.format(
            choices={"share": (0.4, 1.0)},
            arguments="share",
            body="        return found.assign(score=found.score * share)",
        ),
    )
    decision = make(metric="fbeta:1:3")
    assert decision.postprocess.settings == {"share": 1.0}, "fewer detections reach the thresholds at lower scores"
    case_ids = list(load_member(SPEC).cases["case_id"])[::6]
    for case_id in case_ids:
        found = blend_case(decision, [load_member(SPEC).prediction(case_id)]).detections
        assert all(round(255 * one) >= decision.levels[int(number)] for number, one in found[:, :2])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("found.to_numpy()", "returns a ndarray: return the table with other rows or values"),
        ("found.drop(columns='x')", r"returns a table without x for case \w+: keep class, score, x, y"),
        ("found.assign(score=float('nan'))", r"gives case \w+ a score that is not a finite number: correct it"),
        ("found.assign(score=2 * found.score + 1)", r"case \w+ a score outside 0 ... 1: scale or clip it"),
        ("found.assign(y='low')", r"gives case \w+ values that are not numbers"),
        ("found.assign(**{'class': 'huge'})", r"gives case \w+ the class huge: choose of small, large"),
        ("found.assign(x=__import__('random').random())", "other detections when it is called again: give"),
        ("found['size']", r"fails for case \w+ \(KeyError: 'size'\): correct it"),
    ],
)
def test_a_hook_that_is_wrong_is_named(add_hook, body, message):
    add_hook(SPEC, HOOK.format(choices={}, arguments="**settings", body=f"        return {body}"))
    with pytest.raises(UserError, match=f"postprocess_detections of exp927.*{message}"):
        make()


def test_a_hook_that_nothing_tunes_is_refused(add_hook):
    add_hook(SPEC, MOVED)
    with pytest.raises(UserError, match="is tuned by a score of detections, and dice_pos scores masks"):
        make(metric="dice_pos")
    add_hook(SPEC, "    def postprocess(self, result):\n        return result\n")
    with pytest.raises(UserError, match="detections come from maps: define postprocess_detections"):
        make()


def test_boxes_of_volumes_come_back_as_they_were():
    class Config:
        finder, experiment = Finder(objects="boxes"), "exp001"

        def postprocess_detections(self, found):
            assert list(found.columns) == ["class", "score", "x", "y", "z", "w", "h", "d"]
            return found[::-1]

    random = np.random.default_rng(0)
    low, size = random.uniform(0, 50, (6, 3)), random.uniform(1, 9, (6, 3))
    scores = np.sort(random.random(6))[::-1]
    rows = np.column_stack([random.integers(0, 2, 6), scores, scores >= 100 / 255, low, low + size])
    np.testing.assert_allclose(run_detection_hook(Config(), "7", rows, ("a", "b"), (100, 100), {}), rows)
    frame = to_frame(rows, ("a", "b"), boxes=True)
    np.testing.assert_allclose(frame[["x", "y", "z", "w", "h", "d"]], np.column_stack([low, size]))
