"""Kaggle as the machine: a notebook that trains what is missing, and leaves run folders for ``collect``.

The bundle holds the package, the experiments, the packed dataset and the fits so far. The notebook trains within the
limit of a session, one fit on each GPU, and leaves the run folders with a list of their hashes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from heldout import files
from heldout.deliver.kernel.notebook import SETUP, slug_of, write_dataset_metadata, write_script
from heldout.deliver.kernel.packages import (
    build_wheel,
    fetch_wheels,
    needed,
    required_packages,
    requirements,
    write_packages,
)
from heldout.errors import UserError
from heldout.launch import travel
from heldout.launch.plan import Fit
from heldout.launch.queue import QueueEntry
from heldout.records import Record, read_record
from heldout.tasks import Task, load_task
from heldout.train import numerics, runs

MANIFEST, OUTPUT = "training.json", "runs.json"
SCHEMA = 1
SHARE = 0.9  # of a session, after which fits stop after their current epoch

TRAIN = """
from heldout.deliver.kernel.packages import check_packages  # noqa: E402

check_packages(BUNDLE)

from heldout.launch.kaggle_training import run  # noqa: E402

run(BUNDLE, WORKING, hours=float(os.environ.get("HELDOUT_TRAIN_HOURS", "{hours}")))
"""


class TrainingBundle(Record):
    """``training.json`` of a bundle.

    Attributes:
        specs: Experiments to train.
        seeds: Of each experiment.
        folds: Of each experiment.
        packs: Packed datasets.
        files: SHA-256 of every other file.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    specs: tuple[str, ...]
    seeds: dict[str, tuple[int, ...]]
    folds: dict[str, tuple[int, ...]]
    packs: tuple[str, ...]
    files: dict[str, str]


