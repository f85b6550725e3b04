"""The examples of docs/hooks.md: each is an experiment that is checked, trained, and resumes."""

from __future__ import annotations

import importlib
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from heldout.config import loading
from heldout.config.code import code_of
from heldout.data.cases import open_dataset
from heldout.deliver.kernel.bundle import experiment_files
from heldout.deliver.submission.write import SubmissionWriter, cases_to_submit
from heldout.errors import UserError
from heldout.files import REPOSITORY
from heldout.tasks.check import run_checks
from heldout.train.fit import fit_fold

PAGE = (REPOSITORY / "docs" / "hooks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SMALL = ["source_options={'patients':12,'size':64}", "steps_per_epoch=2", "batch_size=4", "workers=0", "epochs=2"]


@pytest.fixture
def examples(experiments, monkeypatch):
    """The page's experiments and their helper, in an ``exps`` of the test's own."""
    monkeypatch.delenv("HELDOUT_DATA")
    monkeypatch.setenv("HELDOUT_HOME", str(experiments.parent))
    for name in ("exp001", "exp004"):
        shutil.copyfile(REPOSITORY / "exps" / f"{name}.py", experiments / f"{name}.py")
    helper, *texts = BLOCKS
    (experiments / "own").mkdir()
    (experiments / "own" / "nets.py").write_text(helper)
    names = [re.search(r"class (Exp[0-9]+)", text)[1].lower() for text in texts]
    for name, text in zip(names, texts, strict=True):
        (experiments / f"{name}.py").write_text(text)
    return names


def test_every_example_passes_the_checks_and_trains(examples):
    hooks = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
    used: set[str] = set()
    for name in examples:
        assert [error for _, error in run_checks(name) if error] == [], name
        config = loading.load(name, None, SMALL)
        used |= {hook for hook in hooks if hook in vars(type(config))}
        folder = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
        weights = load_file(folder / "weights.safetensors")
        assert all(torch.isfinite(value).all() for value in weights.values()), name
    assert used == hooks


def test_a_helper_in_a_package_beside_the_experiments_is_sealed_and_travels(examples):
    config = loading.load("exp110")
    assert "exps.own.nets:Plain" in code_of(type(config))
    decision = SimpleNamespace(predictors=[SimpleNamespace(spec="exp110")])
    places = {place.as_posix() for place in experiment_files(decision).values()}
    assert places >= {"exps/exp110.py", "exps/exp001.py", "exps/own/nets.py"}


def test_a_submission_of_an_own_form_has_own_names(examples, tmp_path):
    config = loading.load("exp116", None, SMALL)
    dataset = open_dataset(config)
    cases = cases_to_submit(dataset)
    writer = SubmissionWriter(config, dataset.classes, cases, dataset.source)
    assert set(writer.names.values()) == set(cases["case_id"])
    assert all(name == name.upper() for name in writer.names)
    results = (SimpleNamespace(case_id=name, mask=np.ones((1, 4, 4), np.uint8)) for name in cases["case_id"])
    path = writer.write(results, tmp_path / "own")
    assert pd.read_csv(path)["share"].tolist() == [1.0] * len(cases)


STEPPED = '''"""Squares, {name}."""
from tests.train.exp901 import Exp901 as Base
class {name}(Base):
    {fields}
'''


@pytest.mark.parametrize(
    "fields",
    [
        'schedule = "plateau"; schedule_patience = 0; validate_every = None',
        'schedule = "step"; schedule_every = 1; swa_start = 0.5; optimizer = "adam"',
        "mixup = 0.4; cutmix = 1.0; progressive_sizes = (0.5, 1.0)",
    ],
    ids=lambda text: text.split(" = ")[0],
)
def test_a_stopped_run_resumes_to_the_same_bits(squares, experiments, monkeypatch, fields):
    states = []
    for name in ("Exp905", "Exp906"):
        text = STEPPED.format(name=name, fields=fields.replace("; ", "\n    "))
        (experiments / f"{name.lower()}.py").write_text(text)
        config = loading.load(name.lower())
        dataset = open_dataset(config)
        if name == "Exp906":

            def stop(progress):
                if progress.epoch == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                fit_fold(config, dataset, 0, 0, quiet=True, watch=stop)
        folder = fit_fold(config, dataset, 0, 0, quiet=True)
        states.append(load_file(folder / "weights.safetensors"))
        table = pd.read_csv(folder / "metrics.csv")
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    if "step" in fields:
        assert table["lr"].tolist() == pytest.approx([2e-2 * 0.1**epoch for epoch in range(4)], rel=1e-6)


def test_an_own_drawing_that_is_wrong_is_refused(squares, experiments):
    text = STEPPED.format(name="Exp905", fields="def draw_epoch(self, cases, count, generator):\n        return [0]")
    (experiments / "exp905.py").write_text(text)
    importlib.invalidate_caches()
    config = loading.load("exp905")
    with pytest.raises(UserError, match=r"draw_epoch gives .*: return \d+ positions of the \d+ training cases"):
        fit_fold(config, open_dataset(config), 0, 0, quiet=True)
