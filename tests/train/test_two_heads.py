"""Training in phases: stopped at any of them, a run ends as if it had not been, and its scores are the head's."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from heldout import files
from heldout.data.cases import open_dataset
from heldout.predict.store import read_map
from heldout.train.fit import fit_fold
from heldout.train.runs import read_run
from tests.train.exp902 import Exp902


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit(**overrides):
    config = Exp902.create(overrides=overrides)
    return fit_fold(config, open_dataset(config), 0, 0, quiet=True)


def hashes(folder):
    return read_run(folder).sha256, pd.read_csv(folder / "metrics.csv")["train_loss"].tolist()


class Killed(BaseException):
    """Stands for the end of the process, which no code gets to handle."""


@pytest.mark.parametrize(
    ("overrides", "stops"),
    [({}, (1, 2, 3)), ({"ema_decay": None, "optimizer": "sgd"}, (2,))],
    ids=["average", "plain"],
)
def test_a_run_stopped_in_any_phase_ends_as_if_it_had_not_been(squares, monkeypatch, overrides, stops):
    expected = hashes(fit(**overrides))
    module = sys.modules["heldout.train.history"]
    original = module.write_metrics
    for epoch in stops:
        shutil.rmtree(squares / "working" / "runs")
        calls = []

        def stop(*arguments, epoch=epoch, calls=calls):
            calls.append(1)
            if len(calls) == epoch:
                raise Killed
            original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_metrics", stop)
            with pytest.raises(Killed):
                fit(**overrides)
        assert hashes(fit(**overrides)) == expected


def test_out_of_fold_scores_are_the_heads_and_sure_cases_have_empty_maps(squares):
    folder = fit(epochs=25, augment="light", accumulate=1, warmup_epochs=3, head_epochs=2, skip_mask_below=0.6)
    table, record = pd.read_parquet(folder / "oof.parquet"), read_run(folder)
    highest = [int(read_map(folder, "oof", case_id, record.sha256.maps[case_id]).max()) for case_id in table["case_id"]]
    sure = table["p_lesion"] < 0.6
    assert sure.any()
    assert not sure.all()
    np.testing.assert_array_equal(np.array(highest)[sure], 0)
    assert min(np.array(highest)[~sure]) > 0
    assert table.loc[table["y_lesion"] == 1, "p_lesion"].mean() > table.loc[table["y_lesion"] == 0, "p_lesion"].mean()
    assert files.sha256_file(folder / "oof.parquet") == record.sha256.oof
