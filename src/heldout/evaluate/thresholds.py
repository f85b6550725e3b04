"""Thresholds of a run, each fold's tuned on the other folds, as those of a blend are.

A network trained briefly predicts little above one half, so that a score at that threshold measures its budget, not its
idea. Tuning takes the maps of all cases; it is done once and kept in ``working/ablations/``, with the hashes of what it
was made from.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from heldout import files
from heldout.blend.decision import Decision
from heldout.blend.records import OF_MAP, WHOLE, Presence
from heldout.errors import UserError
from heldout.records import Number, Record, read_record

if TYPE_CHECKING:
    from heldout.blend.members import Member


class TunedThresholds(Record):
    """Thresholds of a run, each fold's tuned on the other folds.

    Attributes:
        member: The run.
        metric: Name of the score.
        key: SHA-256 of what its score depends on.
        thresholds: Threshold 0 ... 255 of every class, by fold.
        score: Score of all cases, each under the thresholds of its fold.
        table_sha256: Of the predictions made with them.
    """

    schema_version: int = Field(default=1, alias="schema")
    member: str
    metric: str
    key: str
    thresholds: dict[str, list[int]]
    score: Number
    table_sha256: str

    @property
    def table(self) -> Path:
        """File of the predictions made with them."""
        return thresholds_path(self.member).with_suffix(".parquet")


def thresholds_path(name: str) -> Path:
    """Record of the tuned thresholds of a run; the table of predictions lies beside it."""
    return files.home() / "working" / "ablations" / f"{name.replace('/', '__')}.json"


def read_thresholds(name: str, key: str) -> TunedThresholds | None:
    """Thresholds that were tuned before; None where they were not, or with other predictions than those of ``key``."""
    path = thresholds_path(name)
    with suppress(UserError):  # a missing or damaged record counts as none
        stored = read_record(path, TunedThresholds, 1, "run ablate again")
        table = path.with_suffix(".parquet")
        if stored.key == key and table.is_file() and files.sha256_file(table) == stored.table_sha256:
            return stored
    return None


def tune_thresholds(member: Member, key: str) -> TunedThresholds:
    """Tune a run's thresholds on all folds but one at a time, and keep what was found.

    Args:
        member: The run.
        key: SHA-256 of what its score depends on.

    Raises:
        UserError: the score is undefined on some folds, or a map is missing or was changed.
    """
    import pandas as pd

    from heldout.blend.cases import build_objective
    from heldout.metrics import score

    objective = build_objective([member], member.metric)
    fold_of = objective.frame["fold"].to_numpy()
    tables, by_fold = [], {}
    for fold in member.folds:
        _, settings = objective.select(fold_of != fold).tune((WHOLE,))
        by_fold[str(fold)] = list(settings.thresholds)
        tables.append(objective.select(fold_of == fold).table(settings))
    table = pd.concat(tables, ignore_index=True)
    # thresholds change masks and labels only: the case scores, perhaps those of a second head, stay
    scores = [f"p_{label}" for label in objective.classes]
    table[scores] = member.table.set_index("case_id").loc[table["case_id"], scores].to_numpy()
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    path, content = thresholds_path(member.name), buffer.getvalue()
    tuned = TunedThresholds(
        member=member.name,
        metric=member.metric,
        key=key,
        thresholds=by_fold,
        score=float(score(member.metric, table, objective.classes)),
        table_sha256=files.sha256_bytes(content),
    )
    files.write_bytes(path.with_suffix(".parquet"), content)
    files.write_json(path, tuned.to_json())
    return tuned


def held_out_decision(decision: Decision, fold: int) -> Decision:
    """A blend as a fold's cases are scored: with the settings tuned on the other folds; of a run the run itself."""
    settings = decision.search.by_fold.get(str(fold))
    if settings is None:
        return replace(decision, members=decision.searched)
    weights, pruned = iter(settings.weights), decision.search.pruned
    searched = (pruned.by_fold.get(str(fold)) if pruned else None) or decision.searched
    members = [one if one.weight is None else one.with_weight(next(weights) / WHOLE) for one in searched]
    names, presence = decision.classes, Presence()
    if settings.presence:
        sources = replace(decision, members=members).presence_sources
        named = zip((*OF_MAP, *sources), settings.presence, strict=True)
        presence = decision.presence.model_copy(update={"shares": {name: share / WHOLE for name, share in named}})
    return replace(
        decision,
        members=members,
        thresholds=dict(zip(names, settings.thresholds, strict=True)) if settings.thresholds else {},
        spatial=dict(zip(names, settings.spatial, strict=True)) if settings.spatial else {},
        presence=presence,
        calibration=settings.calibration,
        mixing=settings.mixing,
        pooling=settings.pooling,
        postprocess=decision.postprocess.model_copy(update={"settings": settings.postprocess or {}}),
    )
