"""Predictions made elsewhere as the run of an experiment: ``exp040+imported=teammate``.

The run has folds, tables and maps as one that was trained here: it is ranked, blended and sealed like any other.
It has no networks: what it says of cases without labels was imported too, and other cases it cannot predict.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Record, read_record
from heldout.train.record import Hashes, MadeFrom, RunRecord, read_run, write_run
from heldout.train.runs import begin_fit, fit_folder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from heldout.data.dataset import Dataset
    from heldout.predict.prediction import Prediction
    from heldout.tasks import Task

SEED = 0
VERIFIED, NOT_VERIFIABLE = "verified", "not verifiable"


class ImportedRecord(Record):
    """``imported.json``: predictions that were made elsewhere.

    Attributes:
        name: What they are called here.
        by: Who made them.
        spec: The run that they are.
        time: When they were imported, UTC.
        folds: Whether the file said which fold every case was held out of, and said so of this fold table.
        sources: SHA-256 of the files that were read, by their names.
        test: Hashes of the predictions of cases outside the training part.
        cases: How many of those there are.
    """

    schema_version: int = Field(default=1, alias="schema")
    name: str
    by: str
    spec: str
    time: str
    folds: Literal["verified", "not verifiable"]
    sources: dict[str, str]
    test: Hashes | None
    cases: int

    @property
    def note(self) -> str:
        """What a reader of its scores must know."""
        text = f"{self.spec}: predictions of {self.by}, made elsewhere"
        if self.folds == NOT_VERIFIABLE:  # first, as tables cut what is long
            return f"folds not verifiable, so that its score may be of cases that it was trained on; {text}"
        return text


@dataclass(frozen=True, eq=False)
class ImportedTest:
    """What was imported of cases outside the training part, in the place of networks.

    Attributes:
        record: Where it comes from.
        kind: As of a task.
    """

    record: ImportedRecord
    kind: str

    def predict(self, case_id: str) -> Prediction:
        """The prediction of a case.

        Raises:
            UserError: it was not imported, or its file changed.
        """
        from heldout.predict.prediction import Prediction
        from heldout.predict.store import read_map

        if self.record.test is None or case_id not in self._scores:
            raise UserError(
                f"{self.record.spec} has no prediction of case {case_id}: it was imported and has no networks, so "
                "import it again with --test for all cases to predict, or leave it out"
            )
        folder = imported_folder(self.record.name)
        maps = self.kind == "segmentation"
        values = read_map(folder, "test", case_id, self.record.test.maps[case_id]) if maps else None
        return Prediction(case_id, self._scores[case_id], values)

    @cached_property
    def _scores(self) -> dict[str, np.ndarray]:
        import numpy as np

        from heldout.predict.store import class_names, read_table

        folder, test = imported_folder(self.record.name), self.record.test
        if test is None:
            return {}
        if files.sha256_file(folder / "test.parquet") != test.oof:
            raise UserError(f"{folder / 'test.parquet'} was changed after it was imported: restore it, or import again")
        table = read_table(folder, "test")
        values = table[[f"p_{name}" for name in class_names(table)]].to_numpy(np.float32)
        return dict(zip(table["case_id"], values, strict=True))


def imported_folder(name: str) -> Path:
    """Where predictions made elsewhere lie, besides their run."""
    return files.home() / "working" / "imported" / name


def read_imported(name: str) -> ImportedRecord:
    """Read ``imported.json``.

    Raises:
        UserError: nothing was imported under that name, or the record is damaged.
    """
    path = imported_folder(name) / "imported.json"
    if not path.is_file():
        raise UserError(f"nothing was imported as {name!r}: run `python run.py import-oof {name} --oof FILE --by NAME`")
    return read_record(path, ImportedRecord, 1, f"import {name} again")


def imported_run(name: str) -> str | None:
    """Spec of the run that was imported under a name; None where there is none."""
    return read_imported(name).spec if (imported_folder(name) / "imported.json").is_file() else None


def store_imported(
    config: Task,
    dataset: Dataset,
    by: str,
    out_of_fold: Iterable[Prediction],
    folds: str,
    test: Iterable[Prediction],
    test_cases: pd.DataFrame,
    sources: dict[str, str],
) -> ImportedRecord:
    """Write the run, a fold at a time, and what was predicted of other cases.

    Args:
        config: The experiment with ``imported`` set.
        dataset: Its checked dataset.
        by: Who made the predictions.
        out_of_fold: Of all cases of some folds, in the order of the folds; consumed one by one.
        folds: ``verified`` or ``not verifiable``.
        test: Of cases outside the training part.
        test_cases: Rows of those.
        sources: SHA-256 of the files that were read, by their names.
    """
    from heldout.predict.store import write_predictions

    assert config.imported is not None, "the experiment says under which name they are imported"
    folder = imported_folder(config.imported)
    hashes = None
    if len(test_cases):
        stored = write_predictions(folder, "test", test, test_cases, exclusive=dataset.exclusive)
        hashes = Hashes(weights="", oof=stored.sha256, maps=stored.maps)
    record = ImportedRecord(
        name=config.imported,
        by=by,
        spec=config.spec,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        folds="verified" if folds == VERIFIED else "not verifiable",
        sources=sources,
        test=hashes,
        cases=len(test_cases),
    )
    for fold, own in itertools.groupby(out_of_fold, lambda one: int(dataset.folds[one.case_id])):
        _, rows = dataset.fold_cases(fold)
        _store_fold(config, dataset, fold, rows.assign(fold=fold), own, record)
    files.write_json(folder / "imported.json", record.to_json())
    return record


def _store_fold(
    config: Task, dataset: Dataset, fold: int, rows: pd.DataFrame, own: Iterable[Prediction], record: ImportedRecord
) -> None:
    from heldout.metrics.registry import score
    from heldout.predict.details import mask_details
    from heldout.predict.store import write_predictions

    folder = fit_folder(config.spec, SEED, fold)
    begin_fit(config, dataset, folder, MadeFrom())
    masks = config.kind == "segmentation"
    stored = write_predictions(
        folder,
        "oof",
        own,
        rows,
        exclusive=dataset.exclusive,
        truth=dataset.truth if masks else None,
        details=mask_details(config, dataset.source, dataset.row) if masks else None,
    )
    # in the place of weights: what stands behind the predictions of new cases
    files.write_bytes(folder / "weights.safetensors", files.sha256_json(record.to_json()).encode())
    value = float(score(config.metric, stored.table, dataset.classes))
    weights = files.sha256_file(folder / "weights.safetensors")
    write_run(
        folder,
        RunRecord(
            spec=config.spec,
            budget=config.budget,
            seed=SEED,
            fold=fold,
            metric=config.metric,
            score=None if math.isnan(value) else value,
            checkpoint="last",
            epochs=0,
            best_epoch=None,
            parameters=0,
            precision="unknown",
            train_seconds=0.0,
            machine=f"made elsewhere by {record.by}",
            torch="unknown",
            fold_hash=dataset.fold_hash,
            data_hash=dataset.data_hash,
            sha256=Hashes(weights=weights, oof=stored.sha256, maps=stored.maps),
        ),
    )


def check_imported(config: Task) -> ImportedTest:
    """What stands in the place of a run's networks.

    Raises:
        UserError: the record is not the one that the run was made with.
    """
    assert config.imported is not None, "only an imported run has no networks"
    record = read_imported(config.imported)
    digest = files.sha256_json(record.to_json())
    for path in _weights(config):
        if path.read_text(encoding="utf-8") != digest:
            raise UserError(
                f"{imported_folder(record.name) / 'imported.json'} is not the one that {path.parent} was made with: "
                f"restore it, or import {record.name} again"
            )
    return ImportedTest(record, config.kind)


def _weights(config: Task) -> Iterator[Path]:
    for fold in range(config.fold_count):
        path = fit_folder(config.spec, SEED, fold) / "weights.safetensors"
        if path.is_file() and read_run(path.parent):
            yield path
