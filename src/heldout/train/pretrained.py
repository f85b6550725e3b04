"""Pretrained weights are a file of the user's: every fold of a run must begin from the same one."""

from __future__ import annotations

from heldout import files
from heldout.tasks import Task
from heldout.tasks.nets.weights import weights_file
from heldout.train import runs


def find_pretrained(config: Task) -> str | None:
    """SHA-256 of the file ``encoder_weights``, checked; None where the encoder starts at random.

    Raises:
        UserError: there is no such file, it is a run's, or folds of this experiment began from another one.
    """
    name = getattr(config, "encoder_weights", None)  # not every task has an encoder
    if name is None:
        return None
    path = weights_file(name)
    digest = files.sha256_file(path)
    made = "begun from pretrained weights that have changed since"
    runs.check_made_alike(config.spec, "encoder_weights", digest, made, path)
    return digest
