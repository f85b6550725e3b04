"""How many epochs fit into a number of minutes: measured once for an experiment, and the same for every later fit.

A time limit itself would let the speed of the machine at that moment decide the learning-rate schedule, and so the
weights. The number of epochs is therefore an override like any other: ``exp040 --minutes 20`` trains, for instance,
``exp040+epochs=12``, whose every fold and seed has these 12 epochs, today and when it is resumed.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Number, Record, read_record
from heldout.tasks import Task, load_task

SCHEMA = 1
MEASURED_SECONDS = 15.0


class MinutesRecord(Record):
    """Epochs that fit into a number of minutes.

    Attributes:
        spec: The experiment without that number of epochs.
        identity_hash: SHA-256 of its identity, whatever its own number of epochs is.
        minutes: Training time of a fold, without the prediction of its held-out cases.
        epochs: How many fit.
        steps: Batches of an epoch.
        step_seconds: Wall time of a training step, loading included.
        machine: Where that was measured.
        measured: When.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str
    identity_hash: str = Field(alias="fingerprint")
    minutes: Number
    epochs: int
    steps: int
    step_seconds: Number
    machine: str
    measured: str


def within_minutes(config: Task, minutes: float, seed: int, fold: int) -> tuple[Task, MinutesRecord]:
    """The experiment with as many epochs as fit into a training time.

    Args:
        config: The experiment.
        minutes: Training time of a fold.
        seed: Seed of the fit whose first steps are measured, where none were before.
        fold: Fold of that fit.

    Returns:
        The experiment under its name with that number of epochs, and how the number was measured.

    Raises:
        UserError: the number of epochs is given as well, not one epoch fits, the number contradicts another field, or
            the fit cannot begin.
    """
    refuse_epochs(config)
    path = record_path(config, minutes)
    with files.lock(path.parent, f"measuring a training step of {config.spec}", wait=True):
        record = recorded(config, minutes)
        if record is None:
            record = _measure(config, minutes, seed, fold)
            files.write_json(path, record.to_json())
    return with_epochs(config, record), record


def refuse_epochs(config: Task) -> None:
    """Refuse an experiment whose number of epochs is given beside a number of minutes, or cannot be measured.

    Raises:
        UserError: its overrides set the epochs, or it trains on several devices.
    """
    if config.devices > 1:
        raise UserError(f"{config.spec} has devices = {config.devices}, and --minutes measures one: set epochs instead")
    if "epochs" in config.overrides:
        raise UserError(f"{config.spec} sets epochs, and --minutes chooses them: leave out one of the two")


def with_epochs(config: Task, record: MinutesRecord) -> Task:
    """The experiment with the recorded number of epochs."""
    return load_task(config.spec, overrides=[f"epochs={record.epochs}"])


def record_path(config: Task, minutes: float) -> Path:
    """Where the number of epochs is recorded."""
    return files.home() / "working" / "minutes" / f"{config.spec}+minutes={minutes:g}.json"


def recorded(config: Task, minutes: float) -> MinutesRecord | None:
    """What was measured for the experiment as it is now; None where nothing was.

    Raises:
        UserError: the record is damaged.
    """
    path = record_path(config, minutes)
    if not path.exists():
        return None
    record = read_record(path, MinutesRecord, SCHEMA, "delete it, and the next training measures again")
    return record if record.identity_hash == _identity_hash(config) else None


def _identity_hash(config: Task) -> str:
    return config.model_copy(update={"epochs": 1}).identity_hash()


def _measure(config: Task, minutes: float, seed: int, fold: int) -> MinutesRecord:
    from heldout.data.cases import open_dataset
    from heldout.train.fastest import fastest
    from heldout.train.opening import open_fold, step_times
    from heldout.train.origins import find_origins
    from heldout.train.results import describe_machine

    dataset = open_dataset(config)
    origins = find_origins(config, dataset, seed, fold)
    quickest = fastest(config, dataset, (seed, fold), origins)
    _, batches, state = open_fold(quickest, dataset, (seed, fold), origins, quiet=False)
    seconds, first = step_times(config, state, batches, (seed, fold), MEASURED_SECONDS)
    steps = len(batches)
    batches.close()
    epochs = math.floor((60 * minutes - first) / (steps * seconds))
    if epochs < 1:
        raise UserError(
            f"an epoch of {config.spec} takes {steps * seconds / 60:.1f} minutes on this machine: raise --minutes "
            "above that, or lower steps_per_epoch"
        )
    return MinutesRecord(
        spec=config.spec,
        identity_hash=_identity_hash(config),
        minutes=minutes,
        epochs=epochs,
        steps=steps,
        step_seconds=round(seconds, 4),
        machine=describe_machine(state.fabric.device),
        measured=time.strftime("%F %T"),
    )
