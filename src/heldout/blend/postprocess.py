"""The experiment's own last step, tuned on out-of-fold predictions: a hook ``postprocess``, or another of its kind."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from heldout import files
from heldout.blend.apply import Blended, mask_of_result, run_hook
from heldout.blend.components import read_work
from heldout.blend.detection_hook import HOOK, DetectionHook
from heldout.blend.detections import DetectionObjective
from heldout.blend.maps import Work
from heldout.blend.members import Member
from heldout.blend.objective import Objective
from heldout.blend.records import BlendSettings, Postprocess
from heldout.blend.spatial import spatial_mask
from heldout.blend.together import TOGETHER, run_slices_hook, run_table_hook
from heldout.config.code import POSTPROCESS, READER, code_of_postprocessing
from heldout.data.levels import CASE, groups_of
from heldout.data.parallel import map_cases
from heldout.data.sources import Source
from heldout.errors import UserError
from heldout.metrics.ignored import hide
from heldout.metrics.masks import OF_DETECTIONS
from heldout.metrics.overlap import count_errors
from heldout.metrics.registry import get_metric
from heldout.tasks import Task, load_task

Settings = Mapping[str, Any]

HOOK_ALONE, HOOK_SLICES = POSTPROCESS[:2]


@dataclass(frozen=True)
class Hook:
    """The hook ``postprocess`` or ``postprocess_slices`` of an experiment on cases that were held out.

    Attributes:
        config: The experiment.
        source: Reads the true masks.
        work: The cases with their maps; empty where there are no masks.
        exclusive: Classes exclude each other.
        progress: Show a progress bar where maps are read.
        groups: (n,) what ``postprocess_slices`` sees each case with; None of ``postprocess``.
    """

    config: Task
    source: Source
    work: tuple[Work, ...]
    exclusive: bool
    progress: bool = False
    groups: np.ndarray | None = None

    def select(self, chosen: np.ndarray) -> Hook:
        """The chosen cases, by an (n,) bool array."""
        work = tuple(one for one, wanted in zip(self.work, chosen, strict=True) if wanted) if self.work else ()
        return replace(self, work=work, groups=None if self.groups is None else self.groups[chosen])

    def tables(
        self, table: pd.DataFrame, classes: Sequence[str], settings: BlendSettings, choices: Sequence[Settings]
    ) -> list[pd.DataFrame]:
        """The cases as the hook leaves them with every choice of its settings.

        Args:
            table: The cases before the hook, with ``p_<class>`` and, of masks, ``tp_``, ``fp_``, ``fn_<class>``.
            classes: Names of the classes.
            settings: What makes the masks.
            choices: Settings of the hook.

        Raises:
            UserError: the hook fails.
        """
        scores = table[[f"p_{name}" for name in classes]].to_numpy(np.float32)
        if self.work:
            shared = (self.config.spec, self.source, self.exclusive, settings, choices, self.groups is not None)
            groups = _rows(np.arange(len(table)) if self.groups is None else self.groups)
            work = [[(self.work[row], scores[row]) for row in rows] for rows in groups]
            by_group = map_cases(_masks, shared, work, "Post-processing masks", progress=self.progress)
            by_row = dict(zip(itertools.chain(*groups), itertools.chain(*by_group), strict=True))
            found = [by_row[row] for row in range(len(table))]
        else:
            cases = zip(table["case_id"], scores, strict=True)
            results = [Blended(case_id, of_case, None, None) for case_id, of_case in cases]
            found = [([run_hook(self.config, one, choice).scores for choice in choices], []) for one in results]
        return [self._changed(table, classes, found, number) for number in range(len(choices))]

    def _changed(
        self, table: pd.DataFrame, classes: Sequence[str], found: Sequence[tuple[Any, Any]], number: int
    ) -> pd.DataFrame:
        changed = _with_scores(self.config, table, classes, np.array([scores[number] for scores, _ in found]))
        new: dict[str, np.ndarray] = {}
        if self.work:
            counts = np.array([of_case[number] for _, of_case in found], np.int64)
            for k, name in enumerate(classes):
                new |= {f"{kind}_{name}": counts[:, k, index] for index, kind in enumerate(("tp", "fp", "fn"))}
        return changed.assign(**new, **({} if self.groups is None else {TOGETHER: self.groups}))


@dataclass(frozen=True, eq=False)
class TableHook:
    """The hook ``postprocess_table`` of an experiment on cases that were held out.

    Attributes:
        config: The experiment.
        groups: (n,) what the hook sees each case with.
    """

    config: Task
    groups: np.ndarray

    def select(self, chosen: np.ndarray) -> TableHook:
        """The chosen cases, by an (n,) bool array."""
        return replace(self, groups=self.groups[chosen])

    def tables(
        self,
        table: pd.DataFrame,
        classes: Sequence[str],
        settings: BlendSettings,  # noqa: ARG002 - as of the other hook
        choices: Sequence[Settings],
    ) -> list[pd.DataFrame]:
        """The cases as the hook leaves them with every choice of its settings; see :meth:`Hook.tables`."""
        before, ids = table[[f"p_{name}" for name in classes]].to_numpy(np.float32), table["case_id"].to_numpy()
        found = []
        for choice in choices:
            after = np.empty_like(before)
            for of_one in _rows(self.groups):
                after[of_one] = run_table_hook(self.config, ids[of_one], before[of_one], classes, choice)
            found.append(_with_scores(self.config, table, classes, after).assign(**{TOGETHER: self.groups}))
        return found


AnyHook = Hook | TableHook | DetectionHook


def _rows(groups: np.ndarray) -> list[list[int]]:
    """Rows of every group, in the order of the groups' first rows."""
    return list(pd.Series(range(len(groups))).groupby(groups, sort=False).agg(list))


