"""Training cases with pseudo-labels: what a student of one fold may learn from, checked before it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.checks import presence
from heldout.data.dataset import Dataset
from heldout.data.geometry import Geometry
from heldout.data.image import Image
from heldout.data.prepare import Prepared, open_prepared
from heldout.data.sources import Source
from heldout.errors import UserError
from heldout.predict.store import read_map, read_table, to_mask
from heldout.records import read_record
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.pseudo import LABELS, SCHEMA, PseudoRecord, pseudo_folder


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The sure labels for one fold.

    Attributes:
        name: Name of the set.
        folder: Where the fold's labels lie.
        rows: Rows as of training cases: case_id, patient_id, image, content_hash, ``y_<class>``, split and mask.
        maps: SHA-256 of the map of every case, by case; empty for classification.
        sha256: Hash of all that the labels were made from and are.
    """

    name: str
    folder: Path
    rows: pd.DataFrame
    maps: dict[str, str]
    sha256: str

    def join(self, prepared: Prepared, dataset: Dataset, config: Task, *, progress: bool) -> Prepared:
        """Prepared arrays of the dataset and, beside them, of these cases."""
        source = _Labeled(dataset.source, self.folder, self.maps, dataset.exclusive)
        extra = open_prepared(
            replace(dataset, folder=self.folder, source=source, cases=self.rows), config, progress=progress
        )
        return ConcatPrepared(prepared.folder, prepared.entries, extra)


@dataclass(frozen=True, eq=False)
class ConcatPrepared(Prepared):
    """Prepared arrays of two folders."""

    extra: Prepared

    def image(self, case_id: str) -> np.ndarray:
        """As :meth:`Prepared.image`."""
        return self.extra.image(case_id) if case_id in self.extra.entries else super().image(case_id)

    def mask(self, case_id: str) -> np.ndarray:
        """As :meth:`Prepared.mask`."""
        return self.extra.mask(case_id) if case_id in self.extra.entries else super().mask(case_id)

    def foreground(self, case_id: str) -> np.ndarray:
        """As :meth:`Prepared.foreground`."""
        return self.extra.foreground(case_id) if case_id in self.extra.entries else super().foreground(case_id)

    def geometry(self, case_id: str) -> Geometry:
        """As :meth:`Prepared.geometry`."""
        return self.extra.geometry(case_id) if case_id in self.extra.entries else super().geometry(case_id)


class _Labeled(Source):
    """A source whose masks are what a teacher said."""

    classes: tuple[str, ...] = ()
    exclusive: bool = True
    kind: Literal["classification", "segmentation"] = "segmentation"

    def __init__(self, source: Source, folder: Path, maps: dict[str, str], exclusive: bool) -> None:
        super().__init__(source.root)
        self.source, self.folder, self.maps = source, folder, maps
        self.classes, self.exclusive, self.dimensions = source.classes, exclusive, source.dimensions
        self.kind = "segmentation" if maps else "classification"

    def read_image(self, row: Any, *, salvage: bool = False) -> Image:  # noqa: ARG002 - as the teacher read it
        return self.source.read_image(row, salvage=True)

    def read_mask(self, row: Any) -> np.ndarray:
        case_id = row["case_id"]
        return to_mask(read_map(self.folder, LABELS, case_id, self.maps[case_id]), None, self.exclusive)

    def _rows(self, found: list[str]) -> Iterable[dict[str, Any]]:
        raise NotImplementedError("pseudo-labels have a table of cases of their own")


