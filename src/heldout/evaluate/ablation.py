"""What each experiment is worth beside its parent, from runs under the same budget: the rows of the ablation tables."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from heldout.blend.decision import read_decision
from heldout.blend.members import load_member
from heldout.errors import UserError
from heldout.evaluate.ablation_members import CROSS_FITTED, Blended, Held, flips_on_disk
from heldout.evaluate.compare import Scored, compare_scored
from heldout.evaluate.remembered import Remembered
from heldout.evaluate.row import Row
from heldout.evaluate.scores import best_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

PRESENCE = "roc_auc"
_SCHEMA = 3


@dataclass(frozen=True)
class Measure:
    """A score, and how much better it is than that of the parent.

    Attributes:
        score, low, high: The score with its 95 % interval; None where undefined.
        gain: Score minus the parent's, turned so that positive is better; None where they do not compare.
        gain_low, gain_high: Its 95 % interval from the paired bootstrap.
        chance: Share of the draws in which the child is better.
        patients: How many both predicted.
        why: Why there is no gain; empty where there is one.
    """

    score: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    chance: float | None = None
    patients: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """A row of an ablation table.

    Attributes:
        name: The run, or the variant of one.
        parent: What it is compared with; None for the first of a family.
        changed: What differs.
        budget: Name of the budget, or ``full``.
        metric: Name of the score.
        how: ``cross-fitted`` thresholds, cut ``at one half``, or ``no threshold``.
        main: The score.
        presence: ROC-AUC of whether a case holds the class, of segmentations; None elsewhere.
        seconds: Training time; None of variants, which need no training.
        half: Where thresholds were tuned, what the gain is with everything cut at one half.
        cuts: The tuned thresholds, of 255, fold by fold.
        best_checkpoint: Whether the folds' own scores chose the checkpoints.
    """

    name: str
    parent: str | None
    changed: str
    budget: str
    metric: str
    how: str
    main: Measure
    presence: Measure | None = None
    seconds: float | None = None
    half: Measure | None = None
    cuts: str = ""
    best_checkpoint: bool = False


def family_of(name: str) -> str:
    """Family of an experiment: ``04x`` of ``exp042@quick``."""
    return f"{name[3:5]}x"


def ablations(rows: Sequence[Row]) -> dict[str, list[Entry]]:
    """Ablation tables by family, from all rows of the leaderboard."""
    runs = {row.name: row for row in rows if row.kind == "run" and row.score is not None}
    cache = Remembered("ablations", _SCHEMA)
    opened: dict[str, Held] = {}

    def held(name: str) -> Held:
        if name not in opened:
            opened[name] = Held(load_member(name))
        return opened[name]

    found: dict[str, list[Entry]] = defaultdict(list)
    for name, row in sorted(runs.items()):
        parent = parent_of(row)
        missing = "" if parent is None or parent in runs else f"no finished run of {parent}"
        changed = ", ".join(row.changed) or ("nothing" if parent else "-")
        entries = found[family_of(name)]
        try:
            one, pair, seeds = held(name), None, ""
            if parent in runs:
                pair, seeds = _same_seeds(one, held(parent), held)
                missing = "" if pair else f"{parent} was trained with other seeds"
            entries.append(_entry(cache, row, one, pair, parent, changed + seeds, missing, row.seconds))
            entries += _variants(cache, row, held)
        except UserError as error:
            entries.append(Entry(name, parent, changed, row.budget or "full", row.metric, "-", Measure(why=str(error))))
    for row in rows:
        if row.kind == "blend" and row.cases is not None:
            with suppress(UserError):  # what is wrong with a blend stands in the table of its dataset
                family, entry = _of_blend(cache, row, held)
                found[family].append(entry)
    cache.save()
    return dict(found)


def parent_of(row: Row) -> str | None:
    """The run that an experiment's is compared with: its parent's under the same budget."""
    if row.parent is None:
        return None
    return f"{row.parent}@{row.budget}" if row.budget else row.parent


def _same_seeds(one: Held, other: Held, held: Any) -> tuple[tuple[Held, Held] | None, str]:
    """Both by one seed, and a word on it, where they have not finished the same ones; None where they share none.

    A mean of three seeds beside a single one would be counted as the idea's worth.
    """
    fits = [{(fit.seed, fit.fold) for fit in part.member.fits} for part in (one, other)]
    folds = {fold for _, fold in fits[0]} & {fold for _, fold in fits[1]}
    if not any(fold in folds for _, fold in fits[0] ^ fits[1]):
        return (one, other), ""
    seeds = [{seed for seed, _ in found} for found in fits]
    if not seeds[0] & seeds[1]:
        return None, ""
    seed = min(seeds[0] & seeds[1])
    first, second = (
        part if len(own) == 1 else held(f"{part.name}/seed{seed}")
        for part, own in zip((one, other), seeds, strict=True)
    )
    return (first, second), f" (seed {seed} of both)"


def _of_blend(cache: Remembered, row: Row, held: Any) -> tuple[str, Entry]:
    """A blend within one family beside the best of its members alone, which blending has tuned and cross-fitted too.

    Raises:
        UserError: it has members of several families or one alone, or cannot be read.
    """
    decision = read_decision(row.name)
    families = {family_of(member["spec"]) for member in decision.members}
    found = best_alone(decision, row.higher_is_better)
    if len(families) > 1 or found is None:
        raise UserError(f"{row.name} has no members of one family to stand beside: blend at least two")
    best = held(found[0])
    missing = f"`python run.py ablate {best.name}` first" if best.tunable and best.record is None else ""
    blend = Blended(decision, best)
    changed = f"others blended in: {decision.composition}"
    pair = None if missing else (blend, best)
    entry = _entry(cache, row, blend, pair, best.name, changed, missing, row.seconds)
    return families.pop(), entry


def _variants(cache: Remembered, row: Row, held: Any) -> list[Entry]:
    """What needs no training: all seeds against the first, and other flips against the run's own."""
    entries, seeds = [], sorted(row.seed_scores)
    if len(seeds) > 1:
        first, mean = f"{row.name}/seed{seeds[0]}", held(row.name)
        text = f"mean of {len(seeds)} seeds instead of seed {seeds[0]} alone"
        entries.append(_entry(cache, row, mean, (mean, held(first)), first, text, "", None, shown="mean of its seeds"))
    own = held(row.name).member.config.tta
    for axes in flips_on_disk(held(row.name).member):
        other = held(f"{row.name}/tta={axes}")
        text = f"flips {axes or 'none'} instead of {own or 'none'} when predicting"
        entries.append(
            _entry(cache, row, other, (other, held(row.name)), row.name, text, "", None, shown=f"tta {axes or 'none'}")
        )
    return entries


