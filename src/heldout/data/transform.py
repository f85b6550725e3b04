"""From a raw image to the array a network reads: the settings that decide, and the steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from heldout import files
from heldout.config.legacy import EARLIER_FIELDS, FIELDS
from heldout.data import geometry as grid
from heldout.data.geometry import Geometry
from heldout.data.guide import Guide
from heldout.data.image import BadFile, Image
from heldout.data.normalise import convert_channels, normalize, pack

if TYPE_CHECKING:
    from heldout.config import BaseConfig

VERSION = 1  # of the stored arrays: raise it when the same settings give other numbers


@dataclass(frozen=True)
class Recipe:
    """The settings of an experiment that decide about prepared arrays, under the names of its fields."""

    channels: int
    spacing: tuple[float, float, float] | None
    crop: str
    image_size: tuple[int, ...] | None
    resize: str
    normalize: str
    percentiles: tuple[float, float]
    window: tuple[float, float]
    windows: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, config: BaseConfig) -> Self:
        """Take the settings from an experiment."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    def digest(self) -> str:
        """Hash that names the folder of prepared arrays."""
        return files.sha256_json({"version": VERSION, **self.to_dict()})[:8]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by the names that prepared arrays have always carried, so that earlier digests hold.

        These are the fields' earlier names, without ``windows`` where there are none.
        """
        values = {EARLIER_FIELDS.get(name, name): value for name, value in asdict(self).items()}
        return values if self.windows else {name: value for name, value in values.items() if name != "windows"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Undo :meth:`to_dict`; JSON made lists of the tuples."""
        return cls(**{FIELDS.get(name, name): _as_tuple(value) for name, value in values.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def prepare_image(image: Image, config: BaseConfig | Recipe, guide: Guide | None = None) -> tuple[np.ndarray, Geometry]:
    """Orient to RAS, crop, resample, fit into ``image_size`` and normalize, as the experiment says.

    Args:
        image: (C, *S) as its file holds it.
        config: Preparation settings.
        guide: A first stage's map of the case, to crop by or to add as channels.

    Returns:
        (channels, *prepared), a guide's channels last: uint8 for images, float16 for volumes and z-scores, see
        :func:`to_float`; and the geometry that leads back.

    Raises:
        BadFile: the image does not fit the settings.
    """
    array, dimensions = image.array, image.array.ndim - 1
    for name in ("image_size", "spacing"):
        wanted = getattr(config, name)
        if wanted is not None and len(wanted) != dimensions and (name == "image_size" or dimensions == 3):
            raise BadFile(f"the image has {dimensions} spatial axes, {name} = {wanted} has {len(wanted)}: change it")
    axes, flips = grid.orientation(image.affine, dimensions)
    oriented = grid.orient(array, axes, flips)
    start, cropped = (0,) * dimensions, oriented.shape[1:]
    if config.crop == "nonzero":
        start, cropped = grid.nonzero_box(oriented)
    if guide is not None and guide.use == "crop":
        start, cropped = guide.box(image, axes, flips)
    shape = cropped
    if config.spacing is not None and dimensions == 3:
        if image.affine is None:
            raise BadFile("the volume has no voxel size, so spacing cannot be met: set spacing = None")
        voxel_size = np.linalg.norm(image.affine[:3, :3], axis=0)[list(axes)]
        shape = grid.spaced_shape(cropped, voxel_size, config.spacing)
    resized, offset, prepared = grid.fit(shape, config.image_size, config.resize)
    lost = image.lost or ((0, 0),) * dimensions
    geometry = Geometry(
        original=image.full_shape,
        content_start=tuple(before for before, _ in lost),
        content=array.shape[1:],
        axes=axes,
        flips=flips,
        start=start,
        cropped=cropped,
        resized=resized,
        offset=offset,
        prepared=prepared,
    )
    if config.windows and len(array) > 1:
        raise BadFile(f"the image has {len(array)} channels, windows make channels of a single one: set windows = ()")
    converted = convert_channels(grid.crop(array, geometry), 1 if config.windows else config.channels)
    if converted is None:
        raise BadFile(f"the image has {len(array)} channels, channels = {config.channels} is wanted: change the field")
    scaled = normalize(grid.resample_linear(converted, resized), array.dtype, config)
    lowest = scaled.reshape(len(scaled), -1).min(1) if config.normalize == "zscore" else 0
    packed = pack(grid.pad(scaled, geometry, lowest), config)
    if guide is not None and guide.use == "channel":
        packed = np.concatenate([packed, guide.channels(image, geometry, packed.dtype)])
    return packed, geometry
