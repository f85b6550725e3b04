"""What a report is about: a run or a blend with its held-out predictions, opened and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from heldout import files
from heldout.blend.decision import load_decision
from heldout.blend.members import load_member
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.evaluate.held_out import held_out_decision
from heldout.evaluate.scores import cross_fitted_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from heldout.blend.apply import Blended
    from heldout.blend.decision import Decision
    from heldout.blend.members import Member
    from heldout.data.dataset import Dataset
    from heldout.evaluate.row import Row


@dataclass(frozen=True, eq=False)
class Subject:
    """A run or a blend.

    Attributes:
        row: Its row of the leaderboard.
        decision: What it is: a blend's decision, or a run's plain mean.
        members: Its opened members, in the order of the decision.
        table: A row per case, each predicted while held out; of a blend with settings tuned on the other folds.
    """

    row: Row
    decision: Decision
    members: list[Member]
    table: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the run or blend."""
        return self.row.name

    @property
    def dataset(self) -> Dataset:
        """The checked dataset."""
        return self.members[0].dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.decision.classes)

    @property
    def segments(self) -> bool:
        """Whether it draws masks."""
        return self.decision.kind == "segmentation"

    @cached_property
    def truth_known(self) -> np.ndarray:
        """(n, K) bool: which cases hold a class, by their masks where there are any."""
        from heldout.metrics.tables import columns_of

        return columns_of(self.table, self.classes).positive

    @cached_property
    def called(self) -> np.ndarray:
        """(n, K) bool: what is called; of a segmentation, whether its mask has any voxel of the class."""
        from heldout.metrics.tables import columns_of

        columns = columns_of(self.table, self.classes)
        return columns.predicted if columns.counts is None else columns.counts[..., 0] + columns.counts[..., 1] > 0

    @cached_property
    def remarks(self) -> dict[str, str]:
        """What the checks of the dataset had to say about single cases."""
        leaks = files.read_json(self.dataset.folder / "leaks.json")
        said = dict.fromkeys(self.table["case_id"], "")
        for group in leaks["exact"]:
            for case in group:
                if case in said:
                    said[case] = f"exact duplicate of {', '.join(other for other in group if other != case)}"
        for sentence in leaks["found"]:
            case = sentence.partition(" ")[0].rstrip(":").partition(".")[0]
            if case in said:
                said[case] = "; ".join(filter(None, [said[case], sentence]))
        return {case: text for case, text in said.items() if text}

    def blended(self, case_id: str) -> Blended:
        """What was said about a case while it was held out."""
        from heldout.blend.apply import blend_case

        fold = int(self.members[0].dataset.folds[case_id])
        decision = held_out_decision(self.decision, fold)
        return blend_case(decision, [member.prediction(case_id) for member in self.members])


def open_subject(name: str) -> Subject:
    """Open a run or a blend with all its held-out predictions.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    row = find_row(name)
    decision = load_decision(name)
    members = [load_member(member["name"]) for member in decision.members]
    table = cross_fitted_table(decision) if decision.is_blend else members[0].table
    if table is None:
        raise UserError(f"{name} stands on one fold and has no cross-fitted predictions: finish its members' folds")
    return Subject(row, decision, members, table.reset_index(drop=True))
