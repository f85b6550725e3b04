"""LGG MRI segmentation: brain MRI slices of lower-grade glioma, ``TCGA_*/..._N.tif`` with ``..._N_mask.tif``.

Reference: Buda, Saha and Mazurowski, Association of genomic subtypes of lower-grade gliomas with shape features
automatically extracted by a deep learning algorithm, Computers in Biology and Medicine 109 (2019).
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.image import Image
from heldout.data.sources import Source, as_list, natural_key
from heldout.data.sources.download import Download
from heldout.data.sources.layout import read_table
from heldout.errors import UserError

_SLICE = re.compile(r"(?P<patient>TCGA_[A-Z0-9]{2}_[A-Z0-9]{4})\w*?_(?P<number>\d+)", re.ASCII)
_SHOWN = 10


class Lgg(Source):
    """Three channels: pre-contrast, FLAIR, post-contrast; FLAIR replaces a sequence that was not acquired.

    Options: ``neighbors`` adds the slices beside each one, so many on each side, as three further channels each.
    """

    defaults: ClassVar[dict[str, Any]] = {"neighbors": 0}
    downloads: ClassVar[Mapping[str, Download]] = {
        "lgg-mri-segmentation": Download(kaggle="mateuszbuda/lgg-mri-segmentation", license="CC BY-NC-SA 4.0")
    }
    classes = ("tumor",)
    caveats = (
        "Every patient has a tumor, only slices are negative: presence scores say nothing about healthy people.",
    )

    def _open(self, path: Path, *, salvage: bool) -> Image:
        """Read a slice as three channels, also where FLAIR fills both others and the image looks gray."""
        image = super()._open(path, salvage=salvage)
        if len(image.array) == 3:
            return image
        return dataclasses.replace(image, array=np.repeat(image.array, 3, axis=0))

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        folder = self._folder()
        slices: dict[Path, list[int]] = defaultdict(list)
        masks: set[Path] = set()
        images: list[Path] = []
        for path in self.image_files(folder):
            if self._is_mask(path):
                masks.add(path)
            else:
                images.append(path)
        for path in images:
            match = _SLICE.fullmatch(path.stem)
            if match is None:
                found.append(f"{path.relative_to(self.root)} has no name of the form TCGA_..._<slice>: it is left out")
                continue
            mask = path.with_name(f"{path.stem}_mask{path.suffix}")
            if mask not in masks:
                found.append(f"{path.relative_to(self.root)} has no mask {mask.name}")
            slices[path.parent].append(int(match["number"]))
            yield {
                "case_id": path.stem,
                "patient_id": match["patient"],
                "image": as_list(path.relative_to(self.root).as_posix()),
                "mask": as_list(mask.relative_to(self.root).as_posix()),
            }
        expected = {path.with_name(f"{path.stem}_mask{path.suffix}") for path in images}
        orphans = sorted(masks - expected, key=lambda path: natural_key(path.name))
        found += [f"{path.relative_to(self.root)} is a mask without an image" for path in orphans]
        for parent, numbers in slices.items():
            missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
            if missing:
                shown = ", ".join(map(str, missing[:_SHOWN])) + (" ..." if len(missing) > _SHOWN else "")
                found.append(f"{parent.name} lacks {len(missing)} of {max(numbers)} slices: {shown}")
        found += _patients_without_slices(folder, {_patient_of(parent.name) for parent in slices})

    def _folder(self) -> Path:
        """The folder of patients; the Kaggle archive holds a second copy further down, which is not used."""
        for folder in (self.root / "kaggle_3m", self.root, self.root / self.root.name / "kaggle_3m"):
            if any(folder.glob("TCGA_*")):
                return folder
        raise UserError(f"{self.root} has no patient folders TCGA_*: unpack kaggle_3m there")

    def _is_mask(self, relative: Path) -> bool:
        return relative.stem.endswith("_mask")

    def _patient(self, relative: Path) -> str | None:
        return _patient_of(relative.stem)


def _patient_of(name: str) -> str | None:
    """``TCGA_HT_7877_19980917`` to ``TCGA_HT_7877``: the date names the examination."""
    match = re.match(r"TCGA_[A-Z0-9]{2}_[A-Z0-9]{4}(?=_|$)", name)
    return match.group() if match else None


def _patients_without_slices(folder: Path, patients: set[str | None]) -> list[str]:
    path = folder / "data.csv"
    if not path.is_file():
        return []
    listed = set(read_table(path, ["Patient"])["Patient"]) - {""}
    absent = len(listed - patients)
    lines = [f"data.csv lists {absent} of {len(listed)} patients without slices here"] if absent else []
    return lines + [
        f"{patient} is not listed in data.csv" for patient in sorted(filter(None, patients)) if patient not in listed
    ]
