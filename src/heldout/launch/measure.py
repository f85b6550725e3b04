"""A fit's first steps and a few predictions, measured in a process of their own: ``python -m heldout.launch.measure``.

What is measured does not depend on how long the fit is trained, so that the numbers of one machine serve on it for any
number of epochs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.launch.measure_work import time_blend, time_command, time_prediction
from heldout.launch.plan import Fit
from heldout.launch.processes import age, children_bytes, peak_bytes
from heldout.launch.worker import own_modules, threads_environment
from heldout.records import Number, Record, read_record
from heldout.tasks import load_task

if TYPE_CHECKING:
    import torch

SCHEMA = 5
STEP_SECONDS = 10.0


class MeasuredFit(Record):
    """``working/plans/<spec>.json``: what a fit costs on a machine.

    Attributes:
        spec: The experiment.
        identity_hash: SHA-256 of its identity.
        machine: GPU, or CPU with its cores.
        threads: CPU threads.
        start_seconds: From the start of a process to its first step, with the batch that is tried before.
        first_seconds: Of the first steps, beyond that of others.
        load_seconds: Of the process of a prediction, without its cases.
        command_seconds: Of a command that does nothing, from start to end.
        exit_seconds: Of the end of a process that has trained.
        steps: Batches of an epoch.
        step_seconds: Wall time of a training step, loading included.
        save_seconds: Of keeping the state and the history after an epoch.
        end_seconds: Of the weights and curves that are left at the end.
        predict_seconds: Of a held-out case, with flips, scored and written.
        validate_seconds: Of a held-out case in a validation.
        read_seconds: Of reading and preparing a case's own file.
        open_seconds: Of the process of a blend, without what its cases take.
        blend_seconds: Of reading a stored prediction and its truth for a blend.
        tune_seconds: Of a case in a tuning of weights and thresholds.
        interval_seconds: Of the score's interval over all training cases.
        held_out: Held-out cases.
        training: Training cases.
        map_bytes: Of a stored map; 0 of a classification.
        weight_bytes: Of the weights.
        state_bytes: Of the state that is kept during training.
        import_bytes: Memory of the process once all is imported and the dataset is open.
        host_bytes: Most memory of the process.
        loader_bytes: Memory of each loading process.
        device_bytes: Most memory on the GPU; None on a CPU.
        watts: Power while it trains; an estimate.
        measured: When.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str
    identity_hash: str
    machine: str
    threads: int
    start_seconds: Number
    first_seconds: Number
    load_seconds: Number
    command_seconds: Number
    exit_seconds: Number
    steps: int
    step_seconds: Number
    save_seconds: Number
    end_seconds: Number
    predict_seconds: Number
    validate_seconds: Number
    read_seconds: Number
    open_seconds: Number
    blend_seconds: Number
    tune_seconds: Number
    interval_seconds: Number
    held_out: int
    training: int
    map_bytes: int
    weight_bytes: int
    state_bytes: int
    import_bytes: int
    host_bytes: int
    loader_bytes: int
    device_bytes: int | None = None
    watts: Number
    measured: str


def record_path(spec: str) -> Path:
    """Where the measurement of an experiment lies."""
    return files.home() / "working" / "plans" / f"{spec}.json"


def read_measured(path: Path) -> MeasuredFit:
    """A measurement, of this machine or of another.

    Raises:
        UserError: it is missing or damaged.
    """
    return read_record(path, MeasuredFit, SCHEMA, "delete it, and `plan` measures again")


