"""The experiment's own last step on detections: the hook ``postprocess_detections``, tuned on out-of-fold heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.errors import UserError
from heldout.predict.peaks import find_detections, judge
from heldout.tasks.base import load_task
from heldout.tasks.finder import AXES, SIZES

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision
    from heldout.blend.detections import DetectionObjective
    from heldout.blend.records import BlendSettings
    from heldout.tasks import Task

HOOK = "postprocess_detections"


@dataclass(frozen=True, eq=False)
class DetectionHook:
    """The hook of an experiment on cases that were held out.

    Attributes:
        config: The experiment.
        objective: The cases.
    """

    config: Task
    objective: DetectionObjective

    def select(self, chosen: np.ndarray) -> DetectionHook:
        """The chosen cases, by an (n,) bool array."""
        return replace(self, objective=self.objective.select(chosen))

    def tables(
        self, table: pd.DataFrame, classes: Sequence[str], settings: BlendSettings, choices: Sequence[Mapping[str, Any]]
    ) -> list[pd.DataFrame]:
        """The cases as the hook leaves them with every choice of its settings.

        Args:
            table: The cases before the hook.
            classes: Names of the classes.
            settings: What makes the maps, and the thresholds of kept detections.
            choices: Settings of the hook.

        Raises:
            UserError: the hook fails, or finds other detections when it is called again.
        """
        case_ids = list(table["case_id"])
        found, cuts = self.objective.found(settings), settings.thresholds
        known = next((place for place, rows in enumerate(found) if len(rows)), None)
        tables = []
        for choice in choices:
            changed = [
                run_detection_hook(self.config, case_id, rows, classes, cuts, choice)
                for case_id, rows in zip(case_ids, found, strict=True)
            ]
            if known is not None:
                again = run_detection_hook(self.config, case_ids[known], found[known], classes, cuts, choice)
                if not np.array_equal(again, changed[known]):
                    raise UserError(
                        f"{HOOK} of {self.config.experiment} gives case {case_ids[known]} other detections when it is "
                        "called again: give its random numbers a seed"
                    )
            tables.append(table.assign(detections=self.objective.texts(changed)))
        return tables


def run_detection_hook(
    config: Task,
    case_id: str,
    rows: np.ndarray,
    classes: Sequence[str],
    thresholds: Sequence[int],
    settings: Mapping[str, Any],
) -> np.ndarray:
    """Detections of a case after the experiment's hook, the surest first; those at the threshold or above are kept.

    Args:
        config: The experiment.
        case_id: The case.
        rows: As :func:`heldout.predict.peaks.find_detections` gives them.
        classes: Names of the classes.
        thresholds: (K,) smallest values of detections that are kept; empty is one half.
        settings: Of the hook.

    Raises:
        UserError: the hook fails, or returns no such table, or numbers that are none.
    """
    import pandas as pd

    assert config.finder is not None, "hooks on detections are of tasks that detect"
    if not len(rows):
        return rows
    table = to_frame(rows, classes, boxes=config.finder.objects == "boxes")
    hook = f"{HOOK} of {config.experiment}"
    try:
        changed = getattr(config, HOOK)(table.copy(), **settings)
    except Exception as error:
        raise UserError(f"{hook} fails for case {case_id} ({type(error).__name__}: {error}): correct it") from error
    if not isinstance(changed, pd.DataFrame):
        raise UserError(f"{hook} returns a {type(changed).__name__}: return the table with other rows or values")
    if missing := [name for name in table.columns if name not in changed.columns]:
        raise UserError(f"{hook} returns a table without {missing[0]} for case {case_id}: keep {', '.join(table)}")
    if unknown := sorted({str(name) for name in changed["class"]} - set(classes)):
        raise UserError(f"{hook} gives case {case_id} the class {unknown[0]}: choose of {', '.join(classes)}")
    numbers = changed[[name for name in table.columns if name != "class"]]
    try:
        values = numbers.to_numpy(float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{hook} gives case {case_id} values that are not numbers ({error}): correct it") from None
    for name, column in zip(numbers.columns, values.T, strict=True):
        if not np.isfinite(column).all():
            raise UserError(f"{hook} gives case {case_id} a {name} that is not a finite number: correct it")
    scores, dimensions = values[:, 0], (rows.shape[1] - 3) // 2
    if ((scores < 0) | (scores > 1)).any():
        raise UserError(f"{hook} gives case {case_id} a score outside 0 ... 1: scale or clip it")
    order = [sorted(AXES[dimensions]).index(axis) for axis in AXES[dimensions]]  # columns by name, rows by array axis
    low = values[:, 1 : 1 + dimensions][:, order]
    size = values[:, 1 + dimensions :][:, order] if values.shape[1] > 1 + dimensions else np.zeros_like(low)
    if (size < 0).any():
        raise UserError(f"{hook} gives case {case_id} a box of negative size: correct it")
    numbered = np.array([list(classes).index(name) for name in changed["class"]], float)
    return judge(np.column_stack([numbered, scores, scores, low, low + size]), thresholds, len(classes))


def detections_of(
    decision: Decision, case_id: str, heat: np.ndarray, thresholds: Sequence[int], *, kept: bool | None = None
) -> np.ndarray:
    """Detections of a map (K, *spatial) uint8 after the experiment's hook.

    Args:
        decision: A decision that detects.
        case_id: The case.
        heat: The map.
        thresholds: (K,) smallest values of detections that are kept; empty is one half.
        kept: Leave out those that are not kept; None as the decision says.
    """
    finder = decision.finder
    assert finder is not None, "a decision that detects has a finder"
    rows = find_detections(finder, heat, thresholds)
    if decision.postprocess:
        config, settings = load_task(decision.members[0].spec), decision.postprocess.settings
        rows = run_detection_hook(config, case_id, rows, decision.classes, thresholds, settings)
    return rows[rows[:, 2] > 0] if (finder.kept if kept is None else kept) else rows


def to_frame(rows: np.ndarray, classes: Sequence[str], *, boxes: bool) -> pd.DataFrame:
    """Detections as a hook sees them: class, score, coordinates and, of boxes, sizes; in pixels or voxels.

    Args:
        rows: As :func:`heldout.predict.peaks.find_detections` gives them.
        classes: Names of the classes.
        boxes: Detections have a size.
    """
    import pandas as pd

    low, high = np.split(rows[:, 3:], 2, axis=1)
    axes, sizes = AXES[low.shape[1]], SIZES[low.shape[1]]
    order = sorted(range(len(axes)), key=lambda axis: axes[axis])
    columns: dict[str, Any] = {"class": [classes[int(number)] for number in rows[:, 0]], "score": rows[:, 1]}
    columns |= {axes[axis]: low[:, axis] for axis in order}
    if boxes:
        columns |= {sizes[axis]: (high - low)[:, axis] for axis in order}
    return pd.DataFrame(columns)
