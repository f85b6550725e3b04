"""The datasets of one command: each is opened, and verified against its raw files, once."""

from __future__ import annotations

from pathlib import Path

from heldout.config import BaseConfig
from heldout.data.cases import dataset_folder, open_dataset
from heldout.data.dataset import Dataset


class Datasets:
    """Opened datasets by their folders. It lives as long as one command, for files may change later."""

    def __init__(self) -> None:
        self._opened: dict[Path, Dataset] = {}

    def open(self, config: BaseConfig) -> Dataset:
        """The checked dataset of an experiment.

        Raises:
            UserError: as :func:`heldout.data.cases.open_dataset`.
        """
        folder = dataset_folder(config, config.skip_bad)
        if folder not in self._opened:
            self._opened[folder] = open_dataset(config)
        return self._opened[folder]
