"""Benchmarks fit today's code; a verdict only where there is a bar, and pages that are what was measured."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from types import SimpleNamespace

import pytest

from heldout.files import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
RESULTS = BENCHMARKS / "results"


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        spec = importlib.util.spec_from_file_location("record", BENCHMARKS / "record.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "record", module)
        spec.loader.exec_module(module)
        yield module


def test_only_what_has_a_bar_is_kept_or_missed(record, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    one = record.Measurement
    assert record.record("speed", [one("start", 1, "s"), one("score", 0.9, "", 0.8, True)], "exp001, seed 0") == 0
    text = (tmp_path / "speed.md").read_text()
    assert "\n\nexp001, seed 0\n\n| what |" in text
    assert "| start | 1 s |  | - |" in text
    assert "| score | 0.9  | >= 0.8  | kept |" in text
    assert [row["kept"] for row in json.loads((tmp_path / "speed.json").read_text())["measurements"]] == [None, True]
    assert record.record("speed", [one("start", 3, "s", 2)]) == 1
    assert "**missed**" in (tmp_path / "speed.md").read_text()


def test_networks_are_named_with_budget_seeds_and_folds(record):
    folders = tuple(SimpleNamespace(seed=0, fold=fold) for fold in (1, 0))
    assert record.networks(SimpleNamespace(spec="exp010@quick", folders=folders)) == (
        "exp010@quick (budget quick), seed 0, folds 0, 1"
    )
    assert record.with_budget("exp010+lr=0.1") == "exp010+lr=0.1 (budget full)"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_page_says_what_was_measured(record, path):
    stored = json.loads(path.read_text())
    names = [field.name for field in fields(record.Measurement)]
    found = [record.Measurement(**{name: row[name] for name in names}) for row in stored["measurements"]]
    assert path.with_suffix(".md").read_text() == record.page(stored, found)
    assert [row["kept"] for row in stored["measurements"]] == [one.kept for one in found]


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_finds_what_it_imports(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        runpy.run_path(str(path), run_name="imported")


@pytest.mark.journey
def test_the_script_for_a_gpu_runs_on_a_cpu():
    words = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    values = dict(re.findall(r"^(.+): (\S+) ", done.stdout, re.MULTILINE))
    assert float(values["exp040, training"]) > 0
    assert float(values["exp037, steps/s of two fits at once over one"]) > 0
    assert float(values["voxels of the same class in 16-mixed"]) == 1  # a CPU takes float32 for it
    assert 0.9 < float(values["voxels of the same class in bf16-mixed"]) < 1
