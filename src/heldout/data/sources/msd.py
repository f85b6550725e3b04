"""Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr``, ``labelsTr``, ``imagesTs``.

Reference: Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13 (2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.data.sources import Source, as_list, folder_with, identifier, unique_ids
from heldout.errors import UserError


class Msd(Source):
    """One label map per volume; several modalities are the channels of a 4D volume."""

    dimensions = 3
    caveats = ("The dataset names no patients: every volume is taken to be of another patient.",)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels above 0, in the order of their values."""
        return tuple(identifier(self._labels[value].lower()) for value in self._values)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a label map; where the file's values have gaps they are numbered 1 ... K, unknown ones become 255."""
        mask = super().read_mask(row)
        if self._values == list(range(1, len(self._values) + 1)):
            return mask
        table = np.arange(256, dtype=np.uint8)
        table[1 : len(self._values) + 1] = 255
        for number, value in enumerate(self._values, start=1):
            table[value] = number
        return table[mask]

    def tables(self) -> list[Path]:
        """``dataset.json``."""
        return [self._folder / "dataset.json"]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        cases = [(*self._case(entry), "") for entry in self._plan.get("training", [])]
        cases += [(*self._case(entry), "submit") for entry in self._plan.get("test", [])]
        for (image, mask, split), case_id in zip(cases, unique_ids(Path(c[0]).name for c in cases), strict=True):
            for path in filter(None, (image, mask)):
                if not (self.root / path).is_file():
                    found.append(f"{case_id}: {path} is missing, though dataset.json lists it")
            yield {
                "case_id": case_id,
                "patient_id": case_id,
                "image": as_list(image),
                "mask": as_list(mask) if mask and split != "submit" else "",
                "split": split,
            }
        for key, name in (("numTraining", "training"), ("numTest", "test")):
            if key in self._plan and self._plan[key] != len(self._plan.get(name, [])):
                found.append(
                    f"dataset.json counts {self._plan[key]} {name} volumes but lists {len(self._plan.get(name, []))}"
                )
        listed = {image for image, _, _ in cases}
        volumes = self.image_files(self._folder)
        present = [self._relative(path) for path in volumes if not self._is_mask(path.relative_to(self._folder))]
        found += [f"{path} is not listed in dataset.json and is left out" for path in present if path not in listed]

    def _case(self, entry: Any) -> tuple[str, str]:
        """Image and mask of an entry, which is a dictionary or, in the test list, often a bare path."""
        if isinstance(entry, str):
            return self._path(entry), ""
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise UserError(f'{self._folder / "dataset.json"} has the entry {entry}: give it an "image"')
        return self._path(entry["image"]), self._path(entry["label"]) if entry.get("label") else ""

    def _path(self, name: str) -> str:
        """Path relative to the root; a file packed or unpacked since dataset.json was written is found."""
        path = self._folder / name
        other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
        return self._relative(other if other.is_file() and not path.is_file() else path)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _is_mask(self, relative: Path) -> bool:
        return any(part.startswith("labels") for part in relative.parts[:-1])

    @cached_property
    def _folder(self) -> Path:
        folder = folder_with(self.root, "dataset.json")
        if folder is None:
            raise UserError(f"{self.root} has no dataset.json: the msd source needs it, or use source = 'table'")
        return folder

    @cached_property
    def _plan(self) -> dict[str, Any]:
        plan = files.read_json(self._folder / "dataset.json")
        if not isinstance(plan, dict) or not isinstance(plan.get("labels"), dict):
            raise UserError(f"{self._folder / 'dataset.json'} has no labels: restore it from its source")
        return plan

    @cached_property
    def _labels(self) -> dict[int, str]:
        labels = self._plan["labels"]
        if all(isinstance(value, int) for value in labels.values()):  # later tools write name: value
            labels = {value: name for name, value in labels.items()}
        return {int(value): str(name) for value, name in labels.items()}

    @cached_property
    def _values(self) -> list[int]:
        return sorted(value for value in self._labels if value)
