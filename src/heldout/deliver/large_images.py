"""Large images predicted tile by tile: overlapping tiles are blended in a band, and masks leave it as run lengths."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.blend.apply import OpenDecision, mask_of
from heldout.data.image import Image
from heldout.data.readers.regions import open_large
from heldout.data.rle_bands import RunWriter
from heldout.data.sources import Source
from heldout.data.sources.layout import image_paths
from heldout.errors import UserError
from heldout.predict.windows import MIN_WEIGHT, SIGMA

MASKS = "masks.csv"


class BandBlender:
    """Weighted mean of tiles that overlap, of as many rows as a tile has.

    Args:
        width: Columns of the whole image.
        channels: Values per pixel.
        height: Rows of the tallest tile.
    """

    def __init__(self, width: int, channels: int, height: int) -> None:
        self._total = np.zeros((channels, height, width), np.float32)
        self._weight = np.zeros((height, width), np.float32)
        self._top = 0

    def add(self, values: np.ndarray, row: int, column: int) -> None:
        """Add a tile (K, h, w), whose rows are not yet given out."""
        height, width = values.shape[1:]
        weight = tile_weights(height, width)
        rows, columns = slice(row - self._top, row - self._top + height), slice(column, column + width)
        self._total[:, rows, columns] += values * weight
        self._weight[rows, columns] += weight

    def rows_before(self, row: int) -> Iterator[tuple[int, np.ndarray]]:
        """First row and values (K, h, W) uint8 of what no later tile reaches, where the next one begins at ``row``."""
        count = min(row - self._top, len(self._weight))
        if count <= 0:
            return
        mean = self._total[:, :count] / np.maximum(self._weight[:count], 1e-12)
        yield self._top, np.rint(mean).astype(np.uint8)
        for buffer in (self._total, self._weight):
            left = buffer.shape[-2] - count
            buffer[..., :left, :] = buffer[..., count:, :].copy()
            buffer[..., left:, :] = 0
        self._top = row


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

    Memory is that of a band of tiles, and of the runs, whatever the size of the image.

    Args:
        opened: A verified decision.
        source: The layout, whose ``loose`` listed the tiles.
        rows: Tiles by case id, those of an image one after another and row by row.
        output: Folder to write to.

    Returns:
        Scores of every image, by its name: the highest of its tiles.

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
    text, scores = io.StringIO(), {}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "class", "rle"])
    for name, group in groupby(rows.values(), key=lambda row: row["name"]):
        tiles = list(group)
        path = Path(image_paths(tiles[0]["image"])[0].rpartition("#")[0])
        shape = open_large(path).levels[0]
        writers = [RunWriter(shape, source.rle) for _ in decision.classes]
        blender = BandBlender(shape[1], len(decision.classes), max(row["box"][2] for row in tiles))

        def images(tiles: list[Mapping[str, Any]] = tiles) -> Iterator[tuple[str, Image]]:
            for row in tiles:
                yield row["case_id"], source.read_image(row)

        best = np.zeros(len(decision.classes))
        for row, result in zip(tiles, opened.predict(images()), strict=True):
            assert result.map is not None, "a segmentation gives a map"
            top, left, *_ = row["box"]
            _write(opened, writers, blender.rows_before(top))
            blender.add(result.map.astype(np.float32), top, left)
            best = np.maximum(best, result.scores)
        _write(opened, writers, blender.rows_before(shape[0]))
        scores[name] = best
        for label, one in zip(decision.classes, writers, strict=True):
            writer.writerow([name, label, one.text()])
    files.write_text(output / MASKS, text.getvalue())
    return scores


def _write(opened: OpenDecision, writers: list[RunWriter], bands: Iterator[tuple[int, np.ndarray]]) -> None:
    for row, band in bands:
        mask = mask_of(opened.decision, band)
        for number, writer in enumerate(writers):
            writer.add(mask[number] if len(mask) > 1 else mask[0] == number + 1, row)
