"""Predictions of the cases that a fold holds out, for validations and at its end, with the weights and the record."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from heldout import files
from heldout.data.dataset import Dataset
from heldout.data.parallel import cores
from heldout.data.prepare import Prepared
from heldout.metrics.registry import score
from heldout.predict.details import mask_details
from heldout.predict.models import load_model, save_model
from heldout.predict.precision import resolve
from heldout.predict.prediction import Prediction, score_known
from heldout.predict.run import predict_cases
from heldout.predict.store import WrittenPredictions, build_table, write_maps, write_table
from heldout.tasks import Task
from heldout.train.checkpoint import Progress
from heldout.train.display import Display
from heldout.train.record import Hashes, PseudoLabelsRecord, RunRecord, WarmStartRecord, write_run
from heldout.train.state import TrainState
from heldout.train.team import ALONE, Team


@dataclass(frozen=True, eq=False)
class ValidationFold:
    """The validation cases of a fold, and how to predict and score them.

    Attributes:
        config: The experiment.
        dataset: The checked dataset.
        prepared: Its prepared arrays.
        rows: Rows of the cases, with the column ``fold``.
        device: Where to compute.
        team: The processes that share them, each case being predicted by one.
    """

    config: Task
    dataset: Dataset
    prepared: Prepared
    rows: pd.DataFrame
    device: torch.device
    team: Team = ALONE
    _masks: dict[str, bytes] = field(default_factory=dict, init=False)

    def truth(self, case_id: str) -> np.ndarray:
        """Mask (M, *spatial) uint8 of a case on the grid of its file; read once, and then kept compressed in memory.

        Raises:
            UserError: as :meth:`heldout.data.dataset.Dataset.truth`.
        """
        import blosc2

        if case_id not in self._masks:
            self._masks[case_id] = blosc2.pack_array2(np.ascontiguousarray(self.dataset.truth(case_id)))
        return np.asarray(blosc2.unpack_array2(self._masks[case_id]))

    @cached_property
    def own(self) -> pd.DataFrame:
        """Rows of the cases that this process predicts."""
        return self.rows.iloc[self.team.share(range(len(self.rows)))]

    def predict(self, network: nn.Module, tta: str | None = None) -> Iterator[Prediction]:
        """Predict every case of this process once, back on its own grid."""
        prepared = self.prepared
        cases = ((name, prepared.image(name), prepared.geometry(name)) for name in self.own["case_id"])
        answers = predict_cases(
            self.config, [network], cases, exclusive=self.dataset.exclusive, device=self.device, tta=tta
        )
        return (self._score_known(answer[0]) for answer in answers)

    def _score_known(self, prediction: Prediction) -> Prediction:
        """The prediction, its presence scores without the voxels that the case's mask ignores."""
        if prediction.map is None or not self.dataset.source.ignores:
            return prediction
        return score_known(prediction, self.truth(prediction.case_id), two_heads=self.config.two_heads)

    def score(self, network: nn.Module) -> float:
        """Score of a validation during training, without flips; NaN where the fold lacks what the metric is about."""
        exclusive = self.dataset.exclusive
        table = build_table(
            self.own,
            self.predict(network, tta=""),
            self.truth,
            exclusive=exclusive,
            details=mask_details(self.config, self.dataset.source, self.dataset.row),
        )
        return self.score_table(self._together(self.team.gather(table)))

    def score_table(self, table: pd.DataFrame) -> float:
        """Score of a table of these cases."""
        return float(score(self.config.metric, table, self.dataset.classes))

    def store(self, folder: Path, predictions: Iterator[Prediction]) -> WrittenPredictions:
        """Write ``oof.parquet`` and ``oof_maps/``, each process the maps of its cases."""
        parts = self.team.gather(
            write_maps(
                folder,
                "oof",
                predictions,
                self.own,
                exclusive=self.dataset.exclusive,
                truth=self.truth,
                details=mask_details(self.config, self.dataset.source, self.dataset.row),
            )
        )
        maps = {case_id: digest for _, part in parts for case_id, digest in part.items()}
        table = self._together([table for table, _ in parts])
        return write_table(folder, "oof", table, maps, write=self.team.is_first)

    def _together(self, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """One table in the order of all cases, from those of the processes."""
        if len(tables) == 1:
            return tables[0]
        whole = pd.concat([table for table in tables if len(table)])
        return whole.set_index("case_id", drop=False).loc[self.rows["case_id"]].reset_index(drop=True)


def write_results(
    folder: Path,
    key: tuple[int, int],
    state: TrainState,
    held_out: ValidationFold,
    progress: Progress,
    display: Display,
    warm_start: WarmStartRecord | None = None,
    pseudo_labels: PseudoLabelsRecord | None = None,
) -> None:
    """Write ``weights.safetensors``, ``oof.parquet``, ``oof_maps/`` and, last, ``run.json``.

    Args:
        folder: The fold's folder.
        key: Seed and fold.
        state: The trained network with its average.
        held_out: The cases to predict, with the weights as they were written.
        progress: What happened.
        display: Shows how far the prediction is.
        warm_start: Weights that the fold began with.
        pseudo_labels: Pseudo-labels that it learned from besides.
    """
    config, dataset, network = held_out.config, held_out.dataset, state.average.module
    if progress.best is not None:
        network.load_state_dict(progress.best)
    weights, team = folder / "weights.safetensors", state.team
    if team.is_first:
        save_model(network, weights)
    team.wait()
    shipped = load_model(config, weights, dataset.classes, dataset.exclusive)
    predictions = display.track(held_out.predict(shipped), len(held_out.own), "predicting the held-out cases")
    stored = held_out.store(folder, predictions)
    if not team.is_first:
        return
    value = held_out.score_table(stored.table)
    record = RunRecord(
        spec=config.spec,
        budget=config.budget,
        seed=key[0],
        fold=key[1],
        metric=config.metric,
        score=None if math.isnan(value) else value,
        checkpoint="last" if progress.best is None else "best",
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        precision=state.fabric.strategy.precision.precision,
        predict_precision=resolve(config.predict_precision, state.fabric.device),
        train_seconds=round(progress.seconds, 1),
        machine=describe_machine(state.fabric.device),
        torch=str(torch.__version__),
        fold_hash=dataset.fold_hash,
        data_hash=dataset.data_hash,
        sha256=Hashes(weights=files.sha256_file(weights), oof=stored.sha256, maps=stored.maps),
        warm_start=warm_start,
        pseudo_labels=pseudo_labels,
        hard_negatives=tuple(progress.mined) if config.hard_negative_fraction else None,
    )
    write_run(folder, record)


def is_this_machine(described: str) -> bool:
    """Whether :func:`describe_machine` says this of a device that is here."""
    devices = [torch.device("cpu"), *(torch.device("cuda", number) for number in range(torch.cuda.device_count()))]
    return described in map(describe_machine, devices)


def describe_machine(device: torch.device) -> str:
    """The GPU's name, or the CPU's and its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores()} cores"
