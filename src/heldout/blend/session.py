"""What one command has opened, so that nothing is verified, hashed or loaded twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heldout import files
from heldout.config import BaseConfig
from heldout.data.cases import dataset_folder, open_dataset
from heldout.data.dataset import Dataset
from heldout.train.first_stage import FirstStage, find_first_stage
from heldout.train.record import RunRecord, read_run
from heldout.train.runs import FitRecord

if TYPE_CHECKING:
    from torch import nn

    from heldout.predict.models import HasClasses
    from heldout.tasks import Task


class Session:
    """Datasets, first stages, records of fits, hashes of files and networks; for one command, as files may change."""

    def __init__(self) -> None:
        self._datasets: dict[Path, Dataset] = {}
        self._first_stages: dict[str, FirstStage | None] = {}
        self._stage_fits: dict[Path, dict[str, tuple[FitRecord, ...]]] = {}  # by dataset, then by spec
        self._runs: dict[Path, RunRecord] = {}
        self._hashes: dict[Path, str] = {}
        self._networks: dict[Path, nn.Module] = {}

    def dataset(self, config: BaseConfig) -> Dataset:
        """The dataset of an experiment, verified against its raw files.

        Raises:
            UserError: as :func:`heldout.data.cases.open_dataset`.
        """
        folder = dataset_folder(config, config.skip_bad)
        if folder not in self._datasets:
            self._datasets[folder] = open_dataset(config)
        return self._datasets[folder]

    def first_stage(self, config: Task) -> FirstStage | None:
        """The checked first stage of an experiment; None where it has none.

        Raises:
            UserError: as :func:`heldout.train.first_stage.find_first_stage`.
        """
        if config.spec not in self._first_stages:
            dataset = self.dataset(config)
            opened = self._stage_fits.setdefault(dataset.folder, {})
            self._first_stages[config.spec] = find_first_stage(config, dataset, self.sha256, opened)
        return self._first_stages[config.spec]

    def run(self, folder: Path) -> RunRecord:
        """The record of a finished fit.

        Raises:
            UserError: as :func:`heldout.train.record.read_run`.
        """
        if folder not in self._runs:
            self._runs[folder] = read_run(folder)
        return self._runs[folder]

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file."""
        if path not in self._hashes:
            self._hashes[path] = files.sha256_file(path)
        return self._hashes[path]

    def network(self, config: Task, weights: Path, dataset: HasClasses, device: str = "cpu") -> nn.Module:
        """A fit's network, on a device and in evaluation mode.

        Raises:
            UserError: as :func:`heldout.predict.models.load_model`.
        """
        from heldout.predict.models import load_model

        if weights not in self._networks:
            self._networks[weights] = load_model(config, weights, dataset.classes, dataset.exclusive)
        return self._networks[weights].to(device)
