"""What a fit is made from besides its dataset: other fits, pretrained weights and pseudo-labels, each checked."""

from __future__ import annotations

from dataclasses import dataclass

from heldout import files
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.tasks.nets.weights import weights_file
from heldout.train import runs
from heldout.train.first_stage import FirstStage, find_first_stage
from heldout.train.origin import find_origin
from heldout.train.student import PseudoLabels, find_pseudo_labels
from heldout.train.warm_start import WarmStart, find_warm_start


@dataclass(frozen=True, eq=False)
class Origins:
    """What a fit of one fold and seed is made from; None for what its experiment does not use.

    Attributes:
        warm_start: Weights of another experiment to begin with.
        first_stage: Fits whose out-of-fold maps are shown, or crop the image.
        encoder_weights: SHA-256 of the file of pretrained weights.
        pseudo_labels: Further training cases.
    """

    warm_start: WarmStart | None
    first_stage: FirstStage | None
    encoder_weights: str | None
    pseudo_labels: PseudoLabels | None

    def hashes(self) -> dict[str, str]:
        """The hash of each, by the field that names it: what ``config.json`` keeps as ``made_from``."""
        found = {
            "warm_start": None if self.warm_start is None else self.warm_start.sha256,
            "first_stage": None if self.first_stage is None else self.first_stage.key,
            "encoder_weights": self.encoder_weights,
            "pseudo_labels": None if self.pseudo_labels is None else self.pseudo_labels.sha256,
        }
        return {field: digest for field, digest in found.items() if digest is not None}


def find_origins(config: Task, dataset: Dataset, seed: int, fold: int) -> Origins:
    """Find and check what a fit is made from.

    Raises:
        UserError: one of them is not finished, does not exist, was made on other folds or cases, or is not the one that
            other folds of this experiment were made from.
    """
    if config.first_stage is not None:
        runs.check_code(find_origin(config, "first_stage"))
    return Origins(
        find_warm_start(config, dataset, seed, fold),
        find_first_stage(config, dataset),
        find_encoder_weights(config),
        find_pseudo_labels(config, dataset, fold),
    )


def find_encoder_weights(config: Task) -> str | None:
    """SHA-256 of the file ``encoder_weights``, checked; None where the encoder starts at random.

    Raises:
        UserError: there is no such file, it holds the weights of a run, or folds of this experiment began from
            another one.
    """
    name = getattr(config, "encoder_weights", None)  # not every task has an encoder
    if name is None:
        return None
    path = weights_file(name)
    digest = files.sha256_file(path)
    if (fit := runs.find_weights(digest)) is not None:
        raise UserError(
            f"encoder_weights = {name!r} are those of {fit.folder}, which may have seen the patients held out here: "
            f"name {fit.record.spec} as warm_start, which takes the same fold and seed"
        )
    made = "started from pretrained weights that have changed since"
    runs.check_made_alike(config.spec, "encoder_weights", digest, made, path)
    return digest