def measured(fit: Fit, threads: int | None) -> MeasuredFit:
    """What a fit costs here: as recorded on this machine for the experiment as it is now, or measured.

    Args:
        fit: Any fit of the experiment.
        threads: CPU threads; None is what a process takes by itself.

    Raises:
        UserError: the fit cannot begin.
    """
    config = fit.config()
    if config is None:
        raise UserError(f"the epochs of {fit} have not been measured: train one fold of it, or plan it without minutes")
    import torch

    from heldout.train.results import is_this_machine

    path = record_path(config.spec)
    asked = torch.get_num_threads() if threads is None else threads
    with contextlib.suppress(UserError):
        there = read_measured(path)
        same = there.identity_hash == config.identity_hash() and there.threads == asked
        if same and is_this_machine(there.machine):
            return there
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "heldout.launch.measure", config.spec, str(fit.seed), str(fit.fold)],
        env={**os.environ, **own_modules(), **threads_environment(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - begun
    told = done.stdout if done.returncode in (0, 2) else done.stderr
    lines = told.strip().splitlines() or [""]
    if done.returncode:
        raise UserError(f"{config.spec} cannot be measured: {lines[-1].removeprefix('error: ')}")
    found = json.loads(lines[-1])
    found |= {"exit_seconds": round(max(0.0, whole - found["exit_seconds"]), 3)}
    files.write_json(path, found)
    return read_measured(path)


def measure(spec: str, seed: int, fold: int) -> MeasuredFit:
    """Train some steps of a fit and predict some of its held-out cases, in this process; nothing of it is kept."""
    importlib.import_module("heldout.blend.search")
    from heldout.data.cases import open_dataset

    config, key = load_task(spec), (seed, fold)
    dataset = open_dataset(config)

    import torch

    from heldout.data.transform import prepare_image
    from heldout.metrics.registry import score
    from heldout.predict.models import load_model, save_model
    from heldout.train import checkpoint, history
    from heldout.train.display import Display
    from heldout.train.fastest import fastest
    from heldout.train.first_batch import try_first_batch
    from heldout.train.opening import open_fold, step_times
    from heldout.train.origins import find_origins
    from heldout.train.results import ValidationFold, describe_machine, write_results

    imported_bytes = peak_bytes()
    try_first_batch(config, dataset, dataset)
    origins = find_origins(config, dataset, seed, fold)
    quickest = fastest(config, dataset, key, origins)
    prepared, batches, state = open_fold(quickest, dataset, key, origins, quiet=True)
    device = state.fabric.device
    started = age()
    seconds, first = step_times(config, state, batches, key, STEP_SECONDS, epochs=config.epochs)
    loaders, steps = children_bytes(os.getpid()) // max(config.workers, 1), len(batches)
    batches.close()
    training, rows = dataset.fold_cases(fold, config.case_fraction)
    network = state.average.module
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows_of_epochs = [history.EpochRow(1, 1.0, config.lr, seconds, None, time.time())]
        begun = time.perf_counter()
        history.write_tensorboard(folder, rows_of_epochs, config.metric)
        history.draw_curves(folder, rows_of_epochs, spec, config.metric)
        save_model(network, folder / "weights.safetensors")
        load_model(config, folder / "weights.safetensors", dataset.classes, dataset.exclusive)
        ending = time.perf_counter() - begun
        begun = time.perf_counter()
        checkpoint.save(folder / "state.pt", checkpoint.Progress(), state.stateful)
        history.write_metrics(folder, rows_of_epochs, config.metric)
        history.write_tensorboard(folder, rows_of_epochs, config.metric)
        saving = time.perf_counter() - begun
        few = 4 if config.dimensions == 3 else 2 * config.predict_batch_size
        some = rows.iloc[:: max(1, len(rows) // few)].head(few).assign(fold=fold)
        held_out = ValidationFold(config, dataset, prepared, some, device)
        held_out.score(network)  # reads masks, and lets the device choose its kernels
        begun = time.perf_counter()
        held_out.score(network)
        validating = (time.perf_counter() - begun) / len(some)
        begun = time.perf_counter()
        held_out._masks.clear()
        stored = held_out.store(folder, held_out.predict(network))
        score(config.metric, stored.table, dataset.classes)
        predicting = (time.perf_counter() - begun) / len(some)
        begun = time.perf_counter()
        for case_id in some["case_id"]:
            prepare_image(dataset.read_image(case_id), config)
        reading = (time.perf_counter() - begun) / len(some)
        write_results(folder, key, state, held_out, checkpoint.Progress(), Display(spec, 1, steps, 0, quiet=True))
        blend, loading = time_blend(spec, folder), time_prediction(spec, folder, reading + predicting)
        maps = [path.stat().st_size for path in folder.glob("oof_maps/*")]
        sizes = {name: (folder / name).stat().st_size for name in ("state.pt", "weights.safetensors")}
    return MeasuredFit(
        spec=spec,
        identity_hash=config.identity_hash(),
        machine=describe_machine(device),
        threads=torch.get_num_threads(),
        start_seconds=round(started, 2),
        first_seconds=round(first, 3),
        load_seconds=round(loading, 2),
        command_seconds=round(time_command(), 3),
        steps=steps,
        step_seconds=round(seconds, 5),
        save_seconds=round(saving, 4),
        end_seconds=round(ending, 3),
        predict_seconds=round(predicting, 5),
        validate_seconds=round(validating, 5),
        read_seconds=round(reading, 5),
        open_seconds=round(blend.open, 2),
        blend_seconds=round(blend.read, 5),
        tune_seconds=round(blend.tune, 6),
        interval_seconds=round(blend.interval, 3),
        held_out=len(rows),
        training=len(training),
        map_bytes=sum(maps) // max(len(maps), 1),
        weight_bytes=sizes["weights.safetensors"],
        state_bytes=sizes["state.pt"],
        import_bytes=imported_bytes,
        host_bytes=peak_bytes(),
        loader_bytes=loaders,
        device_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        watts=_watts(device),
        measured=time.strftime("%F %T"),
        exit_seconds=round(age(), 3),  # until its last line; whoever waits for the end takes the difference
    )


def _watts(device: torch.device) -> float:
    """Power while a fit trains: of a GPU its limit, of a CPU eight watts a thread; a guess either way."""
    import torch

    if device.type == "cuda":
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            asked = [
                "nvidia-smi",
                "--query-gpu=power.limit",
                "--format=csv,noheader,nounits",
                "-i",
                str(device.index or 0),
            ]
            return float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0])
        return 250.0
    return 8.0 * torch.get_num_threads()


def main() -> int:
    """Print the measurement as a line of JSON; 2 where the user can mend what is wrong."""
    spec, seed, fold = sys.argv[1:]
    try:
        print(json.dumps(measure(spec, int(seed), int(fold)).to_json()), flush=True)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
