"""Kernels and strides of a 3D U-Net, from the patch and the voxel size, by the rules of nnU-Net.

Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z: an axis is halved while at least four voxels remain
and its voxels are not more than twice as long as those of the finest axis; it is convolved only from the level on
where its voxels are about as long as the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heldout.errors import UserError

Triples = list[tuple[int, int, int]]

SMALLEST = 4


def plan(levels: int, size: Sequence[int] | None, spacing: Sequence[float] | None) -> tuple[Triples, Triples]:
    """Kernels and strides of each level.

    Args:
        levels: Number of levels, the finest included.
        size: Voxels of the training patch (X, Y, Z); None halves every axis at every level.
        spacing: Millimeters per voxel (X, Y, Z); None is isotropic.

    Returns:
        Kernels and strides, one triple per level each; the first stride is 1.

    Raises:
        UserError: the patch is too small for so many levels.

    Example:
        >>> plan(3, (64, 64, 16), (1.0, 1.0, 5.0))
        ([(3, 3, 1), (3, 3, 1), (3, 3, 3)], [(1, 1, 1), (2, 2, 1), (2, 2, 1)])
    """
    lengths = None if size is None else list(size)
    voxel = list(spacing or (1.0, 1.0, 1.0))
    thick = [True] * 3
    kernels: Triples = []
    strides: Triples = [(1, 1, 1)]
    for level in range(levels):
        # one axis may start out of step with the others, but once in step it stays so
        thick = [was and voxel[axis] > 2 * min(voxel) for axis, was in enumerate(thick)]
        kernels.append(_triple(1 if is_thick else 3 for is_thick in thick))
        if level == levels - 1:
            break
        halved = [
            voxel[axis] <= 2 * min(voxel) and (lengths is None or lengths[axis] >= 2 * SMALLEST) for axis in range(3)
        ]
        if not any(halved):
            raise UserError(
                f"filters has {levels} levels, but a patch of {tuple(size or ())} voxels allows {level + 1}: "
                "shorten filters, or enlarge patch_size or image_size"
            )
        strides.append(_triple(2 if half else 1 for half in halved))
        voxel = [length * stride for length, stride in zip(voxel, strides[-1], strict=True)]
        if lengths is not None:
            lengths = [-(-length // stride) for length, stride in zip(lengths, strides[-1], strict=True)]
    return kernels, strides


def _triple(numbers: Iterable[int]) -> tuple[int, int, int]:
    x, y, z = numbers
    return x, y, z
