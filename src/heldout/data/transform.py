"""From a raw image to the array a network reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.data import geometry as grid
from heldout.data.first_stage import FirstStageMap
from heldout.data.geometry import Geometry
from heldout.data.image import BadFile, Image
from heldout.data.normalize import convert_channels, normalize, pack
from heldout.data.recipe import Recipe

if TYPE_CHECKING:
    from heldout.config import BaseConfig


def prepare_image(
    image: Image, config: BaseConfig | Recipe, first_map: FirstStageMap | None = None
) -> tuple[np.ndarray, Geometry]:
    """Orient to RAS, crop, resample, fit into ``image_size`` and normalize, as the experiment says.

    Args:
        image: (C, *S) as its file holds it.
        config: Preparation settings, or the experiment that holds them.
        first_map: A first stage's map of the case, to crop by or to add as channels.

    Returns:
        (channels, *prepared), those of the first stage's map last: uint8 for images, float16 for volumes and z-scores,
        see :func:`to_float`; and the geometry that leads back.

    Raises:
        BadFile: the image does not fit the settings.
    """
    recipe = config if isinstance(config, Recipe) else Recipe.of(config)
    array, dimensions = image.array, image.array.ndim - 1
    for name in ("image_size", "spacing"):
        wanted = getattr(recipe, name)
        if wanted is not None and len(wanted) != dimensions and (name == "image_size" or dimensions == 3):
            raise BadFile(f"the image has {dimensions} spatial axes, {name} = {wanted} has {len(wanted)}: change it")
    axes, flips = grid.orientation(image.affine, dimensions)
    oriented = grid.orient(array, axes, flips)
    start, cropped = (0,) * dimensions, oriented.shape[1:]
    if recipe.crop == "nonzero":
        start, cropped = grid.nonzero_box(oriented)
    if first_map is not None and first_map.use == "crop":
        start, cropped = first_map.box(image, axes, flips)
    shape = cropped
    if recipe.spacing is not None and dimensions == 3:
        if image.affine is None:
            raise BadFile("the volume has no voxel size, so spacing cannot be met: set spacing = None")
        voxel_size = np.linalg.norm(image.affine[:3, :3], axis=0)[list(axes)]
        shape = grid.spaced_shape(cropped, voxel_size, recipe.spacing)
    resized, offset, prepared = grid.fit(shape, recipe.image_size, recipe.resize)
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
    if recipe.windows and len(array) > 1:
        raise BadFile(f"the image has {len(array)} channels, windows make channels of a single one: set windows = ()")
    converted = convert_channels(grid.crop(array, geometry), 1 if recipe.windows else recipe.channels)
    if converted is None:
        raise BadFile(f"the image has {len(array)} channels, channels = {recipe.channels} is wanted: change the field")
    scaled = normalize(grid.resample_linear(converted, resized), array.dtype, recipe)
    lowest = scaled.reshape(len(scaled), -1).min(1) if recipe.normalize == "zscore" else 0
    packed = pack(grid.pad(scaled, geometry, lowest), recipe)
    if first_map is not None and first_map.use == "channel":
        packed = np.concatenate([packed, first_map.channels(image, geometry, packed.dtype)])
    return packed, geometry
