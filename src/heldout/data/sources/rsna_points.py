"""The aneurysms of RSNA 2025 as points to detect: those that radiologists marked in ``train_localizers.csv``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from heldout.data.image import BadFile
from heldout.data.objects import object_rows
from heldout.data.sources.rsna_aneurysm import PRESENT, RsnaAneurysm, identifier

_POINTS = "points:"  # begins the mask text of the index: voxels of the grid that is read, as JSON


class RsnaAneurysmPoints(RsnaAneurysm):
    """A case is a series; its mask is a ball around every point, and its objects are the points, at any location.

    Options: ``radius_mm`` of the balls, and ``inspect`` as in :class:`RsnaAneurysm`.
    """

    kind = "segmentation"
    classes = ("aneurysm",)
    swaps = ()
    defaults: ClassVar[dict[str, Any]] = {"inspect": True, "radius_mm": 4.0}

    def paths(self, text: str) -> list[Any]:
        """Files of a text of the index; none of points."""
        return [] if text.startswith(_POINTS) else super().paths(text)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Draw a ball around every point: (1, X, Y, Z) uint8.

        Raises:
            BadFile: the case is unlabeled, or its points could not be read.
        """
        from heldout.data.readers.dicom import grid_of

        if not row["mask"]:
            raise BadFile(f"case {row['case_id']} has no points that can be placed: leave it out")
        grid = grid_of(self._series(row), gaps="resample")
        mask = np.zeros(self.read_image(row).full_shape, np.uint8)
        for place in self._voxels(row):
            _draw(mask, place, grid.affine[:3, :3], self.options["radius_mm"])
        return mask[None]

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:  # noqa: ARG002 - points are listed
        """The points."""
        return object_rows([(0, place, place) for place in (self._voxels(row) + 0.5).tolist()], 3)

    def _voxels(self, row: Mapping[str, Any]) -> np.ndarray:
        """(n, 3) points as indices of voxels, fractional."""
        return np.array(json.loads(row["mask"].removeprefix(_POINTS)), float).reshape(-1, 3)

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        present = f"y_{identifier(PRESENT)}"
        for row in super()._rows(found):
            kept = {name: value for name, value in row.items() if not name.startswith("y_")}
            if row["split"] != "submit":
                try:
                    kept["mask"] = _POINTS + json.dumps([point.voxel for point in self.localizers(row)])
                except BadFile as error:
                    found.append(str(error))
            yield kept | {"y_aneurysm": row[present]}


def _draw(mask: np.ndarray, place: np.ndarray, steps: np.ndarray, radius: float) -> None:
    """Set what lies within a radius in mm of a point, its own voxel at least."""
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(steps), axis=1)).astype(int) + 1  # also of sheared axes
    own = np.clip(np.rint(place).astype(int), 0, np.array(mask.shape) - 1)
    near = tuple(slice(max(0, at - far), at + far + 1) for at, far in zip(own, reach, strict=True))
    index = np.stack(np.meshgrid(*(np.arange(one.start, one.stop) for one in near), indexing="ij"), -1)
    inside = np.linalg.norm((index - place) @ steps.T, axis=-1) <= radius
    part = mask[near]
    part |= inside[: part.shape[0], : part.shape[1], : part.shape[2]].astype(np.uint8)
    mask[tuple(own)] = 1
