"""Members of a blend: finished runs whose out-of-fold predictions are complete, unchanged and comparable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout.blend.flips import check_flips, predict_flips, predictions_folder, read_hashes, read_precision
from heldout.blend.session import Session
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.metrics import get_metric
from heldout.metrics.tables import check_cases, columns_of
from heldout.predict.details import MASK_COLUMNS, mask_details
from heldout.predict.precision import FLOAT32, least_exact
from heldout.predict.prediction import Prediction, mean_predictions
from heldout.predict.store import build_table, read_map, read_table
from heldout.tasks.base import load_task
from heldout.train.first_stage import FirstStage
from heldout.train.imported import imported_run, read_imported
from heldout.train.record import Hashes, RunRecord
from heldout.train.runs import finished, run_folders

if TYPE_CHECKING:
    from heldout.tasks import Task


@dataclass(frozen=True, eq=False)
class OpenFit:
    """A finished fold of one seed.

    Attributes:
        seed: Its seed.
        fold: The fold it held out.
        folder: Where it lies.
        record: Its ``run.json``.
        table: Its out-of-fold table, indexed by case.
        predictions: Where that table and its maps lie: ``folder``, or a folder in it for other flips or overlap.
        hashes: SHA-256 of its weights and of those predictions.
        precision: Number format of the predictions.
    """

    seed: int
    fold: int
    folder: Path
    record: RunRecord
    table: pd.DataFrame
    predictions: Path
    hashes: Hashes
    precision: str = FLOAT32


@dataclass(frozen=True, eq=False)
class Member:
    """An experiment's finished folds, and all of its seeds or some.

    Attributes:
        name: As :func:`load_member` takes it: the experiment, and the seeds and flips where they were chosen.
        spec: The experiment.
        config: The experiment.
        tta: Axes flipped in its predictions.
        planned: Seeds that every finished fold should have.
        dataset: The checked dataset.
        fits: Finished fits, by seed, then fold.
        cases: Rows of the dataset's cases in the finished folds, with the column ``fold``.
        session: What the command has opened.
        head: It is the second head of its networks alone, as a classification.
    """

    name: str
    spec: str
    config: Task
    tta: str
    planned: tuple[int, ...]
    dataset: Dataset
    fits: tuple[OpenFit, ...]
    cases: pd.DataFrame
    session: Session
    head: bool = False

    @property
    def folds(self) -> tuple[int, ...]:
        """The finished folds."""
        return tuple(sorted({fit.fold for fit in self.fits}))

    @property
    def kind(self) -> str:
        """``classification`` or ``segmentation``."""
        return "classification" if self.head else self.config.kind

    @property
    def metric(self) -> str:
        """The experiment's own score; the AUC where that is of masks and the member has none."""
        return "roc_auc" if self.head and get_metric(self.config.metric).kind == "segmentation" else self.config.metric

    @property
    def precision(self) -> str:
        """Number format of its predictions: as the experiment says, else as its out-of-fold predictions were made."""
        wanted = self.config.predict_precision
        return least_exact(fit.precision for fit in self.fits) if wanted == "auto" else wanted

    @property
    def two_heads(self) -> bool:
        """Whether it gives masks and, by a second head, scores of whole cases."""
        return self.config.two_heads and not self.head

    @cached_property
    def first_stage(self) -> FirstStage | None:
        """Its first stage, checked; None where it has none.

        Raises:
            UserError: the first stage is not complete or not what this was trained on.
        """
        return self.session.first_stage(self.config)

    @property
    def notes(self) -> list[str]:
        """What a reader of its score should know: the seeds that finished folds lack, or that it was imported."""
        have = {(fit.seed, fit.fold) for fit in self.fits}
        if self.config.imported is not None:
            return [read_imported(self.config.imported).note]
        missing = [(seed, fold) for fold in self.folds for seed in self.planned if (seed, fold) not in have]
        return [f"{self.name}: seed {seed} is missing in fold {fold}" for seed, fold in missing]

    def map_files(self, fold: int, case_id: str) -> list[tuple[Path, str]]:
        """Folder and SHA-256 of a case's map in every seed of its fold."""
        return [(fit.predictions, fit.hashes.maps[case_id]) for fit in self.fits if fit.fold == fold]

    def prediction(self, case_id: str) -> Prediction:
        """The case's out-of-fold prediction, seeds averaged.

        Raises:
            UserError: the case is in no finished fold, or a map is missing or was changed.
        """
        if case_id not in self._fold_of:
            raise UserError(f"case {case_id} has no out-of-fold prediction in {self.spec}: finish its folds")
        return mean_predictions([stored_prediction(self, fit, case_id) for fit in self._fits_of(case_id)])

    def scores(self, case_id: str) -> np.ndarray:
        """Scores (K,) of :meth:`prediction`, without reading its map."""
        columns = [f"p_{name}" for name in self.dataset.classes]
        stored = [fit.table.loc[case_id, columns].to_numpy(np.float32) for fit in self._fits_of(case_id)]
        return mean_predictions([Prediction(case_id, scores) for scores in stored]).scores

    @cached_property
    def table(self) -> pd.DataFrame:
        """Out-of-fold table of all cases, seeds averaged, masks cut at one half."""
        if self.kind == "segmentation" and len(self.fits) == len(self.folds):
            stored = pd.concat([fit.table for fit in self.fits]).loc[self.cases["case_id"]].reset_index()
            kept = [*self.frame.columns, *(c for c in stored if c.startswith(("p_", *MASK_COLUMNS)))]
            return self.frame.merge(stored.drop(columns=self.frame.columns[1:]), on="case_id", validate="1:1")[kept]
        predictions = (self.prediction(case_id) for case_id in self.cases["case_id"])
        truth = self.dataset.truth if self.kind == "segmentation" else None
        details = mask_details(self.config, self.dataset.source, self.dataset.row)
        return build_table(self.cases, predictions, truth, exclusive=self.dataset.exclusive, details=details)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """case_id, patient_id, fold and ``y_<class>`` of the cases."""
        labels = [f"y_{name}" for name in self.dataset.classes]
        return self.cases[["case_id", "patient_id", "fold", *labels]]

    @cached_property
    def _fold_of(self) -> dict[str, int]:
        return dict(zip(self.cases["case_id"], self.cases["fold"], strict=True))

    def _fits_of(self, case_id: str) -> list[OpenFit]:
        return [fit for fit in self.fits if fit.fold == self._fold_of[case_id]]


