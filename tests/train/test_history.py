"""Epochs as users read them, and as earlier versions stored them."""

from __future__ import annotations

from heldout.train.history import EpochRow, write_metrics

FIRST, SECOND = EpochRow(1, 0.5, 0.01, 2.5, None, 1e9), EpochRow(2, 0.25, 0.001, 2.0, 0.75, 1e9)


def test_metrics_csv_names_the_score_and_leaves_it_empty_without_a_validation(tmp_path):
    write_metrics(tmp_path, [FIRST, SECOND], "dice_pos")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,train_loss,lr,seconds,val_dice_pos", "1,0.5,0.01,2.5,", "2,0.25,0.001,2.0,0.75"]


def test_the_state_of_an_earlier_version_names_the_score_after_the_metric():
    stored = {"epoch": 2, "train_loss": 0.25, "lr": 0.001, "seconds": 2.0, "val_dice_pos": 0.75, "wall_time": 1e9}
    assert EpochRow.of(stored) == SECOND
    assert EpochRow.of(vars(SECOND)) == SECOND
