"""Held-out predictions of single members for ablations, with thresholds tuned on the other folds where that matters.

A network trained briefly says little above one half, so that a score cut there measures its budget, not its idea.
Tuning takes the maps of all cases; ``ablate`` does it once and keeps it in ``working/ablations/``, with the hashes of
what it was made from.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.blend.members import Member, load_member
from heldout.errors import UserError
from heldout.evaluate.compare import Scored, open_scored
from heldout.metrics import get_metric

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision

WHOLE_WEIGHT = (1000,)
CROSS_FITTED, AT_HALF, NO_THRESHOLD = "cross-fitted", "at one half", "no threshold"


@dataclass(frozen=True, eq=False)
class Held:
    """A member with what it predicted while held out.

    Attributes:
        member: The opened member.
    """

    member: Member

    @property
    def name(self) -> str:
        """Name of the member."""
        return self.member.name

    @cached_property
    def key(self) -> str:
        """SHA-256 of what its scores depend on."""
        one = self.member
        fits = [[fit.seed, fit.fold, fit.hashes["oof"], fit.hashes["maps"]] for fit in one.fits]
        return files.sha256_json([2, one.name, one.config.metric, one.dataset.fold_hash, one.dataset.data_hash, fits])

    @property
    def kind(self) -> str:
        """``classification`` or ``segmentation``."""
        return self.member.kind

    @property
    def tunable(self) -> bool:
        """Whether there are thresholds, so that the score depends on them."""
        competing = self.member.dataset.exclusive and len(self.member.dataset.classes) > 1
        return get_metric(self.member.config.metric).uses in ("counts", "predicted_label") and not competing

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """What ``ablate`` wrote of these very predictions; None where it did not."""
        path = record_path(self.name)
        table = path.with_suffix(".parquet")
        if not path.exists() or not table.is_file():
            return None
        with suppress(UserError):  # a damaged record is none
            stored = files.read_record(path, {"key": str, "table_sha256": str, "thresholds": dict}, "run ablate again")
            if stored["key"] == self.key and files.sha256_file(table) == stored["table_sha256"]:
                return stored
        return None

    def how(self, cross_fitted: bool) -> str:
        """How masks and calls are made."""
        if not self.tunable:
            return NO_THRESHOLD
        return CROSS_FITTED if cross_fitted and self.record else AT_HALF

    def table(self, how: str) -> pd.DataFrame:
        """The table of its cases, made as :meth:`how` says."""
        import pandas as pd

        return (
            pd.read_parquet(record_path(self.name).with_suffix(".parquet"))
            if how == CROSS_FITTED
            else self.member.table
        )

    def scored(self, how: str, metric: str | None = None) -> Scored:
        """What a paired comparison takes."""
        one = self.member
        return Scored(
            one.name,
            metric or one.config.metric,
            tuple(one.dataset.classes),
            self.table(how),
            one.config.dataset or one.config.source,
            one.dataset.data_hash,
            one.dataset.fold_hash,
            one.config.checkpoint == "best",
            how == CROSS_FITTED,
        )


@dataclass(frozen=True, eq=False)
class Blended:
    """A blend with its cross-fitted predictions, to stand beside its best member.

    Attributes:
        decision: The blend.
        best: The member.
    """

    decision: Decision
    best: Held

    @property
    def key(self) -> str:
        """SHA-256 of what its scores depend on."""
        return files.sha256_json([self.decision.digest, self.decision.tables])

    @property
    def kind(self) -> str:
        """``classification`` or ``segmentation``."""
        return self.decision.kind

    @property
    def record(self) -> dict[str, Any]:
        """Blending has tuned and cross-fitted it."""
        return self.decision.tables

    def how(self, cross_fitted: bool) -> str:
        """How masks and calls are made."""
        return CROSS_FITTED if cross_fitted and self.best.tunable else NO_THRESHOLD

    def scored(self, how: str, metric: str) -> Scored:
        """What a paired comparison takes."""
        return replace(open_scored(self.decision.name), metric=metric, tuned=how == CROSS_FITTED)


def record_path(name: str) -> Path:
    """Where ``ablate`` keeps what it found of a member."""
    return files.home() / "working" / "ablations" / f"{name.replace('/', '__')}.json"


def cross_fit(name: str) -> tuple[Held, str]:
    """Tune a member's thresholds on all folds but one at a time, unless that was done with these very predictions.

    Args:
        name: As :func:`heldout.blend.members.load_member` takes it.

    Returns:
        The member, and what there is to say about it in a few words.

    Raises:
        UserError: the member does not exist, its files changed, or its score is undefined on some folds.
    """
    held = Held(load_member(name))
    if not held.tunable:
        return held, f"{held.member.config.metric} needs no threshold: nothing to tune"
    if len(held.member.folds) < 2:
        return held, "one fold only: there are no other folds to tune on"
    if held.record:
        return held, _said(held.record, known=True)
    import io

    import pandas as pd

    from heldout.blend.cases import build_objective
    from heldout.metrics import score

    metric = held.member.config.metric
    objective = build_objective([held.member], metric)
    fold_of = objective.frame["fold"].to_numpy()
    tables, thresholds = [], {}
    for fold in held.member.folds:
        _, settings = objective.select(fold_of != fold).tune(WHOLE_WEIGHT)
        thresholds[str(fold)] = list(settings.thresholds)
        tables.append(objective.select(fold_of == fold).table(settings))
    table = pd.concat(tables, ignore_index=True)
    # thresholds move masks only: what says whether a class is there, perhaps a head of its own, stays
    scores = [f"p_{label}" for label in objective.classes]
    table[scores] = held.member.table.set_index("case_id").loc[table["case_id"], scores].to_numpy()
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    path = record_path(held.name)
    files.write_bytes(path.with_suffix(".parquet"), buffer.getvalue())
    record = {
        "schema": 1,
        "member": held.name,
        "metric": metric,
        "key": held.key,
        "thresholds": thresholds,
        "score": float(score(metric, table, objective.classes)),
        "table_sha256": files.sha256_file(path.with_suffix(".parquet")),
    }
    files.write_json(path, record)
    return Held(held.member), _said(record, known=False)


def members_of(spec: str, flips: list[str]) -> list[str]:
    """The run itself, its first seed alone where there are several, and it with other flips, as members.

    Raises:
        UserError: nothing is finished, or an axis does not exist.
    """
    member = load_member(spec)
    seeds = sorted({fit.seed for fit in member.fits})
    names = [spec, *([f"{spec}/seed{seeds[0]}"] if len(seeds) > 1 else [])]
    for axes in flips:
        chosen = "" if axes == "none" else axes
        if set(chosen) != set(member.config.tta):
            names.append(f"{spec}/tta={chosen}")
    return names


def flips_on_disk(member: Member) -> list[str]:
    """Other flips with which every fit of a run has predicted its fold already."""
    found = [
        {path.parent.name.removeprefix("tta-") for path in fit.folder.glob("tta-*/predictions.json")}
        for fit in member.fits
    ]
    return sorted("" if axes == "none" else axes for axes in set.intersection(*found)) if found else []


def check_flips(flips: list[str]) -> None:
    """Refuse what names no axes.

    Raises:
        UserError: naming the option.
    """
    for axes in flips:
        if axes != "none" and (not axes or not set(axes) <= set("hvxyz")):
            raise UserError(f"--tta {axes!r} names no axes: write none, h, v, hv, or x, y, z for volumes")


def _said(record: dict[str, Any], *, known: bool) -> str:
    cut = ", ".join(f"fold {fold} at {'/'.join(map(str, values))}" for fold, values in record["thresholds"].items())
    again = " (as found before)" if known else ""
    return f"{record['metric']} {record['score']:.4f} cross-fitted, {cut} of 255{again}"
