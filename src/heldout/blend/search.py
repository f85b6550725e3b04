"""From experiments to a decision: tuned on out-of-fold predictions only, scored in-sample and cross-fitted."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from heldout import files
from heldout.blend.cases import build_objective
from heldout.blend.components import ComponentTuning
from heldout.blend.costs import measure, some_cases
from heldout.blend.crossfit import CrossFit, crossfit
from heldout.blend.decision import Decision, blend_folder, check_name, decision_of, read_decision, save_decision
from heldout.blend.maps import map_work
from heldout.blend.members import Member, check_together, load_member, split_members
from heldout.blend.objective import Objective, check_metric
from heldout.blend.postprocess import AnyHook, find_detection_hook, find_hook, find_table_hook
from heldout.blend.records import SearchRecord
from heldout.blend.refine import Refinement, add_refinement, describe_refinement, presence_members
from heldout.blend.session import Session
from heldout.blend.study import SearchPlan
from heldout.config.metric import metric_code
from heldout.data.levels import CASE
from heldout.errors import UserError
from heldout.journal import Journal
from heldout.train.runs import check_code, check_weights


def blend(
    specs: Sequence[str],
    name: str,
    *,
    sampler: str = "tpe",
    trials: int = 200,
    seed: int = 0,
    processes: int = 1,
    metric: str | None = None,
    spatial: bool = False,
    presence_metric: str | None = None,
    calibrate: str = "none",
    chosen_without: Mapping[int, Sequence[str]] | None = None,
    method: str = "mean",
    level: str | None = None,
    max_members: int | None = None,
    max_seconds: float | None = None,
    progress: bool = True,
) -> Decision:
    """Tune the weights of members and the thresholds of their blend.

    Finished trials are kept in ``study.journal``, so that the same command resumes where an earlier one was stopped.

    Args:
        specs: Finished experiments, or some seeds or other flips of them; see
            :func:`heldout.blend.members.load_member`. Classifications among segmentations count for presence alone,
            and so do the second heads of segmentations.
        name: Name of the blend. An earlier blend of that name is replaced unless it was frozen.
        sampler: How weights are searched; see :class:`heldout.blend.study.SearchPlan`.
        trials: Weightings to try, for use and again for each fold that is scored.
        seed: Seed of the search.
        processes: Processes that share the trials of a search.
        metric: Score to tune; None is the first member's.
        spatial: Choose components of masks; see :mod:`heldout.blend.spatial`.
        presence_metric: Score to tune the presence mix of segmentations for; see
            :class:`heldout.blend.refine.Refinement`.
        calibrate: How case scores are calibrated; see :func:`heldout.blend.calibrate.fit_calibration`.
        chosen_without: Where the members were chosen by their scores: for each fold those that the other folds choose.
        method: How members are put together; see :mod:`heldout.blend.mixing`.
        level: What is scored, as the field ``level`` of an experiment; None is the first member's.
        max_members: Most members that may have a weight; None for any number.
        max_seconds: Most seconds per case that those may take, measured on this machine; None for any.
        progress: Show progress bars.

    Returns:
        The decision, written with its tables to ``working/blends/<name>/``: ``oof.parquet``, cross-fitted (absent
        with one finished fold, where nothing can be), and ``in_sample.parquet``.

    Raises:
        UserError: the members do not belong together, a file changed, the score is undefined, the journal is damaged,
            another process makes this blend, or a frozen blend has this name.
    """
    check_name(name)
    plan = SearchPlan(sampler, trials, seed, processes, max_members)
    _refuse_sealed(name)
    steps = Refinement(spatial, presence_metric, calibrate, replace(plan.unlimited, processes=1))
    session = Session()
    gather = functools.cache(lambda chosen: _gather(chosen, metric, method, level, steps, session, progress))
    gathered = gather(tuple(specs))
    members, labels, objective = gathered.members, gathered.labels, gathered.objective
    of_fold = {fold: gather(tuple(chosen)) for fold, chosen in (chosen_without or {}).items()}
    if max_seconds is not None:
        cases = some_cases(members[0])
        seconds = tuple(
            0.0 if one.config.imported else round(measure(one, cases)[0].seconds(one), 4) for one in members
        )
        plan = replace(plan, max_seconds=max_seconds, seconds=seconds)
    metric, everyone = objective.metric, [*members, *(one for other in of_fold.values() for one in other.members)]
    with files.lock(blend_folder(name), "blending"):
        _refuse_sealed(name)
        found = crossfit(
            objective,
            plan,
            journal=Journal(
                blend_folder(name) / "study.journal", _identity(everyone, metric, plan, method, gathered.level)
            ),
            names=[member.name for member in members],
            chosen_without={fold: one.objective for fold, one in of_fold.items()},
            progress=progress,
        )
        classes = objective.classes
        thresholds = dict(zip(classes, found.settings.thresholds, strict=True)) if found.settings.thresholds else {}
        decision = decision_of(members, found.settings.weights, thresholds, name=name, metric=metric, labels=labels)
        tables = found.in_sample, found.cross_fitted
        described = describe_refinement(objective, found.settings, *tables, gathered.sources)
        by_fold = {str(fold): settings for fold, settings in found.by_fold.items()}
        pinned: dict[str, Any] = {"metric_code": code[0]} if (code := metric_code(metric)) else {}
        given = {name: value for name, value in asdict(plan).items() if value not in (None, ())}
        search = SearchRecord(**given, by_fold=by_fold, baselines=found.baselines, **pinned)
        notes = [*decision.notes, *([found.note] if found.note else [])]
        if method == "classes" and not found.settings.mixing and not found.note:
            notes.append("all classes have the same weights, because those of single classes score no better")
        decision = replace(decision, mixing=found.settings.mixing, pooling=found.settings.pooling)
        return _write(replace(decision, score=found.scores, search=search, notes=notes, **described), found)


@dataclass(frozen=True)
class _Gathered:
    """Opened members of a blend, and what their blend is scored by.

    Attributes:
        members: Members that are weighted.
        labels: Classifications beside segmentations.
        sources: Names of what classifies whole cases beside segmentations.
        level: What is scored.
        objective: All cases.
    """

    members: list[Member]
    labels: list[Member]
    sources: list[str]
    level: str
    objective: Objective


def _gather(
    specs: Sequence[str],
    metric: str | None,
    method: str,
    level: str | None,
    steps: Refinement,
    session: Session,
    progress: bool,
) -> _Gathered:
    members = [load_member(spec, session) for spec in specs]
    check_together(members)
    for member in members:
        check_code(member.config)
        for fit in member.fits:
            check_weights(fit.folder)
    members, labels = split_members(members)
    metric = metric or members[0].metric
    level = level or str(getattr(members[0].config, "level", CASE))
    check_metric(metric, members[0].kind)
    dataset, masks = members[0].dataset, members[0].kind == "segmentation"
    maps = (
        ComponentTuning(dataset.source, tuple(map_work(members)), dataset.exclusive, progress)
        if steps.spatial and masks
        else None
    )
    work = map_work(members) if masks else ()
    hook: AnyHook | None = find_hook(members[0], work, progress)
    table_hook = find_table_hook(members[0], level)
    sources = presence_members(members, labels)
    base = build_objective(members, metric, method=method, level=level, progress=progress)
    hook = hook or table_hook or find_detection_hook(members[0], base)
    objective = add_refinement(base, list(sources.values()), steps, maps, hook)
    return _Gathered(members, labels, list(sources), level, objective)


def _identity(members: Sequence[Member], metric: str, plan: SearchPlan, method: str, level: str) -> str:
    """SHA-256 of what a trial's score and the choice of the next one depend on; the number of trials is not of it."""
    fits = [[member.name, *([fit.seed, fit.fold, fit.hashes.oof] for fit in member.fits)] for member in members]
    maps = [[fit.hashes.maps for fit in member.fits] for member in members]
    data = [[member.dataset.fold_hash, member.dataset.data_hash] for member in members]
    shared = plan.processes > 1  # trials that depended on timing do not become those of a search that does not
    further = [*metric_code(metric), *([method] if method != "mean" else []), *([level] if level != CASE else [])]
    return files.sha256_json([2, fits, maps, data, metric, plan.sampler, plan.seed, shared, *further])


def _write(decision: Decision, found: CrossFit) -> Decision:
    """Write tables and decision. All bytes are on the disk before the first file of an earlier blend is replaced."""
    tables = {"in_sample": found.in_sample, "oof": found.cross_fitted}
    contents = {}
    for name, table in tables.items():
        if table is not None:
            buffer = io.BytesIO()
            table.to_parquet(buffer, index=False)
            contents[name] = buffer.getvalue()
    decision = replace(decision, tables={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    with contextlib.ExitStack() as stack:
        for name, data in contents.items():
            handle = stack.enter_context(files.atomic(decision.folder / f"{name}.parquet"))
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        save_decision(decision)
    if found.cross_fitted is None:
        (decision.folder / "oof.parquet").unlink(missing_ok=True)
    return read_decision(decision.name)


def _refuse_sealed(name: str) -> None:
    if (blend_folder(name) / "decision.json").exists() and read_decision(name).seal is not None:
        raise UserError(f"blend {name} is frozen and stays as it is: choose another --name")