def find_pseudo_labels(config: Task, dataset: Dataset, fold: int) -> PseudoLabels | None:
    """The pseudo-labels for a fold, or None where the experiment has none.

    Raises:
        UserError: the set does not exist or lacks the fold, has other folds, cases or weights than there are
            today, or its files were changed.
    """
    if config.pseudo_labels is None:
        return None
    folder = pseudo_folder(config.pseudo_labels)
    again = f"delete {folder} and run `python run.py pseudo` again"
    if not (folder / "pseudo.json").exists():
        raise UserError(
            f"pseudo_labels = {config.pseudo_labels!r} do not exist: run `python run.py pseudo EXPERIMENT --name "
            f"{config.pseudo_labels}` first"
        )
    record = read_record(folder / "pseudo.json", PseudoRecord, SCHEMA, again)
    for name, what in (("fold_hash", "folds"), ("data_hash", "cases")):
        if getattr(record, name) != getattr(dataset, name):
            raise UserError(f"{folder} was made on other {what} ({name} differs) and may have seen this fold: {again}")
    if record.checkpoint == "best" and config.checkpoint != "best":
        raise UserError(
            f"the weights behind {folder} were chosen by each fold's own score (checkpoint = 'best'), so what learns "
            f"from them is optimistic: mark {config.spec} with checkpoint = 'best' too, or use another teacher"
        )
    entry, place = record.folds.get(str(fold)), folder / f"fold{fold}"
    if entry is None:
        raise UserError(f"{folder} has no labels for fold {fold}: train {record.spec} --fold {fold}, then {again}")
    for fit in entry.fits:
        weights = runs.fit_folder(record.spec, fit.seed, fold) / "weights.safetensors"
        if not weights.is_file() or files.sha256_file(weights) != fit.sha256:
            raise UserError(f"{place} was made with other weights than {weights} holds now: restore them, or {again}")
    for name, digest in ((LABELS, entry.sha256.labels), ("cases", entry.sha256.cases)):
        path = place / f"{name}.parquet"
        if not path.is_file() or files.sha256_file(path) != digest:
            raise UserError(f"{path} is missing or was changed: {again}")
    maps = entry.sha256.maps
    digest = files.sha256_json({"confidence": record.confidence, **entry.to_json()})
    rows = _confident(config, dataset, place, maps, record.confidence)
    return PseudoLabels(config.pseudo_labels, place, rows, maps, digest)


def _confident(config: Task, dataset: Dataset, folder: Path, maps: dict[str, str], confidence: float) -> pd.DataFrame:
    columns = [f"p_{name}" for name in dataset.classes]
    scores = read_table(folder, LABELS).set_index("case_id")[columns]
    kept = []
    for row in read_table(folder, "cases").to_dict("records"):
        case_id, mask = row["case_id"], None
        if config.kind == "segmentation":
            if case_id not in maps:
                raise UserError(f"{folder} holds no masks: a segmentation needs the labels of a segmentation")
            mask = to_mask(read_map(folder, LABELS, case_id, maps[case_id]), None, dataset.exclusive)
        labels = decide(scores.loc[case_id].to_numpy(), mask, confidence, dataset.exclusive)
        if labels is not None:
            digest = files.sha256_json([row["content_hash"], maps.get(case_id), labels])
            values = {f"y_{name}": value for name, value in zip(dataset.classes, labels, strict=True)}
            kept.append({**row, "content_hash": digest, "split": "train", "mask": "", **values})
    if not kept:
        raise UserError(f"no case of {folder} is labeled with confidence {confidence}: lower --confidence")
    return pd.DataFrame(kept)


def decide(scores: np.ndarray, mask: np.ndarray | None, confidence: float, exclusive: bool) -> list[float] | None:
    """The 0/1 labels of a case, or None where the teacher is not sure enough.

    Sure is, of exclusive classes of a classification, one of probability ``confidence``; otherwise every class whose
    probability is ``confidence`` or more where it is present, 1 - ``confidence`` or less where it is absent. What is
    present in a segmentation its mask decides.

    Args:
        scores: Probabilities (K,).
        mask: (M, *spatial) uint8 of a segmentation.
        confidence: In 0.5 ... 1.
        exclusive: The classes exclude each other.
    """
    if mask is None and exclusive and len(scores) > 1:
        best = int(scores.argmax())
        return None if scores[best] < confidence else [float(number == best) for number in range(len(scores))]
    labels = [float(score >= 0.5) for score in scores] if mask is None else presence(mask, len(scores))
    sure = [
        score >= confidence if label else score <= 1 - confidence for label, score in zip(labels, scores, strict=True)
    ]
    return labels if all(sure) else None
