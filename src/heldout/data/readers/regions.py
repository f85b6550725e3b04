"""Large images, such as slides: read by region, never as a whole.

Regions come through tifffile and zarr, which decode only the tiles or strips that a region meets.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heldout.data.image import BadFile

OPEN_FILES = 8  # images that stay open in a process


@dataclass(frozen=True, eq=False)
class LargeImage:
    """A TIFF of any size, in one or several resolutions.

    Attributes:
        path: The file.
        levels: (H, W) of each resolution, the finest first.
        channels: 1 or 3.
    """

    path: Path
    levels: tuple[tuple[int, int], ...]
    channels: int
    _arrays: tuple[Any, ...] = field(repr=False, default=())

    def read(self, row: int, column: int, height: int, width: int, level: int = 0) -> np.ndarray:
        """A region (C, height, width) of a level, cut at the image's borders.

        Raises:
            BadFile: the file is damaged there.
        """
        try:
            part = self._arrays[level][row : row + height, column : column + width]
        except Exception as error:
            where = f"rows {row} to {row + height}, columns {column} to {column + width}"
            raise BadFile(f"{self.path} cannot be decoded at {where} ({error}): restore it from its source") from None
        part = np.asarray(part)
        return part[None] if part.ndim == 2 else np.ascontiguousarray(part[..., :3].transpose(2, 0, 1))


@functools.lru_cache(maxsize=OPEN_FILES)
def open_large(path: Path) -> LargeImage:
    """Open a large image; only its directory is read.

    Raises:
        BadFile: it is missing, is not a TIFF with one image of integers, or the packages to read it are missing.
    """
    try:
        import tifffile
        import zarr
    except ImportError:
        raise BadFile(f"{path} is read by region, which needs tifffile and zarr: pip install heldout[large]") from None
    try:
        series = tifffile.TiffFile(path).series[0]
        levels = [level for level in series.levels if level.ndim == 2 or (level.ndim == 3 and level.shape[2] in (3, 4))]
        if not levels or not np.issubdtype(series.dtype, np.integer):
            raise BadFile(
                f"{path} has shape {series.shape} of {series.dtype}: store it as (rows, columns) or (rows, columns, 3) "
                f"of integers"
            )
        places = [number for number, level in enumerate(series.levels) if level in levels]
        arrays = tuple(zarr.open(series.aszarr(level=number), mode="r") for number in places)
    except BadFile:
        raise
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: restore it") from None
    except Exception as error:
        raise BadFile(f"{path} cannot be opened as a TIFF ({error}): restore it from its source") from None
    shapes = tuple((int(level.shape[0]), int(level.shape[1])) for level in levels)
    return LargeImage(Path(path), shapes, 1 if levels[0].ndim == 2 else 3, arrays)