def parse_member(text: str) -> tuple[str, tuple[int, ...], str | None, bool]:
    """Spec, seeds (none named: all), flips (None: the experiment's own) and whether only the second head is meant.

    Raises:
        UserError: a part is none of ``seed<number>``, ``tta=<axes>`` and ``head``, or is named twice.
    """
    spec, *parts = text.split("/")
    seeds, tta, head = [], None, False
    for part in parts:
        if (match := re.fullmatch(r"seed(\d+)", part)) and int(match[1]) not in seeds:
            seeds.append(int(match[1]))
        elif part.startswith("tta=") and tta is None:
            tta = part.removeprefix("tta=")
        elif part == "head" and not head:
            head = True
        else:
            raise UserError(
                f"{text!r} is not a member: write exp040, exp040/seed1, exp040/tta=hv, exp040/seed1/tta= or exp045/head"
            )
    return spec, tuple(sorted(seeds)), tta, head


def load_member(text: str, session: Session | None = None) -> Member:
    """Open the finished folds of an experiment.

    Args:
        text: ``exp040``; ``exp040/seed1`` for that seed of it; ``exp040/tta=hv`` (``exp040/tta=`` for none) for
            predictions with other flips than the experiment's own, which are made where they are missing. Seeds and
            flips may be chosen together. ``exp045/head`` is the second head of its networks alone: a classification.
        session: What the command has opened already.

    Raises:
        UserError: there is no second head, nothing is finished, a file changed after training, the folds or the data
            are others than those trained on, or a case is missing, repeated or not finite.
    """
    spec, seeds, flips, head = parse_member(text)
    spec = imported_run(spec) or spec if not spec.startswith("exp") else spec
    config = load_task(spec)
    if head and not config.two_heads:
        raise UserError(f"{text}: the networks of {spec} have one head only: name {spec} itself")
    tta = check_flips(config, config.tta if flips is None else flips)
    if config.imported is not None and set(tta) != set(config.tta):
        raise UserError(f"{text}: {config.spec} was imported and has no networks, so no other flips: leave out tta=")
    session = session or Session()
    dataset = session.dataset(config)
    found = finished(config, session.run)
    if not found:
        others = [f"name {run.name}, or " for run in run_folders() if run.name.startswith((f"{spec}@", f"{spec}+"))]
        raise UserError(f"{spec} has no finished fold: {''.join(others[:1])}train it first with `python run.py {spec}`")
    trained = sorted({seed for seed, _, _ in found})
    if unknown := [seed for seed in seeds if seed not in trained]:
        raise UserError(f"{spec} has no finished seed {unknown[0]}: it has {', '.join(map(str, trained))}")
    fits = tuple(_open_fit(config, session, *fit, tta) for fit in found if not seeds or fit[0] in seeds)
    cases = dataset.part("train")
    cases = cases.assign(fold=cases["case_id"].map(dataset.folds).astype(int))
    cases = cases[cases["fold"].isin({fit.fold for fit in fits})].reset_index(drop=True)
    chosen = [f"tta={tta}"] if set(tta) != set(config.tta) else []
    name = "/".join([config.spec, *(f"seed{seed}" for seed in seeds), *chosen, *(["head"] if head else [])])
    return Member(name, config.spec, config, tta, seeds or config.seeds, dataset, fits, cases, session, head)


