"""Out-of-fold predictions with other flips, another overlap or precision than when a run was trained.

They are made once, from the stored weights of each fold and for the cases that fold held out, and lie beside the run:
``seed0/fold0/tta-hv/`` (``tta-none/`` without flips, ``tta-hv-overlap-0.25/`` with another overlap of windows,
``tta-hv-bf16-mixed/`` in another precision) holds ``oof.parquet`` and ``oof_maps/`` as the fold's own folder does, and
``predictions.json`` with their hashes and that of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.predict.precision import FLOAT32, resolve
from heldout.progress import track
from heldout.records import Record, read_record
from heldout.train.record import Hashes, RunRecord, read_config, read_run
from heldout.train.runs import check_code, check_weights

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset
    from heldout.tasks import Task


class PredictionsRecord(Record):
    """``predictions.json``: the flips, the precision, and the hashes of what they gave."""

    schema_version: int = Field(default=1, alias="schema")
    tta: str
    sha256: Hashes
    precision: str = FLOAT32
    optional: ClassVar[frozenset[str]] = frozenset({"precision"})


def check_flips(config: Task, tta: str) -> str:
    """The axes of ``tta`` in alphabetical order.

    Raises:
        UserError: one of them does not exist, or is named twice.
    """
    if not set(tta) <= set(config.flip_axes) or len(set(tta)) != len(tta):
        raise UserError(f"{config.spec}/tta={tta} may name each of the axes {', '.join(config.flip_axes)} once")
    return "".join(sorted(tta))


def predictions_folder(config: Task, folder: Path, tta: str) -> Path:
    """Where a fold's predictions with some flips lie: its own folder for those that were made when it was trained."""
    trained, ending = read_config(folder).settings, _ending(config, folder)
    return folder if set(tta) == set(trained.tta) and not ending else folder / f"tta-{tta or 'none'}{ending}"


def stored_flips(config: Task, folder: Path) -> set[str]:
    """Other flips than the experiment's with which a fold was predicted already, with today's overlap."""
    name = re.compile(rf"tta-([a-z]+){re.escape(_ending(config, folder))}")
    names = (name.fullmatch(path.parent.name) for path in folder.glob("tta-*/predictions.json"))
    flips = {"" if found[1] == "none" else found[1] for found in names if found}
    return {axes for axes in flips if set(axes) != set(config.tta)}


def _ending(config: Task, folder: Path) -> str:
    """What the names of folders end with whose predictions are made otherwise than when a fold was trained."""
    trained = read_config(folder).settings
    overlap = "" if config.overlap == trained.overlap else f"-overlap-{config.overlap}"
    # "auto" takes the predictions that there are
    same = config.predict_precision in ("auto", trained.predict_precision)
    return overlap + ("" if same else f"-{config.predict_precision}")


def read_hashes(config: Task, folder: Path, tta: str, read: Callable[[Path], RunRecord] = read_run) -> Hashes:
    """SHA-256 of the files behind a fold's predictions; ``read`` reads the record of a fit.

    Raises:
        UserError: there are none with these flips, or their record is damaged.
    """
    place = predictions_folder(config, folder, tta)
    return read(folder).sha256 if place == folder else _read(place).sha256


def read_precision(config: Task, folder: Path, tta: str, read: Callable[[Path], RunRecord] = read_run) -> str:
    """Number format of a fold's predictions; ``read`` reads the record of a fit.

    Raises:
        UserError: as :func:`read_hashes`.
    """
    place = predictions_folder(config, folder, tta)
    return read(folder).predict_precision if place == folder else _read(place).precision


def _read(place: Path) -> PredictionsRecord:
    again = f"delete {place}, the predictions are made again when needed"
    return read_record(place / "predictions.json", PredictionsRecord, 1, again)


def predict_flips(config: Task, dataset: Dataset, folder: Path, fold: int, tta: str) -> None:
    """Predict the cases that a fold held out, unless that was done with these views and these very weights.

    Raises:
        UserError: the weights changed, or another process is predicting them.
    """
    target = predictions_folder(config, folder, tta)
    if target == folder or _is_done(config, folder, tta):
        return
    with files.lock(target, f"predicting {config.spec} with tta = {tta!r}"):
        if not _is_done(config, folder, tta):  # another process may have done it a moment ago
            check_code(config)
            check_weights(folder)
            _predict(config, dataset, folder, fold, tta)


def _is_done(config: Task, folder: Path, tta: str) -> bool:
    if not (predictions_folder(config, folder, tta) / "predictions.json").exists():
        return False
    return read_hashes(config, folder, tta).weights == read_run(folder).sha256.weights


def _predict(config: Task, dataset: Dataset, folder: Path, fold: int, tta: str) -> None:
    import torch

    from heldout.predict.models import load_model
    from heldout.train.first_stage import with_first_stage
    from heldout.train.results import ValidationFold

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(config, folder / "weights.safetensors", dataset.classes, dataset.exclusive).to(device)
    _, cases = dataset.fold_cases(fold)
    held_out = ValidationFold(config, dataset, with_first_stage(dataset, config), cases.assign(fold=fold), device)
    name = f"{config.spec} {folder.parent.name} fold {fold} with {f'flips {tta}' if tta else 'no flips'}"
    answers = track(held_out.predict(model, tta), len(cases), name)
    target = predictions_folder(config, folder, tta)
    stored = held_out.store(target, iter(answers))
    hashes = Hashes(weights=read_run(folder).sha256.weights, oof=stored.sha256, maps=stored.maps)
    precision = resolve(config.predict_precision, device)
    record = PredictionsRecord(tta=tta, sha256=hashes, precision=precision)
    files.write_json(target / "predictions.json", record.to_json())
