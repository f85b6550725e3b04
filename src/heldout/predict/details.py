"""What is measured of every case's mask besides voxel counts, where an experiment asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics.lesion import LESION_COLUMNS, class_masks, count_lesions
from heldout.metrics.registry import get_metric
from heldout.metrics.surface import SURFACE_COLUMNS, surface_dice, surface_distances
from heldout.metrics.tables import TOLERANT_COLUMNS

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset
    from heldout.tasks import Task

# Beginnings of all columns of a table of predictions that come from masks.
MASK_COLUMNS = (
    *(f"{kind}_" for kind in ("tp", "fp", "fn", *LESION_COLUMNS, *SURFACE_COLUMNS)),
    *TOLERANT_COLUMNS,
    "voxel_mm3",
)

Details = Callable[[str, np.ndarray, np.ndarray], dict[str, float]]


def mask_details(config: Task, dataset: Dataset) -> Details | None:
    """What to measure of every mask: what ``mask_details`` names, and what the metric needs.

    Args:
        config: The experiment.
        dataset: Its checked dataset, which knows the size of a case's voxels.

    Returns:
        A function of a case id, its predicted and its true mask (M, *spatial) that gives further columns of the table:
        ``lesions_``, ``found_``, ``regions_`` and ``false_<class>``, see :func:`heldout.metrics.lesion.count_lesions`;
        ``hd95_`` and ``assd_<class>`` in mm, in pixels where a picture has no voxel size; ``nsd:2_<class>``;
        ``voxel_mm3``. None where nothing is asked for.
    """
    asked = {*getattr(config, "mask_details", ()), get_metric(config.metric).detail} - {None}
    if not asked:
        return None
    classes, tolerant = dataset.classes, sorted(name for name in asked if name.startswith(TOLERANT_COLUMNS))

    def measure(case_id: str, mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        pairs = list(zip(classes, class_masks(mask, len(classes)), class_masks(truth, len(classes)), strict=True))
        found: dict[str, float] = {}
        if "lesions" in asked:
            for name, pred, true in pairs:
                counts = count_lesions(pred, true)
                found |= {f"{kind}_{name}": int(n) for kind, n in zip(LESION_COLUMNS, counts, strict=True)}
        axes = dataset.source.voxel_axes(dataset.row(case_id)) if tolerant or asked & {"surface", "volume"} else None
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
