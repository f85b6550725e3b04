"""MedMNIST v2 in 3D: one npz file with ``<part>_images`` and ``<part>_labels``.

Reference: Yang et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image
classification, Scientific Data 10 (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.sources import Source
from heldout.data.sources.layout import chosen_file, in_natural_order
from heldout.errors import UserError

_PARTS = ("train", "val", "test")


class MedMnist3d(Source):
    """Volumes of 28 or 64 voxels per side, addressed as ``file.npz#key:index``.

    Options: ``file`` names the archive, needed where the folder holds several; with ``keep_test`` (default) the
    dataset's own labeled test part stays the test part, without it all parts are pooled and split anew.
    """

    dimensions = 3
    kind = "classification"
    caveats = (
        "MedMNIST names no patients; in AdrenalMNIST3D the left and the right gland of one patient are separate "
        "samples, so that one patient may be in two folds, and scores may be optimistic.",
    )
    defaults: ClassVar[dict[str, Any]] = {"file": "", "keep_test": True}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """``positive`` for labels 0 and 1, ``class_0`` ... for one of several, ``label_0`` ... for any of several."""
        if self._labels.shape[1] > 1:
            return tuple(f"label_{number}" for number in range(self._labels.shape[1]))
        largest = int(self._labels.max(initial=0))
        return ("positive",) if largest <= 1 else tuple(f"class_{number}" for number in range(largest + 1))

    @cached_property
    def exclusive(self) -> bool:
        """False where a sample can have several labels."""
        return self._labels.shape[1] == 1

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        from heldout.data.readers import npz

        keys = npz.keys(self._file)
        for part in _PARTS:
            key = f"{part}_images"
            if key not in keys:
                found.append(f"{self._file.name} has no part {part!r}")
                continue
            count, labels = npz.shape(self._file, key)[0], self._part_labels(part)
            if labels is not None and len(labels) != count:
                raise UserError(f"{self._file} has {count} {part} images but {len(labels)} labels: restore it")
            split = "submit" if labels is None else "test" if part == "test" and self.options["keep_test"] else ""
            for index in range(count):
                case_id = f"{part}_{index:05d}"
                values = [float("nan")] * len(self.classes) if labels is None else self._targets(labels[index])
                yield {
                    "case_id": case_id,
                    "patient_id": case_id,
                    "image": f"{self._file.relative_to(self.root).as_posix()}#{key}:{index}",
                    "split": split,
                    **{f"y_{name}": value for name, value in zip(self.classes, values, strict=True)},
                }

    def _targets(self, label: np.ndarray) -> list[float]:
        if len(self.classes) == 1 or not self.exclusive:
            return [float(value) for value in label]
        return [float(label[0] == number) for number in range(len(self.classes))]

    def _part_labels(self, part: str) -> np.ndarray | None:
        from heldout.data.readers import npz

        key = f"{part}_labels"
        if key not in npz.keys(self._file):
            return None
        labels = npz.load(self._file, key)
        labels = labels.reshape(len(labels), -1)
        if not np.array_equal(labels, np.rint(labels)) or labels.min(initial=0) < 0:
            raise UserError(f"{self._file} has labels under {key} that are not class numbers: restore it")
        return labels

    @cached_property
    def _labels(self) -> np.ndarray:
        parts = [labels for part in _PARTS if (labels := self._part_labels(part)) is not None]
        if not parts:
            raise UserError(f"{self._file} has no labels (train_labels): there is nothing to learn from")
        return np.concatenate(parts)

    @cached_property
    def _file(self) -> Path:
        return chosen_file(self.root, self.options["file"], self.root.glob("*.npz"), "npz file")

    def _loose_rows(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Items of npz files, keys of images only, and NIfTI volumes."""
        from heldout.data.readers import npz

        for path in in_natural_order(folder.rglob("*.npz"), folder):
            name = path.relative_to(folder).with_suffix("").as_posix()
            for key in npz.keys(path):
                if key.endswith("_labels") or len(npz.shape(path, key)) < 4:
                    continue
                for index in range(npz.shape(path, key)[0]):
                    case_id = f"{name.replace('/', '_')}_{key}_{index:05d}"
                    yield {
                        "case_id": case_id,
                        "patient_id": case_id,
                        "image": f"{path}#{key}:{index}",
                        "name": f"{name}/{key}_{index:05d}",
                    }
        yield from super()._loose_rows(folder)
