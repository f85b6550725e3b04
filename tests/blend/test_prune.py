"""A decision made smaller: what is worth least per second goes, and what remains is sealed anew beside the old one."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from heldout.blend.apply import predict_case
from heldout.blend.costs import Clock, Cost, some_cases
from heldout.blend.decision import load_decision, read_decision
from heldout.blend.members import load_member
from heldout.blend.prune import prune_ensemble
from heldout.blend.verify import verify
from heldout.cli import run
from heldout.deliver.kernel.replay import Budget, Replay
from heldout.errors import UserError
from heldout.evaluate.held_out import open_held_out
from heldout.metrics import score
from heldout.predict.models import load_model

SPEC = "exp004+dataset=tiny,epochs=1,seeds=(0,1),source_options={'patients':24,'size':32},steps_per_epoch=2,tta=hv"
FIRST, SECOND = f"{SPEC}/seed0", f"{SPEC}/seed1"
# two members of two folds each: 4 networks that see 4 views each
CLOCK = Clock({SPEC: Cost(once=0.0, view=1.0, load=0.0)})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two sealed blends: of two seeds, and of one."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        for words in ([SPEC], ["blend", FIRST, SECOND, "--name", "pair", "--sampler", "equal"], ["freeze", "pair"]):
            assert run(words) == 0
        yield folder


def seconds(decision) -> float:
    return CLOCK.per_case([load_member(member.name) for member in decision.members])


def test_flips_go_before_members_and_the_result_is_a_sealed_blend_of_its_own(home):
    before = read_decision("pair")
    found = prune_ensemble(before, hours=10 / 3600, cases=1, name="smaller", clock=CLOCK)
    assert seconds(before) == 16
    assert seconds(found) <= 10
    steps = found.search.pruned.steps
    assert all(step.dropped.startswith("flips along") for step in steps)
    assert found.search.pruned.source == "pair"
    assert found.search.pruned.identity == before.identity
    assert "made from pair" in found.notes[-1]
    assert found.score.cross_fitted is not None
    verify(load_decision("smaller"))
    assert read_decision("pair") == before


def test_members_go_when_no_flips_are_left(home):
    found = prune_ensemble(read_decision("pair"), hours=2 / 3600, cases=1, name="single", clock=CLOCK)
    assert len(found.members) == 1
    assert found.members[0].tta == ""
    assert seconds(found) == 2
    kinds = [step.dropped.startswith("flips") for step in found.search.pruned.steps]
    assert kinds == sorted(kinds, reverse=True)


def test_what_costs_least_score_per_second_goes_first(home):
    slow = replace(CLOCK, costs={SPEC: Cost(once=0.0, view=1.0, load=0.0)})
    found = prune_ensemble(read_decision("pair"), hours=15 / 3600, cases=1, name="first", clock=slow)
    (step,) = found.search.pruned.steps
    assert step.seconds == 4  # two networks lose two of their four views
    before = found.search.pruned.score_before
    assert isinstance(step.loss, float)
    assert before == pytest.approx(read_decision("pair").score.cross_fitted)


def test_a_decision_that_fits_stays_as_it_is(home):
    decision = read_decision("pair")
    assert prune_ensemble(decision, hours=1, cases=10, clock=CLOCK) is decision


def test_an_experiment_loses_flips_and_seeds_under_a_name_that_it_must_be_given(home):
    decision = load_decision(SPEC)
    with pytest.raises(UserError, match="so the smaller decision needs a name: add --fit-name NAME"):
        prune_ensemble(decision, hours=2 / 3600, cases=1, clock=CLOCK)
    found = prune_ensemble(decision, hours=2 / 3600, cases=1, name="lone", clock=CLOCK)
    assert found.members[0].seeds in ((0,), (1,))
    assert found.members[0].tta == ""


def test_what_cannot_fit_or_has_a_taken_name_is_refused(home):
    decision = read_decision("pair")
    with pytest.raises(UserError, match=r"cannot be pruned to 0\.0001 h for 1 cases: .*raise --fit-hours"):
        prune_ensemble(decision, hours=0.0001, cases=1, name="none", clock=CLOCK)
    assert not (home / "working" / "blends" / "none").exists()
    with pytest.raises(UserError, match="pair exists already: name the smaller decision with --fit-name"):
        prune_ensemble(decision, hours=0.001, cases=1, name="pair", clock=CLOCK)


def test_costs_are_measured_on_the_members_own_networks(home):
    clock = Clock.measured([load_member(FIRST)])
    cost = clock.costs[SPEC]
    assert cost.load > 0
    assert cost.once + cost.view > 0
    assert clock.reading > 0


def test_a_member_whose_weight_is_zero_goes_first_of_all(home):
    decision = read_decision("pair")
    weighted = [member.with_weight(weight) for member, weight in zip(decision.members, (0.0, 1.0), strict=True)]
    found = prune_ensemble(replace(decision, members=weighted), hours=8 / 3600, cases=1, name="awake", clock=CLOCK)
    (step,) = found.search.pruned.steps
    assert step.dropped == FIRST
    assert found.members[0].tta == "hv"


def test_the_choice_of_what_goes_is_cross_fitted(home):
    """A fold is scored with what the other folds choose: its own cases, spoiled, change nothing about that choice."""
    decision = read_decision("pair")
    found = prune_ensemble(decision, hours=4 / 3600, cases=1, name="honest", clock=CLOCK)
    by_fold = found.search.pruned.by_fold
    assert sorted(by_fold) == ["0", "1"]
    for fold, members in by_fold.items():
        assert len(found.search.by_fold[fold].weights) == len(members)
    held_out = open_held_out("honest")
    for case_id in held_out.table["case_id"].iloc[[0, -1]]:
        assert held_out.prediction(case_id).scores.shape == (2,)
    table = held_out.table
    assert score(found.metric, table, list(found.classes)) == pytest.approx(found.score.cross_fitted)
    with pytest.raises(UserError, match=r"honest was pruned from pair: prune pair with --fit-hours 0\.0005"):
        prune_ensemble(found, hours=0.0005, cases=1, name="twice", clock=CLOCK)


CUBES = (
    "exp003+dataset=cubes,epochs=1,filters=(4,4,4),source=msd,source_options={},spacing=(1.0,1.0,1.0),"
    "steps_per_epoch=1,test_fraction=0.0,workers=0"
)


def write_cubes(folder, sizes) -> None:
    """Volumes of noise, each with a lesion, in the layout of the Medical Segmentation Decathlon."""
    random, listed = np.random.default_rng(0), []
    for number, size in enumerate(sizes):
        image, mask = random.normal(size=(size,) * 3), np.zeros((size,) * 3, np.uint8)
        mask[4:12, 4:12, 4:12] = 1
        image[mask > 0] += 3
        for part, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", mask)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / part / f"case_{number}.nii.gz")
        listed.append({"image": f"./imagesTr/case_{number}.nii.gz", "label": f"./labelsTr/case_{number}.nii.gz"})
    about = {"labels": {"0": "background", "1": "lesion"}, "modality": {"0": "MRI"}, "training": listed, "test": []}
    (folder / "dataset.json").write_text(json.dumps(about))


@pytest.mark.journey
def test_the_time_of_a_case_is_that_of_typical_and_large_cases(tmp_path, monkeypatch):
    """One small volume among large ones says nothing about the time of the others."""
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    write_cubes(tmp_path / "input" / "cubes", [80, 80, 24, 80, 80, 80])
    assert run([CUBES]) == 0
    member = load_member(CUBES)
    assert "case_2" not in some_cases(member)
    clock = Clock.measured([member])
    weights = member.fits[0].folder / "weights.safetensors"
    model = load_model(member.config, weights, member.dataset.classes, member.dataset.exclusive)
    begun = time.perf_counter()
    for case_id in member.cases["case_id"]:
        image = member.dataset.read_image(case_id)
        predict_case(member.config, [model] * 2, case_id, image, exclusive=False, tta="", first_map=None)
    mean = (time.perf_counter() - begun) / len(member.cases)
    assert 0.5 * mean < clock.per_case([member]) < 3 * mean


@pytest.mark.parametrize(
    ("replayed", "hours", "said"),
    [(2.0, 1.0, False), (5.0, 2.5, True), (0.2, 1.0, True)],
    ids=["as estimated", "slower", "faster"],
)
def test_the_replay_contradicts_the_estimate_and_the_slower_counts(replayed, hours, said):
    budget = Budget(Replay(3, 0.0, 0.0, replayed, replayed, ()), cases=1800, hours=0.9, estimate=2.0)
    assert budget.expected_hours == pytest.approx(hours)
    assert not budget.fits
    assert ("the slower counts" in str(budget)) == said
    assert "does not fit" in str(budget)