def _entry(
    cache: Remembered,
    row: Row,
    one: Held | Blended,
    pair: tuple[Held | Blended, Held] | None,
    parent: str | None,
    changed: str,
    missing: str,
    seconds: float | None,
    shown: str = "",
) -> Entry:
    # All are cut alike: tuned thresholds on one side only would be counted as the idea's worth.
    parts = (one, *(pair or ()))
    together = all(part.record is not None for part in parts)
    how = one.how(together)

    def measure(metric: str, tuned: bool = together) -> Measure:
        def compute() -> dict[str, Any]:
            first, *compared = (part.scored(part.how(tuned), metric) for part in parts)
            return asdict(_measure(first, compared, missing))

        return Measure(**cache.get([[[part.key, part.how(tuned)] for part in parts], metric, missing], compute))

    presence = one.kind == "segmentation" and row.metric != PRESENCE and PRESENCE in row.also
    tuned = how == CROSS_FITTED and isinstance(one, Held)
    return Entry(
        f"{row.name}: {shown}" if shown else row.name,
        parent,
        changed,
        row.budget or "full",
        row.metric,
        how,
        measure(row.metric),
        measure(PRESENCE) if presence else None,
        seconds,
        measure(row.metric, tuned=False) if tuned and pair else None,
        ", ".join("/".join(map(str, cut)) for cut in one.record["thresholds"].values()) if tuned else "",
        row.checkpoint == "best",
    )


def _measure(one: Scored, pair: Sequence[Scored], missing: str) -> Measure:
    """Score of one, and the gain of the first of a pair over the second."""
    from heldout.metrics import interval

    found = interval(one.metric, one.table, one.classes)
    value, low, high = (v if math.isfinite(v) else None for v in (found.value, found.low, found.high))
    if not pair:
        return Measure(value, low, high, why=missing)
    try:
        verdict = compare_scored(*pair)
    except UserError as error:
        return Measure(value, low, high, why=str(error))
    gain, gain_low, gain_high, chance = verdict.gain_of(pair[0].name)
    return Measure(value, low, high, gain, gain_low, gain_high, chance, verdict.patients)