def _with_scores(config: Task, table: pd.DataFrame, classes: Sequence[str], after: np.ndarray) -> pd.DataFrame:
    """The table with other scores (n, K), which calibrated ones must not become."""
    before = table[[f"p_{name}" for name in classes]].to_numpy(np.float32)
    if f"uncalibrated_{classes[0]}" in table.columns and not np.array_equal(before, after):
        raise UserError(
            f"postprocess of {config.experiment} changes calibrated scores, whose order is judged as it was before "
            "calibration: leave --calibrate out, or change masks alone"
        )
    return table.assign(**{f"p_{name}": after[:, k].astype(float) for k, name in enumerate(classes)})


def choices_of(config: Task) -> list[dict[str, Any]]:
    """Every combination of the settings of an experiment's hook, the first values first."""
    names = config.postprocess_choices
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*names.values())]


def find_table_hook(first: Member, level: str) -> TableHook | None:
    """The hook ``postprocess_table`` of the first member; None where it has none.

    Raises:
        UserError: masks are blended, cases are pooled, or a case has no group.
    """
    config = first.config
    if type(config).postprocess_table is Task.postprocess_table:
        return None
    if first.kind == "segmentation":
        raise UserError(
            f"postprocess_table of {config.experiment} changes scores of cases, and {first.name} is a segmentation: "
            "define postprocess, which sees the mask of each case"
        )
    if level != CASE:
        raise UserError(
            f"postprocess_table of {config.experiment} changes cases, and level {level} pools them: blend with "
            "--level case, or leave the hook out"
        )
    return TableHook(config, _groups_of(first))


def _groups_of(first: Member) -> np.ndarray:
    """What the hook sees each case (n,) with.

    Raises:
        UserError: a case has no group, or a group has cases in several folds.
    """
    by = first.config.postprocess_by
    groups = groups_of(first.dataset.source, first.cases, by)
    folds = first.cases.groupby(groups)["fold"].nunique()
    if (folds > 1).any():
        raise UserError(
            f"{by} {folds.idxmax()} has cases in several folds, so that no fold holds all that belongs together: make "
            "folds in which patients, or the columns of `group`, keep them together"
        )
    return np.array(groups, object)


