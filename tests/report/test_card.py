"""Model cards say what is on record, in metadata that the Hub's own reader takes, and invent nothing."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import ModelCard

from heldout.cli import run
from heldout.evaluate.collect import find_row
from heldout.evaluate.lineage import depends_on
from heldout.train.record import Settings, read_run


def card_of(folder):
    text = (folder / "model_card.md").read_text()
    return text, ModelCard(text).data, yaml.safe_load((folder / "model_card.yaml").read_text())


def test_a_run_has_a_card_with_valid_metadata(home, masks):
    spec = masks[0]
    assert run(["card", spec]) == 0
    folder = home / "working" / "runs" / spec
    text, data, facts = card_of(folder)
    row = find_row(spec)
    assert data.pipeline_tag == "image-segmentation"
    assert data.library_name == "heldout"
    values = {(one.metric_type, one.dataset_split): one.metric_value for one in data.eval_results}
    assert values[row.metric, "out-of-fold"] == pytest.approx(row.at_half, abs=1e-6)  # as it is delivered
    assert not [split for _, split in values if split == "test"]  # no test evaluation
    assert facts["at_tuned_thresholds"] == pytest.approx({"value": row.score, "low": row.low, "high": row.high})
    assert (
        f"With thresholds tuned on the other folds, by which the leaderboard ranks, dice_pos is {row.score:.4f}" in text
    )
    assert facts["test"]["evaluations"] == 0
    assert facts["data"]["license_of_the_data"] == "not on record"
    record = read_run(folder / "seed0" / "fold1")
    assert facts["hashes"]["weights"][f"{spec}, seed 0, fold 1"] == record.sha256.weights
    for part in ("## Input", "## Calibration", "## Limits", "## Intended use", "Synthetic images", "random weights"):
        assert part in text, part


def test_a_blend_has_a_card_with_its_calibration(home, finish):
    one = finish(seeds=(0,))
    other = finish(one + ",lr=0.01", seeds=(0,), skill=2.0)
    assert run(["blend", one, other, "--name", "pair", "--trials", "3", "--calibrate", "platt"]) == 0
    assert run(["card", "pair"]) == 0
    text, data, facts = card_of(home / "working" / "blends" / "pair")
    assert facts["calibration"]["method"] == "platt"
    assert facts["by_fold"].keys() == {"0", "1"}
    assert data.pipeline_tag == "image-classification"
    assert "Blend of" in text
    assert "never evaluated" in facts["test"]["said"]


def test_a_classification_has_a_card_with_its_calibrated_error_and_no_optimistic_score(home, finish):
    spec = finish(seeds=(0,))
    assert run(["card", spec]) == 0
    _, _, facts = card_of(home / "working" / "runs" / spec)
    error = facts["metrics"]["ece_calibrated"]
    assert 0 <= error["low"] <= error["value"] <= error["high"] <= 1
    assert "best_f1" not in facts["metrics"]


def test_a_card_says_what_else_a_run_was_made_from():
    plain = Settings(source="phantom", fold_count=5, seeds=(0,))
    assert depends_on(plain) == ""
    assert depends_on(plain.model_copy(update={"warm_start": "exp040", "pseudo_labels": "extra"})) == (
        "warm_start exp040, pseudo_labels extra"
    )


def test_a_card_needs_something_finished(home, capsys):
    assert run(["card", "exp001"]) == 2
    assert "neither a run with a finished fold" in capsys.readouterr().err
