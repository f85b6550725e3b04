"""What is measured of every case's mask besides voxel counts, where an experiment asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from heldout.metrics.lesion import LESION_COLUMNS, class_masks, count_lesions
from heldout.metrics.registry import get_metric
from heldout.metrics.surface import SURFACE_COLUMNS, right_angled, surface_dice, surface_distances
from heldout.metrics.tables import TOLERANT_COLUMNS, rows_to_text
from heldout.predict.peaks import find_detections

if TYPE_CHECKING:
    from heldout.data.sources import Source
    from heldout.tasks import Task
    from heldout.tasks.finder import Finder

# Beginnings of all columns of a table of predictions that come from masks.
MASK_COLUMNS = (
    *(f"{kind}_" for kind in ("tp", "fp", "fn", *LESION_COLUMNS, *SURFACE_COLUMNS)),
    *TOLERANT_COLUMNS,
    "voxel_mm3",
    "detections",
    "objects",
)


class Details(Protocol):
    """From a case id, its predicted and its true mask, its map and perhaps its detections to further columns."""

    def __call__(
        self, case_id: str, mask: np.ndarray, truth: np.ndarray, heat: np.ndarray, detections: np.ndarray | None = None
    ) -> dict[str, float | str]:
        """Measure a case."""


Row = Callable[[str], Mapping[str, Any]]


def mask_details(config: Task, source: Source, row: Row) -> Details | None:
    """What to measure of every mask: what ``mask_details`` names, what the metric needs, and detections.

    Args:
        config: The experiment.
        source: Reads the cases, and knows the size of their voxels and their objects.
        row: From a case id to its row of the index, with its mask.

    Returns:
        A function of a case id, its predicted and its true mask (M, *spatial), its map (K, *spatial) and its detections
        in voxels, None for those of the map at one half, that gives further columns of the table:
        ``lesions_``, ``found_``, ``regions_`` and ``false_<class>``, see :func:`heldout.metrics.lesion.count_lesions`;
        ``hd95_`` and ``assd_<class>`` in mm, in pixels where an image has no voxel size; ``nsd:2_<class>``;
        ``voxel_mm3``; ``detections`` and ``objects``, see :mod:`heldout.metrics.detection`. None where nothing is asked
        for.
    """
    asked = {*getattr(config, "mask_details", ()), get_metric(config.metric).detail} - {None}
    finder = config.finder
    if not asked and finder is None:
        return None
    classes, tolerant = source.classes, sorted(name for name in asked if name.startswith(TOLERANT_COLUMNS))

    def measure(
        case_id: str, mask: np.ndarray, truth: np.ndarray, heat: np.ndarray, detections: np.ndarray | None = None
    ) -> dict[str, float | str]:
        pairs = list(zip(classes, class_masks(mask, len(classes)), class_masks(truth, len(classes)), strict=True))
        found: dict[str, float | str] = {}
        if finder is not None:
            objects, steps = true_objects(source, row(case_id), truth, finder)
            rows = find_detections(finder, heat) if detections is None else detections
            found |= {"detections": detections_text(rows, steps), "objects": objects}
        if "lesions" in asked:
            for name, pred, true in pairs:
                counts = count_lesions(pred, true)
                found |= {f"{kind}_{name}": int(n) for kind, n in zip(LESION_COLUMNS, counts, strict=True)}
        axes = source.voxel_axes(row(case_id)) if tolerant or asked & {"surface", "volume"} else None
        if "surface" in asked:
            spacing = np.ones(mask.ndim - 1) if axes is None else axes[:, : mask.ndim - 1]
            for name, pred, true in pairs:
                distances = surface_distances(pred, true, spacing)
                found |= {f"{kind}_{name}": float(mm) for kind, mm in zip(SURFACE_COLUMNS, distances, strict=True)}
        for name in tolerant:
            kind, _, tolerance = name.partition(":")
            spacing = np.ones(mask.ndim - 1) if axes is None else axes[:, : mask.ndim - 1]
            for label, pred, true in pairs:
                value = surface_dice(pred, true, spacing, float(tolerance), by_area=kind == "surface_dice")
                found[f"{name}_{label}"] = value
        if "volume" in asked and axes is not None:
            found["voxel_mm3"] = abs(float(np.linalg.det(axes)))
        return found

    return measure


def true_objects(source: Source, row: Mapping[str, Any], truth: np.ndarray, finder: Finder) -> tuple[str, np.ndarray]:
    """The text of a case's objects, in mm where its file has a voxel size, and the steps along its axes (D, D).

    Args:
        source: Reads the case.
        row: Its row of the index.
        truth: Its true mask (M, *spatial).
        finder: Points in sheared voxels are placed at their true distances; boxes stay upright, as their IoU is the
            same in any frame.
    """
    axes, objects, dimensions = source.voxel_axes(row), source.objects(row, truth), truth.ndim - 1
    if axes is None:
        steps = np.eye(dimensions)
    elif finder.objects == "points" and not right_angled(axes[:, :dimensions]):
        upper = np.linalg.qr(axes[:, :dimensions])[1]
        steps = upper * np.sign(np.diag(upper))[:, None]
    else:
        steps = np.diag(np.linalg.norm(axes, axis=0)[:dimensions])
    return rows_to_text(np.concatenate([objects[:, :1], _in_mm(objects[:, 1:], steps)], 1)), steps


def detections_text(detections: np.ndarray, steps: np.ndarray) -> str:
    """The text of detections, as :func:`heldout.predict.peaks.find_detections` gives them, by the steps of voxels."""
    return rows_to_text(np.concatenate([detections[:, :3], _in_mm(detections[:, 3:], steps)], 1))


def _in_mm(corners: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Corners of boxes (n, 2 D) in mm: the centers where the steps lead, the sides as long as they are."""
    lengths = np.linalg.norm(steps, axis=0)
    centers = corners.reshape(-1, 2, len(steps)).mean(axis=1)
    return corners * np.tile(lengths, 2) + np.tile(centers @ (steps - np.diag(lengths)).T, 2)
