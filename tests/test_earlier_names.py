"""Experiments and fields that were renamed: runs, records and hashes made under the earlier names stay valid."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from heldout import files
from heldout.blend.decision import load_decision
from heldout.blend.session import Session
from heldout.blend.verify import check_parts
from heldout.config import difference, load
from heldout.config.legacy import EARLIER_FIELDS, earlier_specs, first_spec, today_spec
from heldout.evaluate.collect import collect, find_row
from heldout.records import read_json
from heldout.train import runs
from tests.finished_runs import finish_masks

SPEC = load(
    "exp040_stretch+dataset=masks,fold_count=2,normalize=unit,source=phantom,"
    "source_options={'patients':60,'images_per_patient':1,'size':32}"
).spec
RECORDED = read_json(files.REPOSITORY / "tests" / "recorded_identities.json")


@pytest.fixture(scope="module")
def old_home(tmp_path_factory) -> Path:
    """A home with a finished run of ``exp040_stretch`` as it lay on disk when that was called ``exp040s``."""
    home = tmp_path_factory.mktemp("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        for fold in (0, 1):
            finish_masks(SPEC, 0, fold)
        folder = runs.run_folder(SPEC)
        renamed = {json.dumps(SPEC): json.dumps(first_spec(SPEC)), '"exp040_stretch"': '"exp040s"'}
        renamed |= {json.dumps(today): json.dumps(earlier) for today, earlier in EARLIER_FIELDS.items()}
        for path in [*folder.glob("seed*/fold*/config.json"), *folder.glob("seed*/fold*/run.json")]:
            text = path.read_text()
            for today, earlier in renamed.items():
                text = text.replace(today, earlier)
            path.write_text(text)
        folder.rename(folder.with_name(first_spec(SPEC)))
    return home


@pytest.fixture
def old_run(old_home, home, monkeypatch) -> str:
    """Today's spec of that run, in a home of the test's own."""
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    shutil.copytree(old_home, home, dirs_exist_ok=True)
    return SPEC


@pytest.mark.parametrize("spec", RECORDED)
def test_a_recorded_identity_is_that_of_the_experiment_today(spec):
    config = load(spec)
    assert difference(config.complete(RECORDED[spec]), config.identity()) == []


def test_a_run_folder_under_an_earlier_name_is_that_of_the_experiment(old_run):
    assert "exp040s+" in str(runs.run_folder(old_run))
    assert "normalise=unit" in str(runs.run_folder(old_run))
    found = [(seed, fold) for seed, fold, _ in runs.finished(load(old_run))]
    assert found == [(0, 0), (0, 1)]
    assert runs.fit_folder(first_spec(old_run), 0, 1) == runs.fit_folder(old_run, 0, 1)


def test_a_run_folder_under_today_s_name_comes_first(old_run):
    earlier = runs.run_folder(old_run)
    today = earlier.with_name(old_run)
    today.mkdir()
    assert runs.run_folder(old_run) == runs.run_folder(first_spec(old_run)) == today
    assert runs.run_folders() == [today]


def test_the_leaderboard_shows_the_run_under_today_s_name(old_run):
    (row,) = collect()
    assert (row.name, row.parent, row.complete) == (old_run, "exp040_stretch", True)
    assert find_row(first_spec(old_run)).name == find_row(old_run).name == old_run


def test_a_decision_that_names_the_run_as_it_was_holds(old_run):
    decision = load_decision(first_spec(old_run))
    assert decision.folder == runs.run_folder(old_run)
    earlier = {"name": first_spec(old_run), "spec": first_spec(old_run)}
    decision = replace(decision, members=[member.model_copy(update=earlier) for member in decision.members])
    assert check_parts(decision, Session()) == []


def test_hashes_are_made_of_the_first_names(old_run):
    decision = load_decision(old_run)
    identity = decision.identity
    earlier = {"name": first_spec(old_run), "spec": first_spec(old_run)}
    decision = replace(decision, members=[member.model_copy(update=earlier) for member in decision.members])
    assert decision.identity == identity


def test_names_there_and_back():
    spec = "exp040_stretch@quick+first_stage_fraction=0.8,normalize=unit"
    assert first_spec(spec) == "exp040s@quick+first_stage_share=0.8,normalise=unit"
    assert today_spec(first_spec(spec)) == spec
    assert first_spec(spec) in earlier_specs(spec)
    assert spec not in earlier_specs(spec)
    assert first_spec("exp040@quick") == today_spec("exp040@quick") == "exp040@quick"
