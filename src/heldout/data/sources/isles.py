"""ISLES 2022: acute stroke in DWI and ADC, masks in ``derivatives``, by the Brain Imaging Data Structure.

``sub-strokecase0001/ses-0001/dwi/*_dwi.nii.gz`` and ``*_adc.nii.gz``, ``.../anat/*_FLAIR.nii.gz``,
``derivatives/sub-strokecase0001/ses-0001/*_msk.nii.gz``; the challenge's own copies lie below ``rawdata``, without
the folders ``dwi`` and ``anat``.

Reference: Hernandez Petzsche et al., ISLES 2022: A multi-center magnetic resonance imaging stroke lesion segmentation
dataset, Scientific Data 9 (2022).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data import readers
from heldout.data.image import BadFile, Image
from heldout.data.sources import as_list
from heldout.data.sources.bids import (
    BidsLesions,
    by_name,
    case_ids,
    masks_of,
    nearest,
    stem_of,
    subject_of,
    suffix_of,
)
from heldout.data.sources.layout import IMAGE_ENDINGS
from heldout.errors import UserError

_MASKS = re.compile(r"(_desc-[A-Za-z]*\d+)?_(msk([-_]?\d+)?|mask[-_]?\d+)")


class Isles(BidsLesions):
    """One lesion class; the channels are DWI and ADC, and with ``flair = True`` the FLAIR on the grid of the DWI.

    The FLAIR was acquired on a grid of its own: it is interpolated linearly, by the affines of both, and 0 outside.
    Several masks of a case, such as ``*_desc-2_msk.nii.gz`` or ``*_mask-2.nii.gz``, are merged.
    """

    caveats = ("Channels are taken to be registered by their affines: nobody moved the FLAIR to fit the DWI.",)
    defaults: ClassVar[dict[str, Any]] = {**BidsLesions.defaults, "flair": False}

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:
        """Read DWI and ADC, which share a grid, and the FLAIR where it is wanted; see :meth:`Source.read_image`."""
        paths = self.paths(row["image"])
        image = super().read_image({**row, "image": as_list(*paths[:2])}, salvage=salvage)
        if len(paths) < 3:
            return image
        flair = readers.open_any(paths[2], dimensions=3)
        if len(flair.array) != 1:
            raise BadFile(f"{paths[2]} holds {len(flair.array)} volumes: a FLAIR is one")
        return Image(np.concatenate([image.array.astype(np.float32), _on_grid_of(image, flair)]), image.affine)

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        volumes = self.image_files(self.root)
        masks = by_name(path for path in volumes if _MASKS.search(stem_of(path)))
        for path, case_id, files in self._sets(self.root, volumes, _scans(volumes, "dwi")):
            lost = next((suffix_of(file) for file in files if not file.is_file()), None)
            if lost:
                found.append(f"{case_id} is left out: {path.relative_to(self.root)} has no {lost.upper()} of its name")
                continue
            own = masks_of(stem_of(path).rpartition("_")[0], _MASKS, masks, path)
            if not own:
                found.append(f"{case_id}: there is no {stem_of(path).rpartition('_')[0]}_msk.nii.gz; it is unlabeled")
            yield self._row(case_id, path, files, own)

    def _files(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Path]:
        yield from super()._files(rows)
        yield from (path for path in self.image_files(self.root) if suffix_of(path) == "flair")

    def _loose_rows(self, folder: Path) -> Iterator[dict[str, Any]]:
        volumes = self.image_files(folder)
        images = _scans(volumes, "dwi")
        known = {_start(path) for path in images}
        images += [path for path in _scans(volumes, "adc") if _start(path) not in known]  # their DWI is missing
        for path, case_id, files in self._sets(folder, volumes, images):
            relative = path.relative_to(folder)
            patient = subject_of(relative) or case_id
            yield {"case_id": case_id, "patient_id": patient, "image": as_list(*files), "name": relative.as_posix()}

    def _sets(self, folder: Path, volumes: list[Path], images: list[Path]) -> Iterator[tuple[Path, str, list[Path]]]:
        """Every image with its case id and the files of the case's channels, missing ones where they should be."""
        if not _scans(images, "dwi"):
            raise UserError(f"{folder} has no *_dwi.nii.gz: unpack ISLES 2022 there, or use source = 'table'")
        kinds = ("dwi", "adc", "flair") if self.options["flair"] else ("dwi", "adc")
        others = {kind: _by_start(path for path in volumes if suffix_of(path) == kind) for kind in kinds}
        rivals = _by_start(images)
        for path, case_id in zip(images, case_ids([path.relative_to(folder) for path in images]), strict=True):
            files = []
            for kind in kinds:
                own = path if suffix_of(path) == kind else nearest(others[kind].get(_start(path), []), path)
                if own is None or nearest(rivals[_start(path)], own) != path:  # that of another folder's namesake
                    own = path.with_name(f"{stem_of(path).rpartition('_')[0]}_{kind}.nii.gz")
                files.append(own)
            yield path, case_id, files

    @property
    def _endings(self) -> tuple[str, ...]:
        return IMAGE_ENDINGS[3]  # pairs have names, which DICOM series lack


def _scans(volumes: Iterable[Path], kind: str) -> list[Path]:
    """Volumes of a kind, those that were made from others left out."""
    return [path for path in volumes if suffix_of(path) == kind and "derivatives" not in path.parts]


def _start(path: Path) -> str:
    """What the files of a set have in common: the name without its last part, in lower case."""
    return stem_of(path).rpartition("_")[0].lower()


def _by_start(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_start(path), []).append(path)
    return found


def _on_grid_of(image: Image, other: Image) -> np.ndarray:
    """Interpolate ``other`` linearly at the voxel centers of ``image``; (1, X, Y, Z) float32."""
    from scipy.ndimage import affine_transform

    if image.affine is None or other.affine is None:
        raise BadFile("a volume has no affine: convert it to NIfTI")
    matrix = np.linalg.inv(other.affine) @ image.affine
    values = other.array[0].astype(np.float32)
    return affine_transform(values, matrix[:3, :3], matrix[:3, 3], image.array.shape[1:], order=1)[None]
