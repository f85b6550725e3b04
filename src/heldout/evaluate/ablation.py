"""What each experiment gains over its parent, from runs under the same budget: the rows of the ablation tables."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from heldout.blend.flips import stored_flips
from heldout.blend.members import Member, load_member
from heldout.config import load
from heldout.config.legacy import today_spec
from heldout.errors import UserError
from heldout.evaluate.cache import JsonCache
from heldout.evaluate.compare import compare_held_out
from heldout.evaluate.held_out import CROSS_FITTED, HeldOut, open_held_out
from heldout.evaluate.row import Row
from heldout.evaluate.scores import best_alone
from heldout.records import finite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCHEMA = 6


@dataclass(frozen=True)
class Measure:
    """A score, and how much better it is than that of the parent.

    Attributes:
        score, low, high: The score with its 95 % interval; None where undefined.
        gain: Score minus the parent's, turned so that positive is better; None where they do not compare.
        gain_low, gain_high: Its 95 % interval paired over patients.
        patients: How many both predicted.
        why: Why there is no gain; empty where there is one.
    """

    score: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    patients: int | None = None
    why: str = ""


@dataclass(frozen=True)
class AblationRow:
    """A row of an ablation table.

    Attributes:
        name: The run, or the variant of one.
        parent: What it is compared with; None for the first of a family.
        changed: What differs.
        threshold: ``cross-fitted``, ``at one half`` where there is nothing to tune it on, or ``no threshold``.
        main: The score.
        seconds: Training time; None of variants, which need no training.
        at_half: Where thresholds were tuned, what the gain is with everything cut at one half.
    """

    name: str
    parent: str | None
    changed: str
    threshold: str
    main: Measure
    seconds: float | None = None
    at_half: Measure | None = None


def family_of(name: str) -> str:
    """Family of an experiment: ``exp040``, its first, of ``exp042@quick``; itself where its file is gone or broken."""
    experiment = re.split("[@+/]", today_spec(name))[0]
    try:
        return load(experiment).root_name()
    except UserError:
        return experiment


def ablations(rows: Sequence[Row]) -> dict[str, list[AblationRow]]:
    """Ablation tables by family, from all rows of the leaderboard."""
    runs = {row.name: row for row in rows if row.kind == "run" and row.score is not None}
    cache = JsonCache("ablations", _SCHEMA)
    opened: dict[str, HeldOut] = {}

    def held(name: str) -> HeldOut:
        if name not in opened:
            opened[name] = open_held_out(name)
        return opened[name]

    found: dict[str, list[AblationRow]] = defaultdict(list)
    for name, row in sorted(runs.items()):
        parent = parent_of(row)
        missing = "" if parent is None or parent in runs else f"no finished run of {parent} here"
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
            entries.append(AblationRow(name, parent, changed, "-", Measure(why=str(error))))
    for row in rows:
        if row.kind == "blend" and row.cases is not None:
            with suppress(UserError):  # what is wrong with a blend is shown in the table of its dataset
                family, entry = _of_blend(cache, row, held)
                found[family].append(entry)
    cache.save()
    return dict(found)


def parent_of(row: Row) -> str | None:
    """The run that an experiment's is compared with: its parent's under the same budget."""
    if row.parent is None:
        return None
    return f"{row.parent}@{row.budget}" if row.budget else row.parent


def _same_seeds(
    one: HeldOut, other: HeldOut, held: Callable[[str], HeldOut]
) -> tuple[tuple[HeldOut, HeldOut] | None, str]:
    """Both by one seed, and a word on it, where they have not finished the same ones; None where they share none.

    A mean of three seeds beside a single one would be attributed to the change.
    """
    fits = [{(fit.seed, fit.fold) for fit in part.members[0].fits} for part in (one, other)]
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


def _of_blend(cache: JsonCache, row: Row, held: Callable[[str], HeldOut]) -> tuple[str, AblationRow]:
    """A blend beside its best single member, which blending has tuned and cross-fitted too; its first member's family.

    Raises:
        UserError: it has one member alone, or cannot be read.
    """
    blend = held(row.name)
    found = best_alone(blend.decision, row.higher_is_better)
    if found is None:
        raise UserError(f"{row.name} has no single member to compare with: blend at least two")
    best = held(found[0])
    changed = f"others blended in: {blend.decision.composition}"
    entry = _entry(cache, row, blend, (blend, best), best.name, changed, "", row.seconds)
    return family_of(blend.decision.members[0].spec), entry


def _variants(cache: JsonCache, row: Row, held: Callable[[str], HeldOut]) -> list[AblationRow]:
    """What needs no training: all seeds against the first, and other flips against the run's own."""
    entries, seeds = [], sorted(row.seed_scores)
    if len(seeds) > 1:
        first, mean = f"{row.name}/seed{seeds[0]}", held(row.name)
        text = f"mean of {len(seeds)} seeds instead of seed {seeds[0]} alone"
        entries.append(_entry(cache, row, mean, (mean, held(first)), first, text, "", None, shown="mean of its seeds"))
    member = held(row.name).members[0]
    own = member.config.tta
    for axes in _flips_on_disk(member):
        other = held(f"{row.name}/tta={axes}")
        text = f"flips {axes or 'none'} instead of {own or 'none'} when predicting"
        entries.append(
            _entry(cache, row, other, (other, held(row.name)), row.name, text, "", None, shown=f"tta {axes or 'none'}")
        )
    return entries


