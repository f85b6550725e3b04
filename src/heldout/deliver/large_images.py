"""Large images predicted tile by tile: overlapping tiles are blended in a band, and masks leave it as run lengths."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.blend.apply import Blended, OpenDecision, mask_of
from heldout.data.readers.regions import open_large
from heldout.data.rle import RunLengths
from heldout.data.rle_bands import RunWriter
from heldout.data.sources import Source
from heldout.data.sources.layout import image_paths
from heldout.errors import UserError
from heldout.predict.windows import MIN_WEIGHT, SIGMA

MASKS = "masks.csv"
_BLENDED = 2**21  # pixels that are blended at a time


class BandBlender:
    """Weighted mean of tiles that overlap; held are the tiles that rows to come need, as they were given.

    Args:
        width: Columns of the whole image.
    """

    def __init__(self, width: int) -> None:
        self._width, self._top = width, 0
        self._tiles: list[_Tile] = []

    def add(self, values: np.ndarray, row: int, column: int) -> None:
        """Add a tile (K, h, w), whose rows are not yet given out."""
        self._tiles.append(_Tile(row, column, values.shape[1], values))

    def rows_before(self, row: int) -> Iterator[tuple[int, np.ndarray]]:
        """First row and values (K, h, W) uint8 of what no later tile reaches, where the next one begins at ``row``."""
        step = max(1, _BLENDED // self._width)
        for top in range(self._top, row, step):
            yield top, self._mean(top, min(top + step, row))
        self._tiles = [tile.below(row) for tile in self._tiles if tile.row + tile.height > row]
        self._top = row

    def _mean(self, top: int, bottom: int) -> np.ndarray:
        total = np.zeros((len(self._tiles[0].values), bottom - top, self._width), np.float32)
        weights = np.zeros(total.shape[1:], np.float32)
        for tile in self._tiles:
            first, last = max(top, tile.row), min(bottom, tile.row + tile.height)
            if first >= last:
                continue
            values = tile.values[:, first - tile.held_from : last - tile.held_from]
            weight = tile_weights(tile.height, values.shape[2])[first - tile.row : last - tile.row]
            place = slice(first - top, last - top), slice(tile.column, tile.column + values.shape[2])
            total[:, *place] += values.astype(np.float32) * weight
            weights[place] += weight
        return np.rint(total / np.maximum(weights, 1e-12)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile and where it lies; of ``height`` rows from ``row`` on, ``values`` (K, h, w) holds the last ones."""

    row: int
    column: int
    height: int
    values: np.ndarray

    @property
    def held_from(self) -> int:
        return self.row + self.height - self.values.shape[1]

    def below(self, row: int) -> _Tile:
        """The tile without the rows above ``row``."""
        return replace(self, values=self.values[:, max(0, row - self.held_from) :].copy())


@functools.lru_cache(maxsize=1)  # tiles of an image are alike
def tile_weights(height: int, width: int) -> np.ndarray:
    """Weights (h, w) of a tile's pixels: a Gaussian about its center, as of sliding windows."""
    sides = []
    for length in (height, width):
        x = np.arange(length, dtype=np.float32) - (length - 1) / 2
        sides.append(np.exp(-(x**2) / (2 * (length * SIGMA) ** 2)))
    weight = np.outer(*sides)
    return np.maximum(weight, max(float(weight.min()), MIN_WEIGHT)).astype(np.float32)


def predict_large_images(
    opened: OpenDecision, source: Source, rows: Mapping[str, Mapping[str, Any]], output: Path
) -> dict[str, np.ndarray]:
    """Predict images tile by tile, and write ``masks.csv``: name, class and run lengths.

    Args:
        opened: A verified decision.
        source: The layout, whose ``loose`` listed the tiles.
        rows: As for :func:`large_images`.
        output: Folder to write to.

    Returns:
        Scores of every image, by its name.

    Raises:
        UserError: as :func:`large_images`.
    """
    scores = {}
    with files.atomic(output / MASKS, "w") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["name", "class", "rle"])
        for one in large_images(opened, source, rows.values(), source.rle):
            scores[one.case_id] = one.scores
            writer.writerows([one.case_id, label, text] for label, text in (one.runs or {}).items())
    return scores


def large_images(
    opened: OpenDecision, source: Source, tiles: Iterable[Mapping[str, Any]], runs: RunLengths
) -> Iterator[Blended]:
    """Predict images tile by tile; memory is that of a band of tiles, and of the runs, whatever the size of the image.

    Args:
        opened: A verified decision.
        source: Reads the tiles.
        tiles: Rows with ``name`` and ``box``, those of an image one after another and row by row.
        runs: How run lengths count pixels.

    Yields:
        Of every image, by its name, the highest scores of its tiles, and the run lengths of its masks.

    Raises:
        UserError: the decision changes masks by what lies beyond a band.
    """
    decision = opened.decision
    if decision.kind != "segmentation":
        raise UserError(f"{decision.name} classifies: large images are predicted by decisions of segmentations")
    if any(one.fill or one.min_size or one.high > one.low for one in (decision.spatial or {}).values()):
        raise UserError(
            f"{decision.name} filters whole components, which may be larger than a band: blend without --spatial"
        )
    if decision.postprocess:
        raise UserError(
            f"{decision.name} post-processes whole masks, which are never in memory: blend without the hook"
        )
    for name, group in groupby(tiles, key=lambda row: row["name"]):
        yield _predict_image(opened, source, name, list(group), runs)


def _predict_image(
    opened: OpenDecision, source: Source, name: str, tiles: list[Mapping[str, Any]], runs: RunLengths
) -> Blended:
    classes, path = opened.decision.classes, Path(image_paths(tiles[0]["image"])[0].rpartition("#")[0])
    shape = open_large(path).levels[0]
    writers, blender = [RunWriter(shape, runs) for _ in classes], BandBlender(shape[1])
    best = np.zeros(len(classes))
    images = ((row["case_id"], source.read_image(row)) for row in tiles)
    for row, result in zip(tiles, opened.predict(images), strict=True):
        assert result.map is not None, "a segmentation gives a map"
        top, left, *_ = row["box"]
        _write(opened, writers, blender.rows_before(top))
        blender.add(result.map, top, left)
        best = np.maximum(best, result.scores)
    _write(opened, writers, blender.rows_before(shape[0]))
    texts = {label: one.text() for label, one in zip(classes, writers, strict=True)}
    return Blended(name, best, None, None, runs=texts)


def _write(opened: OpenDecision, writers: list[RunWriter], bands: Iterator[tuple[int, np.ndarray]]) -> None:
    for row, band in bands:
        mask = mask_of(opened.decision, band)
        for number, writer in enumerate(writers):
            writer.add(mask[number] if len(mask) > 1 else mask[0] == number + 1, row)
