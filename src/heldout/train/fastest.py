"""Memory layout, precision and compilation by measurement: once for an experiment, and the same for every later fit.

Each changes the last bits of the weights, which the noise of a clock would decide if every fit chose anew.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import product
from typing import Any

from pydantic import Field

from heldout import files
from heldout.data.dataset import Dataset
from heldout.records import Number, Record, read_record
from heldout.tasks import Task
from heldout.tasks.optim import Precision, machine_precision
from heldout.train.opening import open_fold, step_times
from heldout.train.origins import Origins
from heldout.train.results import describe_machine

SCHEMA = 2
MEASURED_SECONDS = 4.0
COMPILED_FROM = 600.0  # seconds of the steps of a fit; compiling takes one to several minutes


class FastestRecord(Record):
    """How the training steps of an experiment are the fastest.

    Attributes:
        spec: The experiment.
        identity_hash: SHA-256 of its identity.
        channels_last: Memory layout.
        precision: As Lightning Fabric names it.
        compiled: With torch.compile.
        step_seconds: Wall time of a step, by precision, layout and whether compiled.
        compile_seconds: What compiling takes before the first step; None where it was not tried, as a fit is too short,
            the experiment asks for it anyway, or the network cannot be compiled here.
        machine: Where that was measured.
        measured: When.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str
    identity_hash: str = Field(alias="fingerprint")
    channels_last: bool
    precision: Precision
    compiled: bool
    step_seconds: dict[str, Number]
    compile_seconds: Number | None
    machine: str
    measured: str


def fastest(config: Task, dataset: Dataset, key: tuple[int, int], origins: Origins) -> Task:
    """The experiment as it trains fastest, in layout, precision and compilation, where it asks for that.

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
    chosen = {name: getattr(record, name) for name in ("channels_last", "precision")}
    return config.model_copy(update={**chosen, "compile": record.compiled})


def _measure(config: Task, dataset: Dataset, key: tuple[int, int], origins: Origins) -> FastestRecord:
    machine, times = "", {}

    def measure(**values: Any) -> tuple[float, float, int]:
        """Seconds of a step, what the first take beyond that, and steps of a fit."""
        nonlocal machine
        variant = config.model_copy(update=values)
        _, batches, state = open_fold(variant, dataset, key, origins, quiet=True)
        steps = len(batches) * config.epochs
        try:
            step, first = step_times(variant, state, batches, key, MEASURED_SECONDS)
        finally:
            batches.close()
        machine = describe_machine(state.fabric.device)
        layout = "channels-last" if variant.channels_last else "contiguous"
        times[f"{variant.precision}, {layout}{', compiled' if variant.compile else ''}"] = round(step, 4)
        return step, first, steps

    chosen = machine_precision(config.precision)
    precisions: list[Precision] = [chosen]
    if config.precision == "auto" and chosen == "bf16-mixed":
        precisions.append("32-true")
    found = {pair: measure(precision=pair[0], channels_last=pair[1]) for pair in product(precisions, (True, False))}
    precision, last = min(found, key=lambda pair: found[pair][0])
    plain, _, steps = found[precision, last]
    compiled, compile_seconds = config.compile, None
    if not config.compile and plain * steps >= COMPILED_FROM:
        with suppress(RuntimeError):  # of torch.compile, such as for want of a C++ compiler
            step, compile_seconds, _ = measure(precision=precision, channels_last=last, compile=True)
            compiled = compile_seconds + step * steps < plain * steps
    return FastestRecord(
        spec=config.spec,
        identity_hash=config.identity_hash(),
        channels_last=last,
        precision=precision,
        compiled=compiled,
        step_seconds=times,
        compile_seconds=compile_seconds,
        machine=machine,
        measured=time.strftime("%F %T"),
    )
