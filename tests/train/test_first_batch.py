"""A network that cannot be trained is refused before its dataset is read, and its run can be fixed."""

from __future__ import annotations

import pytest

from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.tasks.segment import Segment2D
from heldout.train import runs
from heldout.train.fit import fit_fold, run_experiment
from heldout.train.record import MadeFrom
from tests.train.exp901 import Exp901


class Own(Exp901, Segment2D):
    """Squares, with the library's own networks."""

    arch = "Unet"
    epochs = 1
    build_model = Segment2D.build_model


def create(**overrides):
    return Own.create(overrides={"image_size": (32, 32), "patch_size": None, "encoder": "tu-resnet10t"} | overrides)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder": "resnet10t"}, "did you mean 'tu-resnet10t'"),
        ({"batch_size": 1}, r"set image_size = \(64, 64\)"),
        ({"metric": "weighted_auc:zz"}, "there is no class 'zz', name one of "),
        ({"encoder": "tu-vit_tiny_patch16_224"}, "does not work with encoder"),
    ],
)
def test_it_is_refused_before_the_dataset_is_read(squares, fields, words):
    with pytest.raises(UserError, match=words):
        run_experiment(create(**fields), [0], [0], quiet=True)
    assert not (squares / "working").exists()


def test_a_failed_build_claims_no_run(squares, monkeypatch):
    config = create()
    other = config.model_copy(update={"lr": 0.5})  # as an edited file: of the same name
    dataset = open_dataset(config)
    folder = runs.fit_folder(config.spec, 0, 0)

    def fail(*_):
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr("heldout.train.fit._run_epoch", fail)
        with pytest.raises(OSError, match="gone"):
            fit_fold(config, dataset, 0, 0, quiet=True)
    assert not runs.run_folder(config.spec).exists()
    # a process that was killed leaves its settings, which bind nobody either
    runs.begin_fit(other, dataset, folder, MadeFrom())
    assert fit_fold(config, dataset, 0, 0, quiet=True) == folder
    with pytest.raises(UserError, match="was trained with other settings"):
        fit_fold(other, dataset, 1, 0, quiet=True)
