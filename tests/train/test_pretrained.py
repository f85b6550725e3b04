"""Every fold of a run begins from the same file of pretrained weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from heldout import files
from heldout.config import loading
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.train import runs
from heldout.train.fit import fit_fold

EXPERIMENT = '''"""Squares, begun from a file."""
from heldout.tasks.nets.weights import weights_file
from safetensors.torch import load_file
from tests.train.exp901 import Exp901 as Base
class Exp904(Base):
    epochs = 1
    encoder_weights = "squares/begin.safetensors"
    def load_pretrained(self, model):
        model.body[0].load_state_dict(load_file(weights_file(self.encoder_weights)))
'''


def test_folds_that_began_from_another_file_are_refused(squares, experiments):
    (experiments / "exp904.py").write_text(EXPERIMENT)
    path = files.dataset_root("squares") / "begin.safetensors"
    save_file({"weight": torch.zeros(8, 1, 3, 3), "bias": torch.zeros(8)}, path)
    config = loading.load("exp904")
    folder = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    assert runs.read_config(folder).made_from.to_json() == {"encoder_weights": files.sha256_file(path)}
    begun = path.read_bytes()
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    with pytest.raises(UserError, match=r"fold0 was started from pretrained .*: restore .*begin\.safetensors"):
        fit_fold(config, open_dataset(config), 1, 0, quiet=True)
    assert fit_fold(config, open_dataset(config), 0, 0, quiet=True) == folder  # a finished fold stays valid
    path.write_bytes(begun)
    assert runs.is_finished(fit_fold(config, open_dataset(config), 1, 0, quiet=True))
