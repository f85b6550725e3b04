"""The end of a fold: its weights, what they predict for the held-out cases, and the record of both."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

import torch

from heldout.predict.models import load_model, save_model
from heldout.train.checkpoint import Progress
from heldout.train.display import Display
from heldout.train.held_out import HeldOut
from heldout.train.parts import TrainState
from heldout.train.record import Hashes, MinedRecord, PseudoLabelsRecord, RunRecord, WarmStartRecord, write_run


def write_results(
    folder: Path,
    key: tuple[int, int],
    parts: TrainState,
    held_out: HeldOut,
    progress: Progress,
    display: Display,
    warm_start: WarmStartRecord | None = None,
    pseudo_labels: PseudoLabelsRecord | None = None,
) -> None:
    """Write ``weights.safetensors``, ``oof.parquet``, ``oof_maps/`` and, last, ``run.json``.

    Args:
        folder: The fold's folder.
        key: Seed and fold.
        parts: The trained parts.
        held_out: The cases to predict, with the weights as they were written.
        progress: What happened.
        display: Shows how far the prediction is.
        warm_start: Weights that the fold began with.
        pseudo_labels: Pseudo-labels that it learned from besides.
    """
    config, dataset, network = held_out.config, held_out.dataset, parts.average.module
    if progress.best is not None:
        network.load_state_dict(progress.best)
    weights = folder / "weights.safetensors"
    weights_hash = save_model(network, weights)
    shipped = load_model(config, weights, dataset.classes, dataset.exclusive)
    predictions = display.track(held_out.predict(shipped), len(held_out.rows), "predicting the held-out cases")
    stored = held_out.store(folder, predictions)
    score = held_out.score_table(stored.table)
    mined = tuple(MinedRecord.model_validate(choice) for choice in progress.mined)
    record = RunRecord(
        spec=config.spec,
        budget=config.budget,
        seed=key[0],
        fold=key[1],
        metric=config.metric,
        score=None if math.isnan(score) else score,
        checkpoint="last" if progress.best is None else "best",
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        precision=parts.fabric.strategy.precision.precision,
        train_seconds=round(progress.seconds, 1),
        machine=describe_machine(parts.fabric.device),
        torch=str(torch.__version__),
        fold_hash=dataset.fold_hash,
        data_hash=dataset.data_hash,
        sha256=Hashes(weights=weights_hash, oof=stored.sha256, maps=stored.maps),
        warm_start=warm_start,
        pseudo_labels=pseudo_labels,
        hard_negatives=mined if config.hard_negative_fraction else None,
    )
    write_run(folder, record)


def describe_machine(device: torch.device) -> str:
    """The GPU's name, or the CPU's and its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
