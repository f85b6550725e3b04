"""BraTS volumes as axial slices: ``<id>_{flair,t1,t1ce,t2,seg}.nii.gz``, each slice with brain is a case.

Reference: Menze et al., The multimodal brain tumor image segmentation benchmark (BRATS), IEEE Transactions on Medical
Imaging 34 (2015).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data import geometry, readers
from heldout.data.image import BadFile, Image, file_state
from heldout.data.sources import Source, as_list, unique_ids
from heldout.data.sources.bids import stem_of
from heldout.data.sources.layout import IMAGE_ENDINGS, in_natural_order, visible_files
from heldout.errors import UserError

MODALITIES = ("flair", "t1", "t1ce", "t2")
LEAST_BRAIN = 0.01  # share of a slice's pixels: the few voxels at the top of a head are not an image
# Which of the label values 1 (necrosis and core), 2 (oedema) and 4 (enhancing) make each class.
_TARGETS: dict[str, dict[str, tuple[int, ...]]] = {
    "whole": {"tumor": (1, 2, 4)},
    "regions": {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)},
    "labels": {"core": (1,), "oedema": (2,), "enhancing": (4,)},
}
_LABELS = (0, 1, 2, 4)
_HELD = 5  # volumes kept in memory by each process: those of one patient


class BratsSlices(Source):
    """Slices as radiologists see them: front at the top, the patient's right on the left.

    A patient's slices stay together. A volume is decoded once for all of its slices.

    Options: ``target`` is ``whole`` (one class, ``tumor``), ``regions`` (whole, core, enhancing: they overlap) or
    ``labels`` (core, oedema, enhancing: they exclude each other); ``modalities`` names the channels; ``empty_share`` is
    the share of the slices without tumor that are kept, drawn by a hash of their names. What is left out is neither
    trained on nor scored, so that scores of presence and of false alarms are of the slices that are left.
    """

    defaults: ClassVar[dict[str, Any]] = {"target": "whole", "modalities": ",".join(MODALITIES), "empty_share": 1.0}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"target": tuple(_TARGETS)}
    caveats = (
        "Every patient has a tumor, only slices are negative: presence scores say nothing about healthy people.",
        "BraTS has patients of the TCGA collections: lgg-mri-segmentation holds some of the same people (TCGA-DU-7294, "
        "TCGA-FG-6692 and others), so neither dataset can test a model trained on the other.",
    )

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.modalities = tuple(name.strip() for name in self.options["modalities"].split(","))
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown or len(set(self.modalities)) < len(self.modalities):
            raise UserError(
                f"source_options modalities = {self.options['modalities']!r}: name some of {', '.join(MODALITIES)} once"
            )
        if not 0 <= self.options["empty_share"] <= 1:
            raise UserError(f"source_options empty_share = {self.options['empty_share']}: choose 0 ... 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the target."""
        return tuple(_TARGETS[self.options["target"]])

    @property
    def exclusive(self) -> bool:
        """Regions overlap, labels do not."""
        return bool(self.options["target"] != "regions")

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:  # noqa: ARG002 - volumes are whole
        """Read a slice, one channel per modality; see :meth:`Source.read_image`."""
        slices = [_slice(path) for path in self.paths(row["image"])]
        if len({array.shape for array in slices}) > 1:
            raise BadFile(f"case {row['case_id']}: its modalities differ in shape: register and resample them")
        return Image(np.stack(slices))

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a slice's mask, one label map or overlapping regions; unknown labels become 255."""
        if not row["mask"]:
            raise BadFile(f"case {row['case_id']} has no mask: add its file, or leave the case out")
        mask, number = _split(self.paths(row["mask"])[0])
        labels = _at(_volume_like(mask, _split(self.paths(row["image"])[0])[0]), mask, number)
        known, target = np.isin(labels, _LABELS), _TARGETS[self.options["target"]]
        masks = [np.where(known, np.isin(labels, values), 255).astype(np.uint8) for values in target.values()]
        if not self.exclusive:
            return np.stack(masks)
        return np.max([np.where(mask == 1, value, mask) for value, mask in enumerate(masks, start=1)], axis=0)[None]

    def voxel_axes(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """Steps down, across and through a slice in mm, as columns."""
        path, _ = _split(self.paths(row["image"])[0])
        affine = readers.header_affine(path)
        assert affine is not None, "slices are cut from volumes"
        axes, _ = geometry.orientation(affine, 3)
        right, front, top = axes
        return affine[:3, [front, right, top]]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        for patient, files in self._patients(self.root):
            lost = [path.name for path in files if not path.is_file()]
            if lost:
                found.append(f"{patient} is left out: {lost[0]} is missing beside {_present(files).name}")
                continue
            relative = [path.relative_to(self.root).as_posix() for path in files]
            mask = files[0].with_name(files[0].name.replace(f"_{self.modalities[0]}.nii", "_seg.nii"))
            labeled = mask.is_file()
            if not labeled:
                found.append(f"{patient} has no {mask.name}: its slices are unlabeled")
            labels, numbers = _labels_and_slices(files[0], mask if labeled else None)
            dropped = 0
            for number in numbers:
                case_id = f"{patient}_{number:03d}"
                empty = labels is not None and not labels[..., number].any()
                if empty and not self._is_kept(case_id):
                    dropped += 1
                    continue
                yield {
                    "case_id": case_id,
                    "patient_id": patient,
                    "image": as_list(*(f"{name}#{number}" for name in relative)),
                    "mask": as_list(f"{mask.relative_to(self.root).as_posix()}#{number}") if labeled else "",
                    "split": "" if labeled else "submit",
                }
            if dropped:
                found.append(f"{patient}: {dropped} slices without tumor are left out, as empty_share asks")

    def _files(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Path]:
        for volume in set(super()._files(rows)):
            stem, ending = volume.name.rsplit("_", 1)[0], volume.name[len(stem_of(volume)) :]
            yield from (volume.with_name(f"{stem}_{name}{ending}") for name in (*MODALITIES, "seg"))

    def _loose_rows(self, folder: Path) -> Iterator[dict[str, Any]]:
        slices = [
            (name, patient, as_list(*(f"{path}#{number}" for path in files)))
            for patient, files in self._patients(folder)
            for name, number in _loose_slices(folder, patient, files)
        ]
        taken = Counter(name.stem.casefold() for name, _, _ in slices)
        names = [name.name if taken[name.stem.casefold()] == 1 else name.as_posix() for name, _, _ in slices]
        for (name, patient, image), case_id in zip(slices, unique_ids(names), strict=True):
            yield {"case_id": case_id, "patient_id": patient, "image": image, "name": name.as_posix()}

    def _patients(self, folder: Path) -> Iterator[tuple[str, list[Path]]]:
        """Every patient with the volumes of his modalities, of which some may be missing."""
        ending = f"_{self.modalities[0]}"
        volumes = {
            path.with_name(path.name.replace(f"_{name}.nii", f"{ending}.nii"))
            for path in visible_files(folder)
            for name in self.modalities
            if path.name.endswith((f"_{name}.nii", f"_{name}.nii.gz"))
        }
        if not any(path.is_file() for path in volumes):
            raise UserError(f"{folder} has no *{ending}.nii.gz: unpack BraTS there, or use source = 'table'")
        for first in in_natural_order(volumes, folder):
            names = (first.name.replace(f"{ending}.nii", f"_{name}.nii") for name in self.modalities)
            yield stem_of(first).removesuffix(ending), [first.with_name(name) for name in names]

    @property
    def _endings(self) -> tuple[str, ...]:
        return IMAGE_ENDINGS[3]  # slices, but of volumes

    def _is_kept(self, case_id: str) -> bool:
        draw = int.from_bytes(hashlib.blake2b(case_id.encode(), digest_size=8).digest(), "little")
        return draw < self.options["empty_share"] * 2**64


def _with_brain(path: Path, labels: np.ndarray | None) -> list[int]:
    """Numbers of the axial slices, from the feet up, that show brain or tumor."""
    volume = _volume(path, *file_state(path))
    shown = (volume != 0).mean((0, 1)) >= LEAST_BRAIN
    if labels is not None:
        shown |= labels.any((0, 1))
    return [int(number) for number in np.flatnonzero(shown)]


def _labels_and_slices(image: Path, mask: Path | None) -> tuple[np.ndarray | None, list[int]]:
    """A patient's labels and the numbers of the slices that are cases.

    Damaged volumes are one case without labels, so that he is complained about when it is read.
    """
    numbers = [0]
    try:
        numbers = _with_brain(image, None)
        labels = None if mask is None else _volume_like(mask, image)
    except BadFile:
        return None, numbers[:1] or [0]
    return labels, numbers if labels is None else _with_brain(image, labels)


def _volume_like(mask: Path, image: Path) -> np.ndarray:
    """The labels of a volume.

    Raises:
        BadFile: they cannot be read, or have another shape.
    """
    labels, shape = _volume(mask, *file_state(mask)), _volume(image, *file_state(image)).shape
    if labels.shape != shape:
        raise BadFile(f"{mask} has the shape {labels.shape}, {image} {shape}: restore the one that is wrong")
    return labels


def _present(files: list[Path]) -> Path:
    """The first of a patient's volumes that is there."""
    return next(path for path in files if path.is_file())


def _loose_slices(folder: Path, patient: str, files: list[Path]) -> list[tuple[Path, int]]:
    """Name below the folder and number of a patient's slices.

    A patient whose volumes are incomplete is one case, as one whose volumes are damaged.
    """
    if not all(path.is_file() for path in files):
        return [(_present(files).relative_to(folder), 0)]
    _, numbers = _labels_and_slices(files[0], None)
    place = files[0].relative_to(folder).parent
    return [(place / f"{patient}_{number:03d}.png", number) for number in numbers]


def _slice(reference: Path) -> np.ndarray:
    path, number = _split(reference)
    return _at(_volume(path, *file_state(path)), path, number)


def _at(volume: np.ndarray, path: Path, number: int) -> np.ndarray:
    if number >= volume.shape[-1]:
        raise BadFile(f"{path} has {volume.shape[-1]} slices, number {number} is needed: index the dataset again")
    return np.ascontiguousarray(volume[..., number])


def _split(reference: Path) -> tuple[Path, int]:
    """``volume.nii.gz#57`` to its file and the number of the slice."""
    file, _, number = str(reference).rpartition("#")
    return Path(file), int(number)


@lru_cache(maxsize=_HELD)
def _volume(path: Path, size: int, mtime_ns: int) -> np.ndarray:  # noqa: ARG001 - they are part of the key
    """A volume as (rows from front to back, columns from right to left, slices from the feet up)."""
    image = readers.open_any(path, dimensions=3)
    if len(image.array) != 1:
        raise BadFile(f"{path} holds {len(image.array)} volumes: a modality is one")
    oriented = geometry.orient(image.array, *geometry.orientation(image.affine, 3))[0]  # to the right, front and top
    return np.ascontiguousarray(oriented[::-1, ::-1].transpose(1, 0, 2))
