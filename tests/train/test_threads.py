"""CPU threads and number format of a fit: recorded, and the same for every fit of a run."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest
import torch

from heldout import files
from heldout.data.cases import open_dataset
from heldout.errors import InUse, UserError
from heldout.train import numerics, runs
from heldout.train.fit import fit_fold
from heldout.train.record import MadeFrom, write_config
from tests.train.exp901 import Exp901


@pytest.fixture
def threads():
    """Sets the threads of this process; they are put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="no bit depends on CPU threads there")
def test_further_folds_have_the_threads_of_the_first_whatever_the_process_has(squares, threads):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    threads(2)
    first = fit_fold(config, dataset, 0, 0, quiet=True)
    threads(1)
    second = fit_fold(config, dataset, 1, 0, quiet=True)
    assert [runs.read_config(folder).threads for folder in (first, second)] == [2, 2]
    assert torch.get_num_threads() == 1, "of this process they are what they were"
    assert numerics.run_threads(config) == 2


def test_a_run_of_an_earlier_version_says_nothing_of_threads_and_stays_valid(squares, threads):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    first = fit_fold(config, dataset, 0, 0, quiet=True)
    record = json.loads((first / "config.json").read_text())
    del record["threads"], record["config"]["threads"]
    files.write_json(first / "config.json", record)
    assert numerics.run_threads(config) is None
    runs.check_identity(config, dataset)
    fit_fold(config, dataset, 1, 0, quiet=True)


def test_a_field_keeps_another_number_of_threads_apart(squares):
    plain, two = Exp901.create(), Exp901.create(overrides={"threads": 2})
    assert "threads" not in plain.identity()["fields"]
    assert two.identity()["fields"]["threads"] == 2
    assert runs.run_folder(two.spec) != runs.run_folder(plain.spec)
    assert numerics.run_threads(two) == 2


def test_fewer_threads_than_the_run_has_are_refused(squares, monkeypatch):
    config = Exp901.create(overrides={"threads": 2, "epochs": 1})
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    with pytest.raises(UserError, match="OMP_THREAD_LIMIT=1 allows fewer than the 2 threads of this run: unset it"):
        fit_fold(config, open_dataset(config), 0, 0, quiet=True)


def test_further_folds_and_resumed_ones_have_the_number_format_of_the_first(squares, monkeypatch):
    config = Exp901.create(overrides={"epochs": 2})
    dataset = open_dataset(config)

    def stop(progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("heldout.tasks.optim.cpu_flags", lambda: {"avx512_bf16"})
    with pytest.raises(KeyboardInterrupt):
        fit_fold(config, dataset, 0, 0, quiet=True, watch=stop)
    monkeypatch.setattr("heldout.tasks.optim.cpu_flags", set)  # another machine
    folders = [fit_fold(config, dataset, fold, 0, quiet=True) for fold in (0, 1)]
    assert [runs.read_run(folder).precision for folder in folders] == ["bf16-mixed", "bf16-mixed"]
    assert [runs.read_config(folder).precision for folder in folders] == ["bf16-mixed", "bf16-mixed"]
    elsewhere = fit_fold(config, dataset, 0, 1, quiet=True, folder=squares / "other", precision="32-true")
    assert runs.read_run(elsewhere).precision == "bf16-mixed", "its run says so here"


def test_a_fit_that_begins_while_the_first_one_chooses_waits_for_its_number_format(squares, monkeypatch):
    monkeypatch.setattr("heldout.tasks.optim.cpu_flags", set)  # would choose float32
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    sent, other = (runs.fit_folder(config.spec, seed, 0) for seed in (0, 1))
    done: list[str] = []
    with files.lock(sent, "training on a node"):  # which has told nothing yet
        with pytest.raises(InUse, match="chooses the number format"), numerics.beginning(config, other, wait=False):
            pass
        fit = threading.Thread(target=lambda: done.append(runs.read_run(fit_fold(config, dataset, 0, 1)).precision))
        fit.start()
        time.sleep(1)
        assert not other.exists()
        runs.begin_fit(config, dataset, sent, MadeFrom(), 1, config.model_copy(update={"precision": "bf16-mixed"}))
        fit.join(60)
    assert done == ["bf16-mixed"]
    assert runs.read_config(other).threads == 1


@pytest.mark.parametrize(
    ("name", "value", "other", "words"),
    [
        ("precision", "bf16-mixed", "16-mixed", "in {}"),
        ("channels_last", True, False, "with channels_last = {}"),
        ("compile", True, False, "with compile = {}"),
    ],
)
def test_fits_of_a_run_that_were_trained_unlike_are_refused_by_name(squares, name, value, other, words):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    one, two = (runs.fit_folder(config.spec, 0, fold) for fold in (0, 1))
    with files.lock(one, "training"), files.lock(two, "training"):
        runs.begin_fit(config, dataset, one, MadeFrom(), 1, config.model_copy(update={name: value}))
        runs.begin_fit(config, dataset, two, MadeFrom(), 1, config.model_copy(update={name: other}))
        words = f"{two} was trained {words.format(other)}, and {one} {words.format(value)}, while all fits of a run "
        words += "are trained alike"
        with pytest.raises(UserError, match=f"{re.escape(words)}: delete one of the two folders"):
            runs.finished(config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="float16 is scaled there")
def test_a_format_that_a_machine_does_not_have_is_refused_with_a_remedy(squares):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    first = fit_fold(config, dataset, 0, 0, quiet=True)
    record = runs.read_config(first)
    write_config(first, record.model_copy(update={"precision": "16-mixed"}))
    with pytest.raises(UserError, match="is trained in 16-mixed, which needs a CUDA GPU: train it on one, or as a run"):
        fit_fold(config, dataset, 1, 0, quiet=True)
    assert not runs.fit_folder(config.spec, 0, 1).exists()