def check_together(members: Sequence[Member]) -> None:
    """Refuse members whose predictions do not belong together.

    Segmentations are blended voxel by voxel. Classifications beside them take no part in that: they say whether a
    class is present, and are mixed with what the blended map says of it.

    Raises:
        UserError: a member is named twice, or two differ in classes, data, fold table or finished folds.
    """
    first = members[0]
    chosen = [(m.spec, tuple(sorted({fit.seed for fit in m.fits})), m.tta) for m in members]
    if repeated := [m.name for m, one in zip(members, chosen, strict=True) if chosen.count(one) > 1]:
        raise UserError(f"{min(repeated)} is named twice: name every member of a blend once")
    for other in members[1:]:
        pair = f"{first.name} and {other.name}"
        names = [one.config.dataset or one.config.source for one in (first, other)]
        if names[0] != names[1]:
            raise UserError(
                f"{pair} cannot be blended: one is of {names[0]}, the other of {names[1]}; blend members of one dataset"
            )
        if (first.dataset.classes, first.dataset.exclusive) != (other.dataset.classes, other.dataset.exclusive):
            raise UserError(f"{pair} cannot be blended: their classes differ; blend members of one label set")
        if first.dataset.fold_hash != other.dataset.fold_hash:
            raise UserError(
                f"{pair} cannot be blended: their fold tables differ, so cases one held out the other trained on; "
                "give both the same fold_count and fold_seed"
            )
        if first.dataset.data_hash != other.dataset.data_hash:
            raise UserError(
                f"{pair} cannot be blended: they were trained on different cases; train both on one dataset"
            )
        if first.folds != other.folds:
            raise UserError(
                f"{pair} cannot be blended: they finished the folds {list(first.folds)} and {list(other.folds)}; "
                "train the missing ones"
            )


def split_members(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Members whose predictions are blended, and classifications beside segmentations, for presence alone.

    Raises:
        UserError: regressions and others are mixed.
    """
    kinds = {member.kind for member in members}
    if "regression" in kinds and len(kinds) > 1:
        other = next(member.name for member in members if member.kind != "regression")
        raise UserError(f"{other} does not predict numbers as the other members do: leave it out")
    maps = [member for member in members if member.kind == "segmentation"]
    return (maps, [member for member in members if member not in maps]) if maps else (list(members), [])


def stored_prediction(member: Member, fit: OpenFit, case_id: str) -> Prediction:
    """What one fit stored for a case that it held out.

    Raises:
        UserError: its map is missing, or is not the one that was written.
    """
    columns = [f"p_{name}" for name in member.dataset.classes]
    scores = fit.table.loc[case_id, columns].to_numpy(np.float32)
    if member.kind != "segmentation":
        return Prediction(case_id, scores)
    return Prediction(case_id, scores, read_map(fit.predictions, "oof", case_id, fit.hashes.maps[case_id]))


def _open_fit(config: Task, session: Session, seed: int, fold: int, folder: Path, tta: str) -> OpenFit:
    dataset = session.dataset(config)
    record = session.run(folder)
    for name, what in (("fold_hash", "fold table"), ("data_hash", "cases")):
        if getattr(record, name) != getattr(dataset, name):
            raise UserError(
                f"{folder} was trained with another {what} than {dataset.folder} holds now: restore it, or delete the "
                f"run and train {config.spec} again"
            )
    predict_flips(config, dataset, folder, fold, tta)
    predictions, hashes = predictions_folder(config, folder, tta), read_hashes(config, folder, tta, session.run)
    path = predictions / "oof.parquet"
    if path.is_file() and session.sha256(path) != hashes.oof:
        remedy = "train again" if predictions == folder else "run the command again"
        raise UserError(f"{path} was changed after training: restore it, or delete {predictions} and {remedy}")
    table = read_table(predictions, "oof")
    _, held_out = dataset.fold_cases(fold)
    try:
        check_cases(table, held_out["case_id"])
        columns_of(table, dataset.classes, regression=config.kind == "regression")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if config.kind == "segmentation" and (lost := sorted(set(table["case_id"]) - set(hashes.maps))):
        raise UserError(f"{folder / 'run.json'} lists no map of case {lost[0]}: delete {folder} and train again")
    precision = read_precision(config, folder, tta, session.run)
    return OpenFit(seed, fold, folder, record, table.set_index("case_id"), predictions, hashes, precision)
