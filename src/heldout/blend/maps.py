"""The out-of-fold maps of members, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heldout.blend.members import Member
from heldout.blend.values import map_of
from heldout.predict.prediction import Prediction, mean_predictions
from heldout.predict.store import read_map

Work = tuple[dict[str, Any], list[list[tuple[Path, str]]]]  # a case's row; for each member its maps with their hashes


def map_work(members: Sequence[Member]) -> list[Work]:
    """Every case of the members with the files of its maps."""
    return [
        (row, [member.map_files(row["fold"], row["case_id"]) for member in members])
        for row in members[0].cases.to_dict("records")
    ]


def mean_map(case_id: str, paths: list[tuple[Path, str]]) -> np.ndarray:
    """Map (K, *S) uint8 of one member, its seeds averaged.

    Raises:
        UserError: a map is missing or was changed.
    """
    no_scores = np.empty(0, np.float32)
    seeds = [Prediction(case_id, no_scores, read_map(folder, "oof", case_id, digest)) for folder, digest in paths]
    return map_of(mean_predictions(seeds))
