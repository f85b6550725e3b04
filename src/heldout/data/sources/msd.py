"""Medical Segmentation Decathlon and nnU-Net: ``dataset.json``, ``imagesTr``, ``labelsTr``, ``imagesTs``.

nnU-Net v1 lists cases as the Decathlon does, but stores channels as ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz`` ...;
v2 lists none, writes labels as ``name: value``, and may define regions of several values.

Reference: Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13 (2022); Isensee et al.,
nnU-Net, Nature Methods 18 (2021).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.image import BadFile
from heldout.data.sources import Source, as_list, folder_with, identifier, natural_key, unique_ids
from heldout.data.sources.bids import stem_of
from heldout.data.sources.dataset_json import IGNORE, check_class_order, class_values, label_values, read_splits
from heldout.data.sources.download import DECATHLON, Download
from heldout.data.sources.layout import IMAGE_ENDINGS
from heldout.errors import UserError
from heldout.metrics.ignored import IGNORED
from heldout.records import read_json

_SPLITS = "splits_final.json"
_CHANNEL = re.compile(r"_\d{4}$")


class Msd(Source):
    """One label map per volume; several modalities are the channels of a 4D volume, or files of their own.

    Regions, which are classes of several label values, overlap: each becomes a binary channel.

    Options: ``splits`` (default False) takes the folds of ``splits_final.json``, as nnU-Net writes it.
    """

    defaults: ClassVar[dict[str, Any]] = {"splits": False}
    downloads: ClassVar[Mapping[str, Download]] = DECATHLON
    dimensions = 3
    caveats = ("The dataset names no patients: every volume is taken to be of another patient.",)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels above 0, in the order of their values; regions in the order of dataset.json.

        Raises:
            UserError: two names are the same, or there is none.
        """
        names = list(self._regions)
        classes = [identifier(name.lower()) for name in names]
        if not classes:
            raise UserError(f'{self._json} names no label above 0: add it to "labels"')
        for position, name in enumerate(classes):
            first = classes.index(name)
            if first < position:
                raise UserError(
                    f"{self._json} calls two labels {name!r} ({names[first]!r} and {names[position]!r}): give each "
                    f"a name of its own"
                )
        return tuple(classes)

    @cached_property
    def exclusive(self) -> bool:
        """False where dataset.json defines regions."""
        return not any(isinstance(value, list) for value in self._labels.values())

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a label map; values with gaps are numbered 1 ... K, ignored ones become 255; regions become channels.

        Raises:
            BadFile: the file is missing or damaged, or holds a value that is not a label, or in no region.
        """
        mask, values, ignored = super().read_mask(row), list(self._regions.values()), self._labels.get(IGNORE)
        known = [0, *(value for region in values for value in region), *([] if ignored is None else [ignored])]
        unknown = np.setdiff1d(mask, known)
        if len(unknown):
            what = "does not name" if self.exclusive else "puts into no region"
            raise BadFile(
                f"case {row['case_id']}: its mask holds the label {unknown[0]}, which {self._json} {what}: correct the "
                f"mask or the labels"
            )
        if self.exclusive:
            table = np.zeros(256, np.uint8)
            for number, (value,) in enumerate(values, start=1):
                table[value] = number
            read = table[mask]
        else:
            read = np.concatenate([np.isin(mask, region) for region in values]).astype(np.uint8)
        return read if ignored is None else np.where(mask == ignored, np.uint8(IGNORED), read)

    @property
    def ignores(self) -> bool:
        """Where dataset.json names an ``ignore`` label."""
        return IGNORE in self._labels

    def tables(self) -> list[Path]:
        """``dataset.json``, and ``splits_final.json`` where it is used."""
        return [self._json, self._folder / _SPLITS] if self.options["splits"] else [self._json]

    @property
    def own_folds(self) -> bool:
        """As the option ``splits`` says."""
        return bool(self.options["splits"])

    def folds(self) -> dict[str, int]:
        """Fold of every training case by ``splits_final.json``."""
        return read_splits(self._folder / _SPLITS, self._ids)

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        listed = [(*self._case(entry), "") for entry in self._list("training")]
        cases = listed or [(*case, "") for case in self._unlisted_training()]
        tested = [(*self._case(entry), "submit") for entry in self._list("test")]
        named = [case[1] for case in cases]
        if twice := next((one for number, one in enumerate(named) if one in named[:number]), None):
            raise UserError(f'{self._json} lists {twice[0]} twice in "training": delete one of the entries')
        training = len(cases)
        self._check_channels(cases)
        cases += tested or ([] if listed else [(case, images, "", "submit") for case, images in self._unlisted_test()])
        ids = unique_ids(case[0] for case in cases)
        self._ids = {stem_of(Path(case[0])): case_id for case, case_id in zip(cases[:training], ids, strict=False)}
        for (_, images, mask, split), case_id in zip(cases, ids, strict=True):
            for path in filter(None, (*images, mask)):
                if not (self.root / path).is_file():
                    reason = "dataset.json lists it" if listed else "labelsTr holds its mask"
                    found.append(f"{case_id}: {path} is missing, though {reason}")
            yield {
                "case_id": case_id,
                "patient_id": case_id,
                "image": as_list(*images),
                "mask": as_list(mask) if mask and split != "submit" else "",
                "split": split,
            }
        for key, name, split in (("numTraining", "training", ""), ("numTest", "test", "submit")):
            number = len(self._list(name)) if listed else sum(case[3] == split for case in cases)
            if key in self._plan and str(self._plan[key]) != str(number):
                has = "lists" if listed else "its folders hold"
                found.append(f"dataset.json counts {self._plan[key]} {name} volumes but {has} {number}")
        if not self.exclusive and "regions_class_order" in self._plan:
            check_class_order(self._plan["regions_class_order"], self.classes, self._json)
            found.append("regions_class_order is not used: masks are written as one file per region")
        known = {image for _, images, _, _ in cases for image in images}
        volumes = self.image_files(self._folder)
        present = [self._relative(path) for path in volumes if not self._is_mask(path.relative_to(self._folder))]
        reason = "is not listed in dataset.json" if listed else "has no mask of its name in labelsTr"
        found += [f"{path} {reason} and is left out" for path in present if path not in known]
        if (self._folder / _SPLITS).is_file() and not self.options["splits"]:
            found.append(
                f"{_SPLITS} is not used, folds are made by fold_count and fold_seed: for its folds set source_options "
                f'= {{"splits": True}}'
            )

    def _list(self, name: str) -> list[Any]:
        entries = self._plan.get(name) or []
        if name == "training" and not entries and isinstance(self._plan.get("dataset"), dict):  # nnU-Net v2's own
            entries = list(self._plan["dataset"].values())
        if not isinstance(entries, list):
            raise UserError(
                f"{self._json} has a {name!r} that is not a list: list the cases there, or delete the field"
            )
        return entries

    def _case(self, entry: Any) -> tuple[str, list[str], str]:
        """Name, images and mask of an entry: a dictionary or, in the test list, often a bare path."""
        about = {"image": entry} if isinstance(entry, str) else entry
        images = about.get("image", about.get("images")) if isinstance(about, dict) else None
        images = [images] if isinstance(images, str) else images
        if not isinstance(images, list) or not images or not all(isinstance(name, str) for name in images):
            raise UserError(f'{self._json} has the entry {entry}: give it an "image"')
        mask = about.get("label") or ""
        if not isinstance(mask, str):
            raise UserError(f'{self._json} has the entry {entry}: give it one path as its "label"')
        name = self._path(images[0]).name
        paths = [self._path(image) for image in images]
        if len(paths) == 1:
            paths = self._channels(paths[0])
        else:
            name = _without_channel(paths[0])
        return name, [self._relative(path) for path in paths], self._mask_of(mask, name)

    def _mask_of(self, label: str, name: str) -> str:
        """The mask that an entry names, or the one of its name in labelsTr; empty where there is none."""
        if label:
            return self._relative(self._path(label))
        folder = self._folder / "labelsTr"
        places = [self._packed_or_not(folder / one) for one in (name, _without_channel(Path(name)))]
        return next((self._relative(place) for place in places if place.is_file()), "")

    def _check_channels(self, cases: list[tuple[str, list[str], str, str]]) -> None:
        """Refuse more names of channels than imagesTr has channels, where they are files of their own."""
        key = "channel_names" if "channel_names" in self._plan else "modality"
        names = self._plan.get(key)
        if not isinstance(names, dict) or all(len(images) == 1 for _, images, _, _ in cases):
            return
        stems = [stem_of(path) for path in self.image_files(self._folder / "imagesTr")]
        last = f"_{len(names) - 1:04d}"
        if any(map(_CHANNEL.search, stems)) and not any(stem.endswith(last) for stem in stems):
            raise UserError(
                f"{self._json} has {len(names)} {key}, but no file of imagesTr ends in {last}: correct {key}, or add "
                f"the files"
            )

    def _unlisted_training(self) -> Iterator[tuple[str, list[str], str]]:
        """Cases of labelsTr with their channels, where dataset.json lists none."""
        ending = self._plan.get("file_ending")
        if ending is not None and not (isinstance(ending, str) and ending.lower().endswith(IMAGE_ENDINGS[3])):
            raise UserError(
                f"{self._json} has file_ending = {ending!r}, but the msd source reads .nii.gz, .nii and .mha: "
                f"convert the files, or use source = 'table'"
            )
        masks = self.image_files(self._folder / "labelsTr") if (self._folder / "labelsTr").is_dir() else []
        if not masks:
            raise UserError(
                f"{self._json} lists no training case, and {self._folder / 'labelsTr'} holds no .nii.gz: fill in "
                f'"training", or put the masks there'
            )
        for mask in masks:
            images = self._channels(self._packed_or_not(self._folder / "imagesTr" / mask.name))
            yield mask.name, [self._relative(path) for path in images], self._relative(mask)

    def _unlisted_test(self) -> Iterator[tuple[str, list[str]]]:
        """Cases of imagesTs with their channels, where dataset.json lists none."""
        folder = self._folder / "imagesTs"
        present = self.image_files(folder) if folder.is_dir() else []
        named = any(_CHANNEL.search(stem_of(path)) for path in self.image_files(self._folder / "imagesTr"))
        for name in sorted({_without_channel(path) if named else path.name for path in present}, key=natural_key):
            yield name, [self._relative(path) for path in self._channels(folder / name)]

    def _loose_rows(self, folder: Path) -> Iterator[dict[str, Any]]:
        if not self._channels_apart:
            yield from super()._loose_rows(folder)
            return
        groups: dict[Path, list[Path]] = {}
        for path in self.image_files(folder):
            if not self._is_mask(path.relative_to(folder)):
                groups.setdefault(path.with_name(_without_channel(path)), []).append(path)
        names = [path.relative_to(folder).as_posix() for path in groups]
        for paths, case_id in zip(groups.values(), unique_ids(names), strict=True):
            name = paths[0].relative_to(folder).as_posix()
            yield {"case_id": case_id, "patient_id": case_id, "image": as_list(*paths), "name": name}

    @cached_property
    def _channels_apart(self) -> bool:
        """Whether the channels of the dataset's own cases are files of their own."""
        if folder_with(self.root, "dataset.json") is None:
            return False
        listed = self._list("training")
        return len(self._case(listed[0])[1] if listed else next(self._unlisted_training())[1]) > 1

    def _channels(self, path: Path) -> list[Path]:
        """The file of an image, or ``<case>_0000`` and on where its channels are files of their own."""
        if path.is_file():
            return [path]
        stem = stem_of(path)
        names = [f for f in path.parent.glob("*") if _CHANNEL.sub("", stem_of(f)) == stem and stem_of(f) != stem]
        found = sorted(file for file in names if file.name.lower().endswith(IMAGE_ENDINGS[3]))
        kinds = self._plan.get("channel_names", self._plan.get("modality"))
        if not found or not isinstance(kinds, dict):
            return found or [path]
        ending = found[0].name[len(stem_of(found[0])) :]
        return [self._packed_or_not(path.parent / f"{stem}_{number:04d}{ending}") for number in range(len(kinds))]

    def _path(self, name: str) -> Path:
        """File below the folder; one whose path is of another machine, or packed or unpacked since then, is found."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        plain = not name.startswith(("/", "\\")) and ".." not in name and "\\" not in name and ":" not in name
        starts = [0] if plain else [*range(len(parts)), max(len(parts) - 2, 0)]  # without any: its last folder
        places = [self._folder.joinpath(*parts[start:]) for start in starts]
        usable = (place for place in places if self._channels_or_packed(place))
        return self._packed_or_not(next(usable, places[-1]))

    def _channels_or_packed(self, path: Path) -> bool:
        return self._packed_or_not(path).is_file() or any(file.is_file() for file in self._channels(path))

    @staticmethod
    def _packed_or_not(path: Path) -> Path:
        other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
        return other if other.is_file() and not path.is_file() else path

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

    @property
    def _json(self) -> Path:
        return self._folder / "dataset.json"

    @cached_property
    def _plan(self) -> dict[str, Any]:
        plan = read_json(self._json, "restore it from its source")
        labels = plan.get("labels") if isinstance(plan, dict) else None
        if isinstance(labels, list):  # names in the order of their values
            plan["labels"] = labels = {str(value): name for value, name in enumerate(labels)}
        if not isinstance(labels, dict):
            raise UserError(f'{self._json} has no "labels" of the form {{"0": "background", "1": ...}}: add them')
        return plan

    @cached_property
    def _labels(self) -> dict[str, int | list[int]]:
        return label_values(self._plan["labels"], self._json)

    @cached_property
    def _regions(self) -> dict[str, list[int]]:
        return class_values(self._labels, self._json)


def _without_channel(path: Path) -> str:
    """Name of an image file without the number of its channel: ``c_0000.nii.gz`` gives ``c.nii.gz``."""
    stem = stem_of(path)
    return f"{_CHANNEL.sub('', stem)}{path.name[len(stem) :]}"
