"""Each evaluation of a test part is on record before its score, counted, and cannot be made unseen."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from heldout.blend import calibrate, chain, ledger
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.data.cases import open_sealed
from heldout.errors import UserError
from heldout.metrics import count_errors, score
from heldout.predict.prediction import to_mask
from heldout.predict.store import read_map


def evaluate(name, **options):
    return ledger.test(load_decision(name), **options)


def lines():
    return chain.ledger_path().read_text().splitlines()


@pytest.fixture
def evaluated(runs):
    """Two decisions tested."""
    return evaluate("exp911"), evaluate("exp914")


def test_a_sealed_blend_is_scored_on_the_test_part(runs):
    blend(["exp911", "exp912"], "duo", trials=6, progress=False)
    with pytest.raises(UserError, match="blend duo is not frozen"):
        evaluate("duo")
    assert not chain.ledger_path().exists()
    freeze("duo")
    result, decision, dataset = evaluate("duo"), load_decision("duo"), load_member("exp911").dataset
    sealed, classes = open_sealed(dataset), dataset.classes
    rows = []
    for case_id in dataset.part("test")["case_id"]:
        mask = to_mask(read_map(decision.folder, "test", case_id), decision.levels, False)
        counts = count_errors(mask, sealed.truth(case_id), 2, False)
        row = {"case_id": case_id}
        for k, name in enumerate(classes):
            row |= {f"y_{name}": 0, f"p_{name}": 0}
            row |= {f"{kind}_{name}": counts[k, i] for i, kind in enumerate(("tp", "fp", "fn"))}
        rows.append(row)
    assert result.score == pytest.approx(score("dice_all", pd.DataFrame(rows), classes))
    assert np.isnan([result.low, result.high]).all(), "three patients say nothing about others"
    stored = pd.read_parquet(result.path)
    assert stored[["y_small", "y_large"]].isna().all(axis=None), "labels stay sealed"
    assert ledger.read_ledger()[0].evaluation.decision == decision.seal


def test_evaluations_are_counted_for_the_decision_and_for_the_test_part(evaluated):
    first, second = evaluated
    assert (first.decision_evals, first.dataset_evals) == (1, 1)
    assert (second.decision_evals, second.dataset_evals) == (1, 2)
    third = evaluate("exp911", reason="the reader wanted to see it")
    assert (third.decision_evals, third.dataset_evals) == (2, 3)
    assert third.score == first.score
    names = [(one.evaluation.name, one.result.score, one.evaluation.reason) for one in ledger.read_ledger()]
    assert names == [
        ("exp911", pytest.approx(first.score), None),
        ("exp914", pytest.approx(second.score), None),
        ("exp911", pytest.approx(first.score), "the reader wanted to see it"),
    ]


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_second_evaluation_without_a_reason_is_refused(evaluated, reason):
    before = lines()
    with pytest.raises(UserError, match=r"exp911 was tested on 2\d{3}-.*give the reason with --repeat"):
        evaluate("exp911", reason=reason)
    assert lines() == before


def test_the_evaluation_is_written_before_the_labels_are_opened(runs, monkeypatch):
    import heldout.data.cases as cases

    seen = []

    def opened(dataset):
        seen.extend(json.loads(line)["event"] for line in lines())
        raise UserError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(cases, "open_sealed", opened)
        with pytest.raises(UserError, match="power cut"):
            evaluate("exp911")
    assert seen == ["look"]
    assert ledger.read_ledger()[0].result is None
    assert evaluate("exp911").decision_evals == 2, (
        "an evaluation that ended before its score may be repeated, and counts"
    )


def spoil_first(text):
    text[0] = text[0].replace("exp911", "exp912")
    return text


TAMPERING = {
    "edited": (spoil_first, "line 1 was changed"),
    "first removed": (lambda text: text[1:], "line 1 was changed, or a line before it was removed"),
    "middle removed": (lambda text: text[:1] + text[2:], "line 2 was changed, or a line before"),
    "end removed": (lambda text: text[:2], "lines were removed"),
    "all removed": (lambda text: text[:0], "lines were removed"),
    "swapped": (lambda text: [text[1], text[0], *text[2:]], "line 1 was changed"),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_detected(evaluated, what):
    change, message = TAMPERING[what]
    chain.ledger_path().write_text("".join(line + "\n" for line in change(lines())))
    with pytest.raises(UserError, match=rf"ledger.jsonl .*{message}.*restore the ledger"):
        ledger.read_ledger()
    with pytest.raises(UserError, match=r"restore the ledger"):
        evaluate("exp912")


def test_a_torn_last_line_is_named_and_left_alone(evaluated):
    path = chain.ledger_path()
    torn = path.read_bytes()[:-40]
    path.write_bytes(torn)
    with pytest.raises(UserError, match=r"ledger.jsonl line 4 is cut off: restore the ledger"):
        evaluate("exp912")
    assert path.read_bytes() == torn


def test_a_deleted_ledger_is_missed(evaluated):
    chain.ledger_path().unlink()
    with pytest.raises(UserError, match="holds 0 entries and should begin with 4 others"):
        ledger.read_ledger()


def test_a_kill_between_the_two_files_does_no_harm(evaluated):
    head = chain.ledger_path().parent / ".ledger" / "head.json"
    before = head.read_text()
    evaluate("exp912")
    head.write_text(before)
    assert len(ledger.read_ledger()) == 3


def test_a_dataset_without_a_test_part_is_refused(runs):
    from heldout.config import load
    from heldout.data.cases import open_dataset
    from heldout.train.fit import fit_fold

    config = load("exp914+test_fraction=0.0,epochs=1")
    fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    with pytest.raises(UserError, match="dataset phantom has no test part: set test_fraction above 0"):
        evaluate(config.spec)


def test_an_evaluation_reads_every_out_of_fold_map_again(runs):
    path = next((load_member("exp911").fits[0].folder / "oof_maps").glob("*.b2nd"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=rf"exp911 is not what was validated: .*{path.name} changed"):
        evaluate("exp911")
    assert not chain.ledger_path().exists()


def test_calibrated_scores_are_scored_on_the_test_part(runs, monkeypatch):
    monkeypatch.setattr(calibrate, "FEWEST_CASES", 1)  # the phantoms are too few to calibrate anything by
    decision = blend(["exp914"], "labels", trials=4, calibrate="temperature", progress=False)
    freeze("labels")
    result = evaluate("labels")
    table = pd.read_parquet(result.path)
    labels = open_sealed(load_member("exp914").dataset).labels.set_index("case_id").loc[table["case_id"]].reset_index()
    scored = table.assign(**{f"y_{name}": labels[f"y_{name}"] for name in decision.classes})
    assert result.metric == decision.metric
    found = score(decision.metric, scored, decision.classes)
    assert result.score == pytest.approx(found, nan_ok=True)
