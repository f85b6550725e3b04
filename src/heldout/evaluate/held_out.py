"""Held-out predictions of a run or a blend, opened and checked once, and what follows from them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from heldout import files
from heldout.blend.decision import Decision, blend_folder, load_decision, read_decision
from heldout.blend.together import cases_of, held_out_results
from heldout.config.metric import metric_code
from heldout.errors import UserError
from heldout.evaluate.thresholds import TunedThresholds, held_out_decision, read_thresholds, tune_thresholds
from heldout.train.runs import read_info, run_folder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from heldout.blend.apply import Blended
    from heldout.blend.members import Member
    from heldout.data.dataset import Dataset
    from heldout.evaluate.cases import ClassifiedCase, SegmentedCase
    from heldout.evaluate.row import Row
    from heldout.metrics.tables import Columns

CROSS_FITTED, AT_HALF, NO_THRESHOLD = "cross-fitted", "at one half", "no threshold"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out predictions of a run (all of its seeds or some, its own flips or others) or of a blend.

    Attributes:
        name: Name of the blend, or of the run as :func:`heldout.blend.members.load_member` takes it.
        kind: ``classification`` or ``segmentation``.
        metric: Name of the score.
        classes: Names of the K classes.
        exclusive: Classes exclude each other.
        dataset_name: Name of the dataset.
        data_hash: Hash of the cases.
        fold_hash: Hash of the fold table.
        source: The blend's decision, or the run as a member.
        seeds: Seeds of which a run is the mean; empty of a blend.
        best_checkpoint: Whether the folds' own scores chose the checkpoints.
        leaderboard_row: Its row of the leaderboard; None where it was not opened for a report.
    """

    name: str
    kind: str
    metric: str
    classes: tuple[str, ...]
    exclusive: bool
    dataset_name: str
    data_hash: str
    fold_hash: str
    source: Decision | Member
    seeds: tuple[int, ...] = ()
    best_checkpoint: bool = False
    leaderboard_row: Row | None = None

    @classmethod
    def of_run(cls, member: Member, row: Row | None = None) -> HeldOut:
        """A run, or some of its seeds, or with other flips."""
        config, dataset = member.config, member.dataset
        return cls(
            name=member.name,
            kind=member.kind,
            metric=member.metric,
            classes=tuple(dataset.classes),
            exclusive=dataset.exclusive,
            dataset_name=config.dataset or config.source,
            data_hash=dataset.data_hash,
            fold_hash=dataset.fold_hash,
            source=member,
            seeds=tuple(sorted({fit.seed for fit in member.fits})),
            best_checkpoint=config.checkpoint == "best",
            leaderboard_row=row,
        )

    @classmethod
    def of_blend(cls, decision: Decision, row: Row | None = None) -> HeldOut:
        """A blend."""
        return cls(
            name=decision.name,
            kind=decision.kind,
            metric=decision.metric,
            classes=tuple(decision.classes),
            exclusive=decision.exclusive,
            dataset_name=decision.dataset,
            data_hash=decision.data_hash,
            fold_hash=decision.fold_hash,
            source=decision,
            best_checkpoint=any(map(_chose_by_own_score, {member.spec for member in decision.members})),
            leaderboard_row=row,
        )

    @property
    def is_blend(self) -> bool:
        """Whether it is a blend."""
        return isinstance(self.source, Decision)

    @cached_property
    def decision(self) -> Decision:
        """The blend's decision, or the plain mean of the run, cut at one half."""
        return self.source if isinstance(self.source, Decision) else load_decision(self.name)

    @cached_property
    def members(self) -> list[Member]:
        """The opened members, in the order of the search: those that freezing dropped too."""
        if not isinstance(self.source, Decision):
            return [self.source]
        from heldout.blend.members import load_member
        from heldout.blend.session import Session

        session = Session()
        return [load_member(member.name, session) for member in self.source.searched]

    @cached_property
    def _members_of_folds(self) -> dict[int, list[Member]]:
        """By fold the members of a pruned blend that the fold is scored with: those that the other folds chose."""
        from heldout.blend.members import load_member
        from heldout.blend.session import Session

        pruned, session = self.decision.search.pruned, Session()
        by_fold = pruned.by_fold if pruned else {}
        return {int(fold): [load_member(one.name, session) for one in some] for fold, some in by_fold.items()}

    @property
    def shipped(self) -> list[Member]:
        """The members that predict new cases."""
        names = {member.name for member in self.decision.members}
        return [member for member in self.members if member.name in names]

    @property
    def dataset(self) -> Dataset:
        """The checked dataset."""
        return self.members[0].dataset

    @property
    def row(self) -> Row:
        """Its row of the leaderboard.

        Raises:
            ValueError: it was opened without its row.
        """
        if self.leaderboard_row is None:
            raise ValueError(f"{self.name} was opened without its row: use open_row")
        return self.leaderboard_row

    @property
    def segments(self) -> bool:
        """Whether it draws masks."""
        return self.kind == "segmentation"

    @cached_property
    def key(self) -> str:
        """SHA-256 of what its scores depend on."""
        one = self.source
        if isinstance(one, Decision):
            return files.sha256_json([one.digest, one.tables])
        fits = [[fit.seed, fit.fold, fit.hashes.oof, fit.hashes.maps] for fit in one.fits]
        metric = [one.config.metric, *metric_code(one.config.metric)]
        return files.sha256_json([2, one.name, *metric, one.dataset.fold_hash, one.dataset.data_hash, fits])

    @property
    def depends_on_threshold(self) -> bool:
        """Whether its score depends on thresholds; of exclusive classes only ordered ones have any."""
        from heldout.metrics import get_metric

        metric = get_metric(self.metric)
        return metric.thresholded and (metric.ordered or not (self.exclusive and len(self.classes) > 1))

    @property
    def tunable(self) -> bool:
        """Whether thresholds can be tuned for its score."""
        from heldout.metrics import get_metric

        return self.depends_on_threshold and get_metric(self.metric).tunable

    @property
    def threshold(self) -> str:
        """How masks and labels of :attr:`ranking_table` are made: cross-fitted, at one half, or not at all."""
        if not self.depends_on_threshold:
            return NO_THRESHOLD
        return CROSS_FITTED if self.is_blend or self.thresholds is not None else AT_HALF

    @cached_property
    def stored_thresholds(self) -> TunedThresholds | None:
        """Thresholds that were tuned with these very predictions before; None where they were not."""
        return read_thresholds(self.name, self.key)

    @cached_property
    def thresholds(self) -> TunedThresholds | None:
        """Thresholds of a run, tuned on the other folds; None where there is nothing to tune, and of a blend.

        Raises:
            UserError: the score is undefined on some folds, or a map is missing or was changed.
        """
        if self.is_blend or not self.tunable or len(self.members[0].folds) < 2:
            return None
        return self.stored_thresholds or tune_thresholds(self.members[0], self.key)

    @cached_property
    def at_half_table(self) -> pd.DataFrame:
        """Of a run, a row per case, its masks and labels cut at one half."""
        return self.members[0].table.reset_index(drop=True)

    @cached_property
    def cross_fitted_table(self) -> pd.DataFrame | None:
        """A row per case, each predicted with settings tuned on the other folds; None where nothing was tuned.

        Raises:
            UserError: the file of a blend is missing or is not the one that blending wrote.
        """
        import pandas as pd

        from heldout.predict.store import read_table

        if not isinstance(self.source, Decision):
            return None if self.thresholds is None else pd.read_parquet(self.thresholds.table)
        if "oof" not in self.source.tables:
            return None
        path = self.source.folder / "oof.parquet"
        if path.is_file() and files.sha256_file(path) != self.source.tables["oof"]:
            raise UserError(f"{path} was changed after blending: restore it, or blend again under a new name")
        return read_table(self.source.folder, "oof").reset_index(drop=True)

    @property
    def ranking_table(self) -> pd.DataFrame:
        """A row per case as it counts for the ranking: cross-fitted where thresholds matter.

        Raises:
            UserError: a blend has one fold only.
        """
        if self.cross_fitted_table is not None:
            return self.cross_fitted_table
        if self.is_blend:
            raise UserError(f"{self.name} has one fold only, and so no cross-fitted score: finish its members' folds")
        return self.at_half_table

    @property
    def table(self) -> pd.DataFrame:
        """A row per case as its decision predicts it: of a run at one half, of a blend cross-fitted.

        Raises:
            UserError: a blend has one fold only.
        """
        return self.ranking_table if self.is_blend else self.at_half_table

    @cached_property
    def columns(self) -> Columns:
        """:attr:`table` as arrays."""
        from heldout.metrics.tables import columns_of

        return columns_of(self.table, self.classes, regression=self.kind == "regression")

    @property
    def truth(self) -> np.ndarray:
        """(n, K) bool: which cases hold a class, by their masks where there are any."""
        return self.columns.positive

    @property
    def known(self) -> np.ndarray:
        """(n, K) bool: of which cases a class is known."""
        import numpy as np

        return np.ones(self.columns.truth.shape, bool) if self.columns.known is None else self.columns.known

    @property
    def predicted_labels(self) -> np.ndarray:
        """(n, K) bool: predicted labels; of a segmentation, whether its mask has any voxel of the class."""
        counts = self.columns.counts
        return self.columns.predicted if counts is None else counts[..., 0] + counts[..., 1] > 0

    @cached_property
    def case_scores(self) -> pd.DataFrame:
        """What every case of :attr:`table` scores, see :func:`heldout.evaluate.cases.score_cases`."""
        from heldout.evaluate.cases import score_cases

        return score_cases(self.table, self.columns)

    @cached_property
    def class_scores(self) -> pd.DataFrame:
        """What every case scores in each class, see :func:`heldout.evaluate.cases.score_classes`."""
        from heldout.evaluate.cases import score_classes

        return score_classes(self.table, self.columns)

    @cached_property
    def remarks(self) -> dict[str, str]:
        """What the checks of the dataset found about single cases."""
        from heldout.data.records import read_leaks

        leaks = read_leaks(self.dataset.folder)
        found = dict.fromkeys(self.table["case_id"], "")
        for group in leaks.exact:
            for case in group:
                if case in found:
                    found[case] = f"exact duplicate of {', '.join(other for other in group if other != case)}"
        for sentence in leaks.found:
            case = sentence.partition(" ")[0].rstrip(":").partition(".")[0]
            if case in found:
                found[case] = "; ".join(filter(None, [found[case], sentence]))
        return {case: text for case, text in found.items() if text}

    def check_predicted(self, case_id: str) -> None:
        """Refuse a case that no finished fold held out.

        Raises:
            UserError: naming the case.
        """
        if case_id not in self._cases:
            raise UserError(
                f"{self.name} has no out-of-fold prediction of case {case_id!r}: choose a case of the train part"
            )

    @cached_property
    def _cases(self) -> dict[str, list[str]]:  # of every row: of a blend of studies or patients those of the group
        return cases_of(self._rows)

    @property
    def _rows(self) -> pd.DataFrame:
        gathered = self.decision.pooling or self.decision.postprocess.by
        return self.ranking_table if self.is_blend and gathered else self.members[0].table

    def prediction(self, case_id: str) -> Blended:
        """Map, mask and scores of a case, or a group of cases, predicted while it was held out.

        Raises:
            UserError: the case is in no finished fold, or one of its files changed.
        """
        self.check_predicted(case_id)
        fold = int(self.dataset.folds[self._cases[case_id][0]])
        decision, members = held_out_decision(self.decision, fold), self._members_of_folds.get(fold, self.members)
        return next(held_out_results(decision, members, self._rows, [case_id]))

    def segmented_case(self, case_id: str) -> tuple[SegmentedCase, np.ndarray | None]:
        """A case with its true and its predicted mask, and its affine (None for images).

        Raises:
            UserError: the case is not of the train part, or one of its files changed.
        """
        from heldout.evaluate.cases import SegmentedCase, per_class
        from heldout.metrics.ignored import IGNORED

        truth = self.dataset.truth(case_id)  # refuses a case whose truth is sealed
        mask, count = self.prediction(case_id).mask, len(self.classes)
        if mask is None:
            raise ValueError(f"{self.name} does not segment")
        image = self.dataset.read_image(case_id)
        ignored = truth == IGNORED
        masks = per_class(truth, count), per_class(mask, count), ignored if ignored.any() else None
        return SegmentedCase(case_id, image.array, *masks), image.affine

    def classified_case(self, case_id: str) -> ClassifiedCase:
        """A case, or the first of a group, with the names of its classes and its predicted probabilities."""
        from heldout.evaluate.cases import ClassifiedCase

        row, shown = self.table.set_index("case_id").loc[case_id], self._cases.get(case_id, [case_id])[0]
        scores = dict(zip(self.classes, map(float, self.prediction(case_id).scores), strict=True))
        if self.kind == "regression":
            true = tuple(f"{label} {row[f'y_{label}']:.4g}" for label in self.classes)
            return ClassifiedCase(case_id, self.dataset.read_image(shown).array, true, scores, numbers=True)
        truth = tuple(label for label in self.classes if row[f"y_{label}"] == 1)
        return ClassifiedCase(case_id, self.dataset.read_image(shown).array, truth, scores)

    def of_seed(self, seed: int) -> HeldOut:
        """One seed of a run alone."""
        one = self.members[0]
        fits = tuple(fit for fit in one.fits if fit.seed == seed)
        return HeldOut.of_run(replace(one, name=f"{one.spec}/seed{seed}", planned=(seed,), fits=fits))


def open_held_out(name: str, row: Row | None = None) -> HeldOut:
    """Open a blend, or a run, with all its held-out predictions.

    Args:
        name: Name of a blend, or of a run as :func:`heldout.blend.members.load_member` takes it.
        row: Its row of the leaderboard, for a report.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    if (blend_folder(name) / "decision.json").exists():
        return HeldOut.of_blend(read_decision(name), row)
    if not re.match(r"exp\d{3}", name):
        load_decision(name)  # says which blends there are
    from heldout.blend.members import load_member

    return HeldOut.of_run(load_member(name), row)


def _chose_by_own_score(spec: str) -> bool:
    """Whether each fold's own score chose the checkpoints of a run."""
    info = read_info(run_folder(spec))
    return info is not None and info.config.settings.checkpoint == "best"