class TrainingOutput(Record):
    """``runs.json`` beside the run folders that a notebook leaves: the SHA-256 of every file."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    files: dict[str, str]


@dataclass(frozen=True)
class WrittenTraining:
    """A training notebook on disk.

    Attributes:
        folder: Where it lies.
        fits: How many fits are missing.
        missing: Packages that Kaggle's image lacks and of which no wheel could be had.
    """

    folder: Path
    fits: int
    missing: tuple[str, ...]


def write_training(configs: Sequence[Task], name: str, user: str, hours: float) -> WrittenTraining:
    """Write ``kaggle_kernels/<name>-train/``: a notebook that trains what is missing, and its dataset.

    Args:
        configs: The experiments, on one dataset.
        name: Name of the first of them.
        user: Kaggle user who owns both.
        hours: Limit of a session.

    Raises:
        UserError: nothing is missing, fits have other settings, or an experiment needs more than can be sent.
    """
    fits = [Fit(config.spec, seed, fold) for config in configs for seed in config.seeds for fold in config.fold_list]
    left = [fit for fit in fits if not fit.is_finished()]
    for config in configs:
        runs.check_identity(config)
    if not left:
        raise UserError(f"all fits of {', '.join(config.spec for config in configs)} are finished: nothing to train")
    for config in configs:
        travel.refuse_to_travel(config, "to Kaggle")
        if config.warm_start is not None and (absent := _absent_starts(left)):
            raise UserError(f"{absent[0]} must be finished first: train it here, or by a notebook of its own")
    target = files.home() / "kaggle_kernels" / f"{name}-train"
    with files.new_folder(target) as draft:
        bundle = draft / "dataset"
        bundle.mkdir(parents=True)
        pack = travel.pack_for(configs)
        shutil.copyfile(pack, bundle / pack.name)
        for place, path in {**travel.needed_files(left), **_records(fits)}.items():
            (bundle / "home" / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, bundle / "home" / place)
        (bundle / "code.zip").write_bytes(travel.archive(_experiments()))
        build_wheel(bundle / "wheels")
        wanted, absent_packages = needed(required_packages(), requirements())
        missing = fetch_wheels(absent_packages, bundle / "wheels")
        write_packages(bundle, wanted)
        record = TrainingBundle(
            specs=tuple(config.spec for config in configs),
            seeds={config.spec: tuple(config.seeds) for config in configs},
            folds={config.spec: tuple(config.fold_list) for config in configs},
            packs=(pack.name,),
            files=dict(_hashes(bundle)),
        )
        files.write_json(bundle / MANIFEST, record.to_json())
        slug = slug_of(target.name)
        write_dataset_metadata(bundle, target.name, user)
        purpose = f"Trains the missing fits of {', '.join(record.specs)} with heldout, and leaves their run folders."
        write_script(draft / "notebook", slug, (SETUP + TRAIN).format(purpose=purpose, slug=slug, hours=hours), user)
    return WrittenTraining(target, len(left), tuple(missing))


def _absent_starts(fits: Sequence[Fit]) -> list[Fit]:
    needs = [need for fit in fits for need in fit.needs()]
    return [need for need in needs if not need.is_finished() and need not in fits]


def _records(fits: Sequence[Fit]) -> dict[str, Path]:
    """Records of finished fits, which are not trained again; they tell threads and number format of their run."""
    found: dict[str, Path] = {}
    for fit in fits:
        folder = fit.folder()
        if folder is not None and fit.is_finished():
            place = travel.place_of(fit.spec, fit)
            found |= {f"{place}/{name}": folder / name for name in ("config.json", "run.json")}
    return found


def _experiments() -> dict[str, Path]:
    return {name: path for name, path in travel.code_files().items() if name.startswith("exps/")}


def _hashes(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), files.sha256_file(path)


def run(bundle: Path, working: Path, hours: float) -> None:
    """Train what is missing in a notebook, and leave ``runs/`` with ``runs.json`` in its output.

    Args:
        bundle: What :func:`write_training` wrote.
        working: The notebook's output.
        hours: Limit of its session.

    Raises:
        UserError: a file of the bundle is not the one that was written.
    """
    from heldout.data.pack.read import unpack
    from heldout.launch.local import local_engine
    from heldout.launch.runner import run_fits

    until = time.time() + SHARE * 3600 * hours
    record = read_record(bundle / MANIFEST, TrainingBundle, SCHEMA, "write the kernel again")
    for name, digest in record.files.items():
        if not (bundle / name).is_file() or files.sha256_file(bundle / name) != digest:
            raise UserError(f"{bundle / name} is missing or changed: upload the dataset again")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        shutil.copytree(bundle / "home", home) if (bundle / "home").is_dir() else home.mkdir()
        with zipfile.ZipFile(bundle / "code.zip") as archive:
            archive.extractall(Path(scratch) / "code")
        os.environ.update(HELDOUT_HOME=str(home), HELDOUT_PROJECT=str(Path(scratch) / "code"))
        sys.path.insert(0, str(Path(scratch) / "code"))
        for name in record.packs:
            unpack(bundle / name, progress=False)
        configs = [load_task(spec) for spec in record.specs]
        threads = max((numerics.run_threads(config) or 0 for config in configs), default=0)
        engine = local_engine(None, None, threads or None, max((config.devices for config in configs), default=1))
        engine.until = max(until, time.time() + 5)  # an epoch at least, or no session would get on
        entries = [
            QueueEntry(spec=spec, seeds=record.seeds[spec], folds=record.folds[spec], added="") for spec in record.specs
        ]
        try:
            failed = run_fits(engine, entries, lambda line: print(line, flush=True))
        finally:
            _leave(home / "working" / "runs", working)
    for one in failed:
        print(f"{one.fit} failed: {one.message}", flush=True)


def _leave(made: Path, working: Path) -> None:
    """Copy run folders into the output, with the list of their hashes last; not those of which only records came."""
    target = working / "runs"
    shutil.rmtree(target, ignore_errors=True)
    for folder in sorted(made.glob("*/seed*/fold*")):
        if runs.has_epoch(folder) and ((folder / "state.pt").exists() or (folder / "weights.safetensors").exists()):
            shutil.copytree(folder, target / folder.relative_to(made), ignore=shutil.ignore_patterns(".*"))
    found = {f"runs/{name}": digest for name, digest in _hashes(target)}
    files.write_json(working / OUTPUT, TrainingOutput(files=found).to_json())
