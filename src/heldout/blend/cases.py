"""From members to an objective: their out-of-fold predictions of all cases, in the form that a trial scores fast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heldout.blend.detections import DetectionObjective, detection_objective
from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import join
from heldout.blend.label_objective import LabelObjective
from heldout.blend.levels import LevelObjective, level_objective
from heldout.blend.maps import Work, map_work, mean_map
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.members import Member
from heldout.blend.mixing import METHODS, OF_MASKS
from heldout.blend.numbers import ValueObjective
from heldout.data.levels import CASE, groups_of
from heldout.data.parallel import map_cases
from heldout.data.sources import Source
from heldout.errors import UserError
from heldout.metrics.ignored import hide

Reduced = tuple[np.ndarray, np.ndarray, np.ndarray]


def build_objective(
    members: Sequence[Member], metric: str, *, method: str = "mean", level: str = CASE, progress: bool = True
) -> LabelObjective | MaskObjective | ValueObjective | DetectionObjective | LevelObjective:
    """Gather what members that belong together predict.

    Args:
        members: Checked with :func:`heldout.blend.members.check_together`.
        metric: Score to tune.
        method: How members are put together, one of :data:`heldout.blend.mixing.METHODS`.
        level: What is scored: cases, or groups of them, as :func:`heldout.data.levels.groups_of` says.
        progress: Show a progress bar where maps are read.

    Raises:
        UserError: a map is missing or was changed, the method or the level is not for these members, or a case has no
            group.
    """
    if method not in METHODS:
        raise UserError(f"--method {method} does not exist: choose one of {', '.join(METHODS)}")
    first = members[0]
    classes, exclusive = first.dataset.classes, first.dataset.exclusive
    of_kind = {"classification": METHODS, "segmentation": OF_MASKS}.get(first.kind, ("mean",))
    if method not in of_kind:
        choices = " or ".join(f"--method {one}" for one in of_kind)
        raise UserError(f"--method {method} is for classifications, and {first.name} is a {first.kind}: use {choices}")
    if first.kind != "segmentation":
        predicted = [[member.prediction(case_id).scores for case_id in first.frame["case_id"]] for member in members]
        scores = np.array(predicted, float)
        whole: LabelObjective | ValueObjective
        if first.kind == "regression":
            whole = ValueObjective(first.frame, classes, metric, scores)
        else:
            whole = LabelObjective(first.frame, classes, metric, scores, exclusive, method)
        if level == CASE:
            return whole
        return level_objective(whole, groups_of(first.dataset.source, first.cases, level), level, exclusive)
    if level != CASE:
        raise UserError(
            f"level {level} pools labels and numbers of cases, and {first.name} is a segmentation: leave it out, or "
            "score patients by a metric such as patient:dice_pos"
        )
    together = exclusive and len(classes) > 1
    shared = (first.dataset.source, together)
    reduced = list(map_cases(reduce_cases, shared, map_work(members), "Reading out-of-fold maps", progress=progress))
    histograms = tuple(join(parts) for parts in zip(*reduced, strict=True))
    objective = MaskObjective(first.frame, classes, metric, histograms, method)
    if first.config.finder is None:
        return objective
    return detection_objective(members, objective, progress=progress)


def reduce_cases(source: Source, together: bool, work: list[Work]) -> list[list[Reduced]]:
    """Distinct voxels of some cases: once for all classes where they are exclusive, else of every class."""
    found = []
    for row, member_files in work:
        maps = np.stack([mean_map(row["case_id"], paths) for paths in member_files])
        truth = source.read_mask(row)
        if maps.shape[2:] != truth.shape[1:]:
            raise UserError(
                f"case {row['case_id']}: predicted maps have the shape {maps.shape[2:]}, its mask {truth.shape[1:]}; "
                "train the members again"
            )
        maps, truth = hide(maps, truth), hide(truth, truth)
        channels = [maps] if together else [maps[:, k : k + 1] for k in range(maps.shape[1])]
        found.append([distinct_voxels(part, label) for part, label in zip(channels, truth, strict=True)])
    return found
