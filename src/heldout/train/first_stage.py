"""Two stages: an experiment that takes the out-of-fold maps of another as channels or crops.

A training or validation case gets the map of the first-stage network that held it out, on the same fold table; a new
case gets the mean of all first-stage networks. A first stage that had seen the case would be surer than it will ever be
of a new one, and the second stage would learn to trust it.

As in all stacking (Wolpert 1992), the networks behind the maps of the *training* cases have learned from the labels of
the fold that is held out; see docs/cascades.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout import files
from heldout.config.legacy import first_spec
from heldout.data.first_stage import Use
from heldout.errors import UserError
from heldout.predict.precision import least_exact
from heldout.predict.prediction import Prediction, mean_predictions
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.dependencies import find_dependency, how_to_finish, open_dependency
from heldout.train.record import FitRef

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset
    from heldout.data.prepare import Prepared


@dataclass(frozen=True)
class FirstStage:
    """The finished folds of a first stage, and their use: :class:`heldout.data.first_stage.FirstStageMaps`.

    Attributes:
        spec: The experiment.
        tta: Axes flipped in its predictions.
        use: As ``first_stage_use`` says.
        fraction: As ``first_stage_fraction`` says.
        fits: Its finished fits, every fold with every seed.
        fold_of: Fold of every training case.
    """

    spec: str
    tta: str
    use: Use
    fraction: float
    fits: tuple[runs.FitRecord, ...]
    fold_of: dict[str, int]

    @property
    def key(self) -> str:
        """SHA-256 of the weights, the maps and their use."""
        named = {"spec": first_spec(self.spec), "tta": self.tta, "folders": [ref.to_json() for ref in self.refs]}
        return files.sha256_json({"use": self.use, "share": self.fraction, **named})

    def read(self, case_id: str) -> np.ndarray:
        """Out-of-fold map (K, *original) uint8 of a training case, seeds averaged.

        Raises:
            UserError: the case is in no fold, or its map is missing or was changed.
        """
        from heldout.predict.store import read_map

        if case_id not in self.fold_of:
            raise UserError(f"case {case_id} is in no fold, so {self.spec} has no out-of-fold map of it: predict it")
        held_out = [fit for fit in self.fits if fit.fold == self.fold_of[case_id]]
        if lost := [fit.folder for fit in held_out if case_id not in fit.record.sha256.maps]:
            raise UserError(f"{lost[0] / 'run.json'} lists no map of case {case_id}: delete {lost[0]} and train again")
        maps = [read_map(fit.folder, "oof", case_id, fit.record.sha256.maps[case_id]) for fit in held_out]
        mean = mean_predictions([Prediction(case_id, np.zeros(len(one), np.float32), one) for one in maps]).map
        assert mean is not None, "the mean of maps is a map"
        return mean

    @property
    def precision(self) -> str:
        """Number format of its maps."""
        return least_exact(fit.record.predict_precision for fit in self.fits)

    @property
    def refs(self) -> tuple[FitRef, ...]:
        """Its fits by the hashes of what they left."""
        return tuple(FitRef.of(fit.seed, fit.fold, fit.record.sha256) for fit in self.fits)


def find_first_stage(
    config: Task,
    dataset: Dataset,
    sha256: Callable[[Path], str] = files.sha256_file,
    opened: dict[str, tuple[runs.FitRecord, ...]] | None = None,
) -> FirstStage | None:
    """The first stage of an experiment, checked; None where it has none.

    An experiment run under a budget takes a first stage under the same budget, where that declares it.

    Args:
        config: The experiment.
        dataset: Its checked dataset.
        sha256: Hash of a file.
        opened: Fits of first stages on this dataset that were opened already, by spec; what is opened is added.

    Raises:
        UserError: the first stage makes no maps, has a first stage itself, has not finished every fold and seed, has
            other folds or cases, was changed, or is not the one that folds of this experiment were trained with.
    """
    if config.first_stage is None:
        return None
    source = find_dependency(config, "first_stage")
    _check_kind(config, source, dataset)
    opened = {} if opened is None else opened
    if source.spec not in opened:
        places = _places(config, source, dataset)
        opened[source.spec] = tuple(open_dependency(config, source, dataset, *place, sha256) for place in places)
    fold_of = {str(case_id): int(fold) for case_id, fold in dataset.folds.items()}
    use, fraction = config.first_stage_use, config.first_stage_fraction
    found = FirstStage(source.spec, source.tta, use, fraction, opened[source.spec], fold_of)
    made = f"trained on maps of {found.spec} that have changed since, or were of fewer seeds"
    runs.check_made_alike(config.spec, "first_stage", found.key, made, runs.run_folder(found.spec))
    return found


def with_first_stage(dataset: Dataset, config: Task, *, progress: bool = True) -> Prepared:
    """Prepared arrays of the training cases, with what a first stage adds to them.

    Raises:
        UserError: as :func:`find_first_stage` and :func:`heldout.data.prepare.open_prepared`.
    """
    from heldout.data.prepare import open_prepared

    return open_prepared(dataset, config, progress=progress, first_stage=find_first_stage(config, dataset))


def _check_kind(config: Task, source: Task, dataset: Dataset) -> None:
    from heldout.data.sides import mirror_order

    what = f"first_stage = {config.first_stage!r} of {config.spec}"
    if source.kind != "segmentation":
        raise UserError(f"{what} makes no maps: name a segmentation")
    if source.first_stage is not None:
        raise UserError(f"{what} has a first stage itself: only two stages are supported, so name {source.first_stage}")
    if config.first_stage_use == "channel" and mirror_order(config, len(dataset.classes)) is not None:
        raise UserError(f"{what} has classes with a left and a right, which flips would mix up: use 'crop'")


def _places(config: Task, source: Task, dataset: Dataset) -> list[tuple[int, int]]:
    """Every seed and fold of the first stage.

    Raises:
        UserError: some are not finished.
    """
    places = [(seed, int(fold)) for seed in source.seeds for fold in sorted(set(dataset.folds))]
    missing = [place for place in places if not runs.is_finished(runs.fit_folder(source.spec, *place))]
    if missing:
        seed, fold = missing[0]
        raise UserError(
            f"{config.spec} uses the out-of-fold maps of {source.spec}, whose seed {seed} fold {fold} is not "
            f"finished ({len(missing)} of {len(places)} fits are missing): {how_to_finish(source, seed, fold)}"
        )
    runs.check_identity(source, predictions=True)
    return places
