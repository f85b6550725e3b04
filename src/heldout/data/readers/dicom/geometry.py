"""Where a stack of slices lies in the patient, and how it is brought onto an even, upright grid.

DICOM counts positions in LPS (to the left, to the back, to the head); affines here go to RAS, as NIfTI has them.
Reference: PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_PLACE = 0.01  # mm: closer slices are taken to be at one position
EVEN = 0.1  # share of a step by which a slice may be off its place: scanners round positions
WORTH_A_NOTE = 0.01
SIDEWAYS = 0.5  # pixels
STEEPEST = 45.0  # degrees of tilt; gantries reach 30
MOST_FILLED = 4  # times as many slices, or as wide a plane, as there are before resampling
UPRIGHT = 0.1  # degrees
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class SliceGeometry:
    """Geometry of slices in their order.

    Attributes:
        origin: Center of the first pixel of the first slice, mm, LPS.
        axes: Unit directions (2, 3) of increasing column and row, LPS.
        spacing: Distance between rows and between columns, mm.
        step: From one slice to the next (3,), mm, LPS; not along the normal where the gantry was tilted.
        distances: Of every slice from the first, along the normal, mm.
        tilt: Angle between step and normal, degrees.
        off: Largest distance of a slice from its even place, as a share of a step.
        sideways: Largest distance of a slice from the line through first and last, in pixels.
    """

    origin: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    step: np.ndarray
    distances: np.ndarray
    tilt: float
    off: float
    sideways: float

    @property
    def affine(self) -> np.ndarray:
        """Voxel (column, row, slice) to RAS+ mm (4, 4)."""
        affine = np.eye(4)
        columns = [self.axes[0] * self.spacing[1], self.axes[1] * self.spacing[0], self.step]
        affine[:3, :3] = _LPS_TO_RAS @ np.stack(columns, 1)
        affine[:3, 3] = _LPS_TO_RAS @ self.origin
        return affine


def normal_of(axes: np.ndarray) -> np.ndarray:
    """Unit vector (3,) at right angles to the two directions (2, 3)."""
    return np.cross(axes[0], axes[1])


def stack(positions: np.ndarray, axes: np.ndarray, spacing: tuple[float, float], thickness: float) -> SliceGeometry:
    """Geometry of slices that are sorted along the normal.

    Args:
        positions: (n, 3) mm, LPS.
        axes: (2, 3) directions of the first slice.
        spacing: Row and column distance, mm.
        thickness: Step of a single slice, mm.
    """
    normal = normal_of(axes)
    distances = (positions - positions[0]) @ normal
    if len(positions) == 1:
        return SliceGeometry(positions[0], axes, spacing, normal * thickness, distances, 0.0, 0.0, 0.0)
    count = len(positions) - 1
    line = positions[-1] - positions[0]
    step = line / count
    even = np.arange(count + 1) * (distances[-1] / count)
    off = float(abs(distances - even).max() / (distances[-1] / count))
    beside = positions - positions[0] - np.outer(distances / distances[-1], line)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    sideways = float(np.linalg.norm(beside, axis=1).max() / min(spacing))
    return SliceGeometry(positions[0], axes, spacing, step, distances, tilt, off, sideways)


def even_step(distances: np.ndarray) -> float:
    """Usual distance between neighbors, mm: the median, which one gap or one narrow step does not move."""
    return float(np.median(np.diff(distances)))


def describe_steps(distances: np.ndarray) -> str:
    """``4 mm x 13, 1.08 mm x 1``: the distances between neighbors in words."""
    steps, counts = np.unique(np.round(np.diff(distances), 2), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:4]
    return ", ".join(f"{steps[n]:g} mm x {counts[n]}" for n in order)


def filled(geometry: SliceGeometry) -> float:
    """How many times as many slices an even stack would have."""
    return geometry.distances[-1] / even_step(geometry.distances) / len(geometry.distances)


def widened(geometry: SliceGeometry, shape: tuple[int, int, int]) -> float:
    """How many times as wide planes would be after a tilt was corrected; shape in columns, rows and slices."""
    aside = abs(geometry.axes @ geometry.step) / geometry.spacing[::-1] * (len(geometry.distances) - 1)
    return float((1 + aside / shape[:2]).max())


def evened(geometry: SliceGeometry) -> SliceGeometry:
    """The even grid nearest to uneven slices: from the first on at the usual step, as far as they reach."""
    step = even_step(geometry.distances)
    count = int(np.floor(geometry.distances[-1] / step + 1e-3)) + 1
    along = geometry.step / (geometry.step @ normal_of(geometry.axes)) * step
    places = np.arange(count) * step
    return SliceGeometry(geometry.origin, geometry.axes, geometry.spacing, along, places, geometry.tilt, 0.0, 0.0)


def resample_even(array: np.ndarray, geometry: SliceGeometry) -> tuple[np.ndarray, SliceGeometry]:
    """Interpolate linearly between neighboring slices, onto the grid of :func:`evened`.

    Args:
        array: (C, n, rows, columns).
        geometry: Of its slices.

    Returns:
        The new array, of the same type (whole numbers are rounded), and its geometry.
    """
    grid = evened(geometry)
    wanted = np.minimum(grid.distances, geometry.distances[-1])
    after = np.clip(np.searchsorted(geometry.distances, wanted), 1, len(geometry.distances) - 1)
    low, high = geometry.distances[after - 1], geometry.distances[after]
    weights = (wanted - low) / (high - low)
    out = np.empty((array.shape[0], len(wanted), *array.shape[2:]), array.dtype)
    for n, (right, weight) in enumerate(zip(after, weights, strict=True)):
        mixed = array[:, right - 1] * np.float32(1 - weight) + array[:, right] * np.float32(weight)
        out[:, n] = np.rint(mixed) if array.dtype.kind in "iu" else mixed
    return out, grid


def straighten(array: np.ndarray, geometry: SliceGeometry) -> tuple[np.ndarray, SliceGeometry]:
    """Undo the shear of a tilted gantry: move every slice within its plane, so that the step is along the normal.

    The plane grows so that nothing is lost; what no slice covers gets the smallest value of the array.

    Args:
        array: (C, n, rows, columns), evenly spaced.
        geometry: Of its slices.

    Returns:
        The new array, of the same type (whole numbers are rounded), and its geometry.
    """
    from scipy.ndimage import shift

    per_slice = np.array(
        [geometry.step @ geometry.axes[1] / geometry.spacing[0], geometry.step @ geometry.axes[0] / geometry.spacing[1]]
    )  # rows, columns
    moves = np.outer(np.arange(array.shape[1]), per_slice)
    before = np.ceil(np.maximum(-moves.min(0), 0) - 1e-6).astype(int)
    grow = before + np.ceil(np.maximum(moves.max(0), 0) - 1e-6).astype(int)
    rows, columns = array.shape[2:]
    fill = array.min()
    out = np.full((*array.shape[:2], rows + grow[0], columns + grow[1]), fill, array.dtype)
    for channel in range(array.shape[0]):
        for n, move in enumerate(moves):
            wide = np.full(out.shape[2:], fill, np.float32)
            wide[before[0] : before[0] + rows, before[1] : before[1] + columns] = array[channel, n]
            moved = shift(wide, move, order=1, mode="constant", cval=float(fill))
            out[channel, n] = np.rint(moved) if array.dtype.kind in "iu" else moved
    normal = normal_of(geometry.axes)
    back = geometry.axes[1] * geometry.spacing[0] * before[0] + geometry.axes[0] * geometry.spacing[1] * before[1]
    step = normal * (geometry.step @ normal)
    return out, SliceGeometry(
        geometry.origin - back, geometry.axes, geometry.spacing, step, geometry.distances, 0.0, 0.0, 0.0
    )


def orientation_of(affine: np.ndarray) -> str:
    """Where the voxel axes point, such as ``LPS``."""
    from nibabel.orientations import aff2axcodes

    return "".join(aff2axcodes(affine))


def voxel_size(affine: np.ndarray) -> tuple[float, ...]:
    """Length of a step along each voxel axis, mm."""
    return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
