"""Shapes, orientations and voxel sizes of a dataset before and after preparation, and what a patch means for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from heldout.data.geometry import Geometry
from heldout.data.patches import window_starts
from heldout.data.prepare import finished_entries, prepared_folder
from heldout.data.recipe import Recipe
from heldout.errors import UserError
from heldout.metrics.registry import get_metric
from heldout.metrics.surface import right_angled
from heldout.progress import track

if TYPE_CHECKING:
    import pandas as pd

    from heldout.config import BaseConfig
    from heldout.data.dataset import Dataset
    from heldout.data.sources import Source

MOST_WINDOWS = 1000  # of a case, above which a note says so
ACROSS = 4  # times as many windows as with the patch's axes in another order
READ = 3  # cases whose voxel sizes are read

Shape = tuple[int, ...]


def describe_grids(dataset: Dataset, config: BaseConfig) -> list[str]:
    """Lines on the training cases that are prepared: their grids as read, as prepared, and windows a case.

    Raises:
        UserError: a patch lies across them; see :func:`check_patch`.
    """
    folder, train = prepared_folder(dataset.folder, Recipe.of(config)), dataset.part("train")
    geometries = [entry.geometry for entry in finished_entries(folder, train).values()]
    if not geometries:
        return []
    shapes = [geometry.prepared for geometry in geometries]
    check_patch(config, shapes)
    before, after = [ranges([geometry.original for geometry in geometries])], [ranges(shapes)]
    affines = [dataset.read_image(case_id).affine for case_id in train["case_id"][:READ]]
    sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in affines if affine is not None]
    if sizes:
        before += [f"{ranges(sizes)} mm in the first {len(sizes)}", " and ".join(sorted(set(map(_code, geometries))))]
        turned = [size[list(one.axes)] for size, one in zip(sizes, geometries, strict=False)]
        spacing = turned if config.spacing is None else [config.spacing]
        after += ["resized" if config.image_size else f"{ranges(spacing)} mm", "RAS"]
    lines = [f"{len(geometries)} training cases as read: {', '.join(before)}", f"as prepared: {', '.join(after)}"]
    if config.patch_size is not None and len(config.patch_size) == len(shapes[0]):
        counts = [count_windows(shape, config.patch_size, config.overlap) for shape in shapes]
        lines.append(f"windows a case in prediction: {int(np.median(counts))}, at most {max(counts)}")
        if max(counts) > MOST_WINDOWS:
            lines.append(f"so many windows take long: enlarge patch_size = {config.patch_size} or lower overlap")
    return lines


def check_patch(config: BaseConfig, shapes: Sequence[Shape]) -> None:
    """Refuse a patch whose axes are in another order than those of the prepared cases.

    Raises:
        UserError: with the order that fits.
    """
    patch = config.patch_size
    if patch is None or len(patch) != len(shapes[0]):
        return
    shape = tuple(int(length) for length in np.median(np.array(shapes), axis=0))
    if all(map(int.__le__, patch, shape)):
        return
    fitting = [order for order in permutations(patch) if all(map(int.__le__, order, shape))]
    found = count_windows(shape, patch, config.overlap)
    best = min(fitting, key=lambda order: count_windows(shape, order, config.overlap), default=patch)
    fewest = count_windows(shape, best, config.overlap)
    if found >= ACROSS * fewest:
        raise UserError(
            f"patch_size = {patch} lies across prepared cases of {'x'.join(map(str, shape))} voxels (RAS order), which "
            f"makes {found} windows a case instead of {fewest}: set patch_size = {best}"
        )


def check_axes(config: BaseConfig, source: Source, cases: pd.DataFrame) -> None:
    """Refuse sheared volumes where areas of surfaces are to be measured, which is done once cases are predicted.

    Args:
        config: The experiment.
        source: Reads the cases.
        cases: Rows of its index.

    Raises:
        UserError: naming the case, and what can be measured instead.
    """
    asked = [*getattr(config, "mask_details", ()), get_metric(config.metric).detail or ""]
    areas = next((name for name in asked if name.startswith("surface_dice:")), None)
    if areas is None:
        return
    rows = cases[cases["split"] != "submit"].to_dict("records")
    for row in track(rows, len(rows), "Reading axes"):
        axes = source.voxel_axes(row)
        if axes is not None and not right_angled(axes):
            field = "metric" if get_metric(config.metric).detail == areas else "mask_details"
            raise UserError(
                f"{field}: {areas} needs voxels with right angles, and those of case {row['case_id']} are sheared: "
                f"name nsd:{areas.partition(':')[2]} instead, or resample the volumes"
            )


def count_windows(shape: Sequence[int], patch: Sequence[int], overlap: float) -> int:
    """Sliding windows that cover a case, which is padded to the patch.

    Example:
        >>> count_windows((336, 384, 5), (96, 96, 5), 0.5)
        42
    """
    return math.prod(
        len(window_starts(max(length, window), window, overlap)) for length, window in zip(shape, patch, strict=True)
    )


def ranges(values: Sequence[Sequence[float]] | Sequence[np.ndarray]) -> str:
    """Smallest and largest value along each axis.

    Example:
        >>> ranges([(64, 64, 5), (64, 80, 7)])
        '64 x 64-80 x 5-7'
    """
    table = np.array(values, dtype=float)
    pairs = zip(table.min(axis=0), table.max(axis=0), strict=True)
    return " x ".join(f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}" for low, high in pairs)


def _code(geometry: Geometry) -> str:
    """Where the axes of the file point to, as ``LPS``."""
    letters = [""] * len(geometry.axes)
    for axis, (source, flip) in enumerate(zip(geometry.axes, geometry.flips, strict=True)):
        letters[source] = ("RL", "AP", "SI")[axis][flip]
    return "".join(letters)