def find_detection_hook(first: Member, objective: Objective) -> DetectionHook | None:
    """The hook ``postprocess_detections`` of the first member; None where it has none.

    Raises:
        UserError: it does not detect, or something else is scored than its detections.
    """
    config = first.config
    if type(config).postprocess_detections is Task.postprocess_detections:
        return None
    if config.finder is None:
        raise UserError(
            f"{HOOK} of {config.experiment} changes detections, and {first.name} does not detect: define postprocess"
        )
    if not isinstance(objective, DetectionObjective) or get_metric(objective.metric).uses not in OF_DETECTIONS:
        raise UserError(
            f"{HOOK} of {config.experiment} is tuned by a score of detections, and {objective.metric} scores masks: "
            "choose another, such as --metric froc:5"
        )
    return DetectionHook(config, objective)


def find_hook(first: Member, work: Sequence[Work], progress: bool) -> Hook | None:
    """The hook ``postprocess`` or ``postprocess_slices`` of the first member; None where it has neither.

    Raises:
        UserError: it detects, and its detections come from the map alone; or slices have no masks, or no group.
    """
    config, source = first.config, first.dataset.source
    name = next((one for one in (HOOK_ALONE, HOOK_SLICES) if getattr(type(config), one) is not getattr(Task, one)), "")
    if not name:
        return None
    if config.finder is not None:
        raise UserError(f"{name} of {config.experiment} changes masks, and detections come from maps: define {HOOK}")
    hook = Hook(config, source, tuple(work), first.dataset.exclusive, progress)
    if name == HOOK_ALONE:
        return hook
    if first.kind != "segmentation":
        raise UserError(
            f"{name} of {config.experiment} changes masks, and {first.name} is a {first.kind}: define "
            "postprocess_table, which sees the scores of these cases"
        )
    return replace(hook, groups=_groups_of(first))


def describe_hook(hook: AnyHook, settings: BlendSettings) -> Postprocess:
    """The hook as a decision keeps it."""
    groups = None if isinstance(hook, DetectionHook) else hook.groups
    by = {} if groups is None else {"by": hook.config.postprocess_by}
    return Postprocess(settings=settings.postprocess or {}, code=hook_hash(hook.config), **by)


def hook_hash(config: Task, reader: int = READER) -> str:
    """SHA-256 of the code that an experiment's hook reaches; ``reader`` is the version of what reads it."""
    return files.sha256_json(code_of_postprocessing(type(config), reader))


def _masks(
    spec: str,
    source: Source,
    exclusive: bool,
    settings: BlendSettings,
    choices: Sequence[Settings],
    together: bool,
    work: list[list[tuple[Work, np.ndarray]]],
) -> list[list[tuple[list[np.ndarray], list[np.ndarray]]]]:
    """Of the cases of some groups scores (K,) and voxels (K, 3) [TP, FP, FN] with every choice."""
    config, found = load_task(spec), []
    for group in work:
        before, truths = [], []
        for one, scores in group:
            blended, truth = read_work(source, one, settings.rows)
            mask = spatial_mask(blended, settings.thresholds or None, settings.spatial, exclusive)
            before.append(Blended(one[0]["case_id"], scores, blended, mask))
            truths.append(truth)
        of_cases: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in group]
        for choice in choices:
            after = (
                run_slices_hook(config, before, choice)
                if together
                else [run_hook(config, one, choice) for one in before]
            )
            for result, truth, (new, counts) in zip(after, truths, of_cases, strict=True):
                new.append(result.scores)
                mask, known = hide(mask_of_result(result), truth), hide(truth, truth)
                counts.append(count_errors(mask, known, len(result.scores), exclusive))
        found.append(of_cases)
    return found
