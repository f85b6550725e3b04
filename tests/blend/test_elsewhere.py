"""A sealed decision on labeled data from elsewhere: on record before its score is known, and no test evaluation."""

from __future__ import annotations

import shutil

import cv2
import pytest

from heldout.blend.elsewhere import evaluate_on, open_elsewhere
from heldout.blend.freeze import freeze
from heldout.blend.ledger import read_ledger
from heldout.blend.search import blend
from heldout.blend.verify import open_decision
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.metrics import interval

ELSEWHERE = "exp914+dataset=elsewhere,source_options={'patients':14,'images_per_patient':2,'size':32,'seed':7}"


def test_a_sealed_decision_on_other_data_is_on_record(runs):
    blend(["exp914"], "labels", sampler="equal", progress=False)
    with pytest.raises(UserError, match="blend labels is not frozen"):
        open_decision("labels")
    freeze("labels")
    opened = open_decision("labels")
    data = open_elsewhere(opened, ELSEWHERE)
    result, table = evaluate_on(opened, data)
    assert len(table) == len(data.rows) == 28
    found = interval("roc_auc", table, opened.decision.classes)
    assert (result.score, result.low, result.decision_evals) == (found.value, found.low, 1)
    entry = read_ledger()[-1]
    assert (entry.evaluation.dataset, entry.result.cases) == ("elsewhere", 28)
    row = find_row("labels")
    assert (row.test_evals, row.test_score) == (0, None)  # the locked part was not looked at
    with pytest.raises(UserError, match="repeated evaluation makes test scores optimistic"):
        evaluate_on(opened, data)
    assert evaluate_on(opened, data, "a new interval")[0].decision_evals == 2
    renamed = open_elsewhere(opened, ELSEWHERE.replace("elsewhere", "renamed"))
    with pytest.raises(UserError, match="repeated evaluation makes test scores optimistic"):
        evaluate_on(opened, renamed)
    assert evaluate_on(opened, renamed, "another name")[0].decision_evals == 3


def test_masks_are_scored_on_other_data(runs):
    blend(["exp911"], "masks", sampler="equal", progress=False)
    freeze("masks")
    opened = open_decision("masks")
    _, table = evaluate_on(opened, open_elsewhere(opened, ELSEWHERE.replace("exp914", "exp911")))
    assert {"tp_small", "fn_large"} <= set(table)


def test_copies_of_the_own_cases_that_were_changed_a_little_are_refused(runs):
    opened = open_decision("exp914")
    vars(opened)["config"] = opened.config.model_copy(update={"near_duplicates": True})
    copied = opened.dataset.source.root.with_name("copied")
    shutil.copytree(opened.dataset.source.root, copied)
    for path in copied.glob("images/*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        image[0, 0] = image[0, 0] // 2 + 20
        cv2.imwrite(str(path), image)
    with pytest.raises(UserError, match=r"of copied looks like a copy of case .* of the decision's own dataset: leave"):
        open_elsewhere(opened, "copied")


def test_data_that_was_trained_on_or_has_other_classes_is_refused(runs):
    blend(["exp914"], "labels", sampler="equal", progress=False)
    freeze("labels")
    opened = open_decision("labels")
    with pytest.raises(UserError, match=r"case .* of exp914 is case .* of the decision's own dataset: leave it out"):
        open_elsewhere(opened, "exp914")
    with pytest.raises(UserError, match=r"exp010 has the classes .*, labels predicts small, large"):
        open_elsewhere(opened, "exp010")
