"""Memory layout and precision by measurement: once for an experiment, recorded, and the same for every later fit.

Either changes the last bits of the weights, which the noise of a clock would decide if every fit chose anew.
"""

from __future__ import annotations

import time
from itertools import product

from pydantic import Field

from heldout import files
from heldout.data.dataset import Dataset
from heldout.records import Number, Record, read_record
from heldout.tasks import Task
from heldout.tasks.optim import Precision, machine_precision
from heldout.train.opening import open_fold, step_seconds
from heldout.train.origins import Origins
from heldout.train.results import describe_machine

SCHEMA = 1
MEASURED_SECONDS = 4.0


class FastestRecord(Record):
    """How the training steps of an experiment are the fastest.

    Attributes:
        spec: The experiment.
        identity_hash: SHA-256 of its identity.
        channels_last: Memory layout.
        precision: As Lightning Fabric names it.
        step_seconds: Wall time of a step, by precision and layout.
        machine: Where that was measured.
        measured: When.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str
    identity_hash: str = Field(alias="fingerprint")
    channels_last: bool
    precision: Precision
    step_seconds: dict[str, Number]
    machine: str
    measured: str


def fastest(config: Task, dataset: Dataset, key: tuple[int, int], origins: Origins) -> Task:
    """The experiment with the layout and precision in which it trains fastest, where it asks for that.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        key: Seed and fold of the fit whose first steps are measured, where none were before.
        origins: What that fit is made from.

    Raises:
        UserError: the record is damaged.
    """
    if not config.measure_speed:
        return config
    path = files.home() / "working" / "fastest" / f"{config.spec}.json"
    with files.lock(path.parent, f"measuring training steps of {config.spec}", wait=True):
        record = None
        if path.exists():
            record = read_record(path, FastestRecord, SCHEMA, "delete it, and the next training measures again")
        if record is None or record.identity_hash != config.identity_hash():
            record = _measure(config, dataset, key, origins)
            files.write_json(path, record.to_json())
    return config.model_copy(update={"channels_last": record.channels_last, "precision": record.precision})


def _measure(config: Task, dataset: Dataset, key: tuple[int, int], origins: Origins) -> FastestRecord:
    chosen = machine_precision(config.precision)
    precisions: list[Precision] = [chosen]
    machine, found = "", {}
    times: dict[str, Number] = {}
    if config.precision == "auto" and chosen == "bf16-mixed":
        precisions.append("32-true")
    for precision, last in product(precisions, (True, False)):
        variant = config.model_copy(update={"precision": precision, "channels_last": last})
        _, batches, state = open_fold(variant, dataset, key, origins, quiet=True)
        seconds = step_seconds(variant, state, batches, key, MEASURED_SECONDS)
        batches.close()
        machine = describe_machine(state.fabric.device)
        found[precision, last] = seconds
        times[f"{precision}, {'channels-last' if last else 'contiguous'}"] = round(seconds, 4)
    precision, last = min(found, key=lambda variant: found[variant])
    return FastestRecord(
        spec=config.spec,
        identity_hash=config.identity_hash(),
        channels_last=last,
        precision=precision,
        step_seconds=times,
        machine=machine,
        measured=time.strftime("%F %T"),
    )