def _entry(
    cache: JsonCache,
    row: Row,
    one: HeldOut,
    pair: tuple[HeldOut, HeldOut] | None,
    parent: str | None,
    changed: str,
    missing: str,
    seconds: float | None,
    shown: str = "",
) -> AblationRow:
    parts = [[part.key, part.threshold] for part in (one, *(pair or ()))]

    def measure(at_half: bool) -> Measure:
        about = [parts, row.metric, missing, at_half]
        return Measure(**cache.get(about, lambda: asdict(_measure(one, pair, row.metric, missing, at_half))))

    tuned = one.threshold == CROSS_FITTED and not one.is_blend
    halved = measure(True) if tuned and pair else None
    name = f"{row.name}: {shown}" if shown else row.name
    return AblationRow(name, parent, changed, one.threshold, measure(False), seconds, halved)


def _measure(one: HeldOut, pair: tuple[HeldOut, HeldOut] | None, metric: str, missing: str, at_half: bool) -> Measure:
    """Score of one, and the gain of the first of a pair over the second."""
    from heldout.metrics import interval

    found = interval(metric, one.table if at_half else one.ranking_table, one.classes)
    value, low, high = map(finite, (found.value, found.low, found.high))
    if pair is None:
        return Measure(value, low, high, why=missing)
    try:
        verdict = compare_held_out(*pair, metric, at_half=at_half)
    except UserError as error:
        return Measure(value, low, high, why=str(error))
    return Measure(value, low, high, *verdict.gain_of(pair[0].name)[:3], patients=verdict.patients)


def variants_of(spec: str, flips: Sequence[str]) -> list[HeldOut]:
    """The run itself, its first seed alone where there are several, and it with other flips, predicted where missing.

    Args:
        spec: The run.
        flips: Axes to flip, such as ``hv``; ``none`` for no flips.

    Raises:
        UserError: nothing is finished, or an axis does not exist.
    """
    for axes in flips:
        if axes != "none" and (not axes or not set(axes) <= set("hvrxyz")):
            raise UserError(
                f"--tta {axes!r} names no axes: write none, h, v, r or several of them, or x, y, z for volumes"
            )
    run = open_held_out(spec)
    found = [run, *([run.of_seed(run.seeds[0])] if len(run.seeds) > 1 else [])]
    chosen = ["" if axes == "none" else axes for axes in flips]
    others = [axes for axes in chosen if set(axes) != set(run.members[0].config.tta)]
    return found + [HeldOut.of_run(load_member(f"{spec}/tta={axes}")) for axes in others]


def tune_text(run: HeldOut) -> str:
    """Tune the thresholds of a run, unless that was done with these very predictions, and say what was found.

    Raises:
        UserError: its score is undefined on some folds, or a map is missing or was changed.
    """
    if not run.depends_on_threshold:
        return f"{run.metric} needs no threshold: nothing to tune"
    if not run.tunable:
        return f"{run.metric} needs whole masks: its threshold cannot be tuned"
    known = run.stored_thresholds is not None
    if (tuned := run.thresholds) is None:
        return "one fold only: there are no other folds to tune on"
    found = ", ".join(f"fold {fold} at {'/'.join(map(str, values))}" for fold, values in tuned.thresholds.items())
    return f"{run.metric} {tuned.score:.4f} cross-fitted, {found} of 255{' (as found before)' if known else ''}"


def _flips_on_disk(member: Member) -> list[str]:
    """Other flips with which every fit of a run has predicted its fold already."""
    found = [stored_flips(member.config, fit.folder) for fit in member.fits]
    return sorted(set.intersection(*found)) if found else []
