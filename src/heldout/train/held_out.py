"""Predictions of the cases a fold holds out: for validations, and stored at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from heldout.data.dataset import Dataset
from heldout.data.prepare import Prepared
from heldout.metrics.registry import score
from heldout.predict.details import mask_details
from heldout.predict.prediction import Prediction
from heldout.predict.run import predict_cases
from heldout.predict.store import Stored, build_table, write_predictions
from heldout.tasks import Task


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The validation cases of a fold, and how to predict and score them.

    Attributes:
        config: The experiment.
        dataset: The checked dataset.
        prepared: Its prepared arrays.
        rows: Rows of the cases, with the column ``fold``.
        device: Where to compute.
    """

    config: Task
    dataset: Dataset
    prepared: Prepared
    rows: pd.DataFrame
    device: torch.device
    _masks: dict[str, bytes] = field(default_factory=dict, init=False)

    def truth(self, case_id: str) -> np.ndarray:
        """Mask (M, *spatial) uint8 of a case on the grid of its file; read once, and then kept compressed in memory.

        Raises:
            UserError: as :meth:`heldout.data.dataset.Dataset.truth`.
        """
        import blosc2

        if case_id not in self._masks:
            self._masks[case_id] = blosc2.pack_array2(self.dataset.truth(case_id))
        return np.asarray(blosc2.unpack_array2(self._masks[case_id]))

    def predict(self, network: nn.Module, tta: str | None = None) -> Iterator[Prediction]:
        """Predict every case once, in float32, back on its own grid."""
        prepared = self.prepared
        cases = ((name, prepared.image(name), prepared.geometry(name)) for name in self.rows["case_id"])
        answers = predict_cases(
            self.config, [network], cases, exclusive=self.dataset.exclusive, device=self.device, tta=tta
        )
        return (answer[0] for answer in answers)

    def score(self, network: nn.Module) -> float:
        """Score of a validation during training, without flips; NaN where the fold lacks what the metric is about."""
        exclusive = self.dataset.exclusive
        table = build_table(
            self.rows,
            self.predict(network, tta=""),
            self.truth,
            exclusive=exclusive,
            details=mask_details(self.config, self.dataset),
        )
        return self.score_table(table)

    def score_table(self, table: pd.DataFrame) -> float:
        """Score of a table of these cases."""
        return float(score(self.config.metric, table, self.dataset.classes))

    def store(self, folder: Path, predictions: Iterator[Prediction]) -> Stored:
        """Write ``oof.parquet`` and ``oof_maps/``."""
        return write_predictions(
            folder,
            "oof",
            predictions,
            self.rows,
            exclusive=self.dataset.exclusive,
            truth=self.truth,
            details=mask_details(self.config, self.dataset),
        )
