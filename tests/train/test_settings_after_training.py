"""Settings of prediction and delivery that change after training: what depends on them is made again, no more."""

from __future__ import annotations

import sys

import pytest

from heldout.blend.decision import load_decision
from heldout.blend.flips import stored_flips
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.verify import verify
from heldout.config import load
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.train import runs as run_folders
from heldout.train.fit import fit_fold

EXPERIMENT = '''"""Lesions, delivered otherwise later."""
from exps.exp911 import Exp911


class Exp950(Exp911):
    seeds = (0,)
    epochs = 1
    patch_size = (16, 16)
    CHANGED = None
'''


@pytest.fixture
def edited(runs, tmp_path, monkeypatch):
    """A trained experiment, and how to change a line of its file."""
    import exps

    folder = tmp_path / "experiments"
    folder.mkdir()
    exps.__path__.append(str(folder))

    def edit(line: str = "lr = 0.02"):
        sys.modules.pop("exps.exp950", None)
        (folder / "exp950.py").write_text(EXPERIMENT.replace("CHANGED = None", line))
        return load("exp950")

    config = edit()
    dataset = load_member("exp911").dataset
    for fold in (0, 1):
        fit_fold(config, dataset, fold, 0, quiet=True)
    yield edit
    exps.__path__.remove(str(folder))
    sys.modules.pop("exps.exp950", None)


@pytest.mark.parametrize("line", ["submission = 'masks'", "sample_submission = 'sample.csv'", "predict_batch_size = 3"])
def test_the_delivery_may_change(edited, line):
    before = load_member("exp950")
    config = edited(line)
    weights = [fit.folder / "weights.safetensors" for fit in before.fits]
    times = [path.stat().st_mtime_ns for path in weights]
    for fold in (0, 1):
        fit_fold(config, before.dataset, fold, 0, quiet=True)
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert [fit.hashes for fit in load_member("exp950").fits] == [fit.hashes for fit in before.fits]
    blend(["exp950", "exp911"], "later", trials=2, progress=False)
    freeze("later")


def test_other_flips_are_predicted_from_the_same_weights(edited):
    before, row = load_member("exp950"), find_row("exp950")
    draft = blend(["exp950", "exp911"], "draft", trials=2, progress=False)
    edited("tta = 'hv'")
    after = load_member("exp950")
    assert [fit.hashes.weights for fit in after.fits] == [fit.hashes.weights for fit in before.fits]
    assert [fit.hashes.oof for fit in after.fits] != [fit.hashes.oof for fit in before.fits]
    assert find_row("exp950").identity != row.identity
    with pytest.raises(UserError, match="exp950 flips hv today and nothing then"):
        freeze(draft.name)
    blend(["exp950", "exp911"], "flipped", trials=2, progress=False)
    freeze("flipped")
    verify(load_decision("flipped"))
    assert load_decision("flipped").members[0].tta == "hv"
    edited()
    assert [fit.hashes for fit in load_member("exp950").fits] == [fit.hashes for fit in before.fits]
    assert find_row("exp950").identity == row.identity


def test_another_overlap_is_predicted_from_the_same_weights(edited):
    before, row = load_member("exp950"), find_row("exp950")
    draft = blend(["exp950", "exp911"], "draft", trials=2, progress=False)
    edited("overlap = 0.25")
    with pytest.raises(UserError, match=r"exp950 has overlap = 0\.25 today and another then"):
        freeze(draft.name)
    after = load_member("exp950")
    assert [fit.hashes.weights for fit in after.fits] == [fit.hashes.weights for fit in before.fits]
    assert {fit.predictions.name for fit in after.fits} == {"tta-none-overlap-0.25"}
    assert find_row("exp950").identity != row.identity
    blend(["exp950", "exp911"], "other", trials=2, progress=False)
    freeze("other")
    verify(load_decision("other"))
    assert not any(stored_flips(after.config, fit.folder) for fit in after.fits)  # the flips are the same
    edited()
    assert [fit.hashes for fit in load_member("exp950").fits] == [fit.hashes for fit in before.fits]


def test_another_precision_is_predicted_from_the_same_weights_and_sealed(edited):
    before = load_member("exp950")
    draft = blend(["exp950", "exp911"], "draft", trials=2, progress=False)
    assert "predict_precision" not in (draft.folder / "decision.json").read_text()  # float32, as ever
    edited("predict_precision = '32-true'")
    edited("predict_precision = 'bf16-mixed'")
    with pytest.raises(UserError, match=r"exp950 has predict_precision = bf16-mixed today and another then"):
        freeze(draft.name)
    after = load_member("exp950")
    assert {fit.predictions.name for fit in after.fits} == {"tta-none-bf16-mixed"}
    assert [fit.hashes.weights for fit in after.fits] == [fit.hashes.weights for fit in before.fits]
    assert [fit.hashes.oof for fit in after.fits] != [fit.hashes.oof for fit in before.fits]
    blend(["exp950", "exp911"], "half", trials=2, progress=False)
    freeze("half")
    opened = verify(load_decision("half"))
    sealed = {member.spec: member.predict_precision for member in opened.decision.searched}
    assert sealed == {"exp950": "bf16-mixed", "exp911": "32-true"}
    used = [(member.config.spec, member.config.predict_precision) for member in opened.members]
    assert used == [(member.spec, member.predict_precision) for member in opened.decision.members]
    edited()
    assert [fit.hashes for fit in load_member("exp950").fits] == [fit.hashes for fit in before.fits]


@pytest.mark.parametrize("line", ["rle = 'rows'", "rle_start = 0", "submission = 'rle'"])
def test_how_masks_are_written_changes_neither_weights_nor_predictions(edited, line):
    before = load_member("exp950")
    edited(line)
    after = load_member("exp950")
    assert [(fit.hashes, fit.predictions) for fit in after.fits] == [
        (fit.hashes, fit.predictions) for fit in before.fits
    ]


def test_what_training_depends_on_may_not(edited):
    config = edited("lr = 0.01")
    with pytest.raises(UserError, match=r"was trained with other settings \(lr: 0.02 -> 0.01\)"):
        run_folders.check_identity(config)
