"""Folders without a table: a path says what a file is, as in ``train/{class}/{id}.jpg`` or ``masks/{id}.png``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from heldout.data import readers
from heldout.data.image import BadFile
from heldout.data.sources import Source, as_list, identifier, natural_key, unique_ids
from heldout.data.sources.layout import class_names, names_of
from heldout.data.sources.template import Template, channel_sets, names_below, patient_of
from heldout.errors import UserError

_Case = tuple[dict[str, str], list[str]]  # pieces of its path, and its images


class Folders(Source):
    """Path templates name the pieces of a path: ``{id}``, ``{patient}`` and ``{class}``; ``*`` stands for any text.

    Options:
        image: Templates of the training images; several, separated by commas, become channels. Without ``{id}`` a case
            is called by its path, without ``{patient}`` every case is its own patient.
        mask: Template of the masks, with pieces of ``image``; without it ``{class}`` is the label. Masks that differ
            in what ``*`` stands for are united. Several templates, separated by commas, are of a class each, and what
            an image has no mask of is not there.
        labels: Names of the values of a mask, separated by commas; of folders where there is ``{class}``, "" takes all.
        values: The values of a mask that ``labels`` names, separated by commas; "" is 1, 2, ...
        threshold: Of masks that are images, such as JPEG files: foreground is above it. 0 takes masks as they are.
        nothing: Names of classes, separated by ``|``, that stand for no class, such as ``normal``.
        test, submit: Templates of a labeled test part, and of unlabeled images.
        unmasked: What an image without a mask is: ``submit``, an unlabeled case, or ``empty``, one without foreground.
        neighbors: Slices on each side of an image that become further channels (2.5D), where each slice is a file.
        dimensions: 2 or 3.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "image": "images/{id}.png",
        "mask": "",
        "labels": "",
        "values": "",
        "threshold": 0,
        "nothing": "",
        "test": "",
        "submit": "",
        "unmasked": "submit",
        "neighbors": 0,
        "dimensions": 2,
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"dimensions": (2, 3), "unmasked": ("submit", "empty")}

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.dimensions = self.options["dimensions"]

    @property
    def kind(self) -> Literal["classification", "segmentation"]:
        """Segmentation where there are masks."""
        return "segmentation" if self.options["mask"] else "classification"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the values of a mask, or of the folders.

        Raises:
            UserError: ``values`` and ``labels`` differ in number, there is neither a mask nor a ``{class}``, or two
                classes are called the same here.
        """
        return class_names(self._own_names, self.root)

    def own_classes(self) -> dict[str, str]:
        """The classes as the options or the folders write them."""
        return dict(zip(self.classes, self._own_names, strict=True))

    @cached_property
    def _own_names(self) -> list[str]:
        named = names_of(self.options["labels"])
        if self.options["mask"]:
            named = named or ["foreground"]
            if 1 < len(self._mask_templates) != len(named):
                raise UserError(
                    f"source_options mask = {self.options['mask']!r} has {len(self._mask_templates)} templates: name "
                    f"as many classes in labels"
                )
            if self._values and len(self._values) != len(named):
                raise UserError(
                    f"source_options values = {self.options['values']!r} and labels = {self.options['labels']!r} "
                    f"differ in number: name every value"
                )
            return named
        if "class" not in self._images[0].fields:
            raise UserError(
                f"source_options image = {self.options['image']!r} has no {{class}}, and there is no mask: name either"
            )
        nothing = names_of(self.options["nothing"], "|")
        found = {pieces["class"] for part in ("image", "test") for pieces, _ in self._cases(part)} - set(nothing)
        return named or sorted(found, key=natural_key)

    @property
    def exclusive(self) -> bool:
        """Whether a case has exactly one class: not where a folder stands for none."""
        return len(self._mask_templates) == 1 if self.options["mask"] else not self.options["nothing"]

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """Says so where no patients are known."""
        if "patient" in self._images[0].fields:
            return ()
        return ("The paths of the images name no patients: every case is taken to be of another patient.",)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read the masks of a case, united; values are numbered 1 ... K; see :meth:`Source.read_mask`."""
        if not row["mask"]:
            return super().read_mask(row)
        if row["mask"] == "[]":
            return np.zeros((1, *self.read_image(row).full_shape), np.uint8)
        masks = [self._read(path) for path in self.paths(row["mask"])]
        if len({mask.shape for mask in masks}) > 1:
            raise BadFile(f"the masks of case {row['case_id']} differ in shape: they must agree")
        if len(self._mask_templates) > 1:
            names = [self.relative(path) for path in self.paths(row["mask"])]
            return np.concatenate(
                [
                    np.max(
                        [mask for mask, name in zip(masks, names, strict=True) if one.match(name)] or [masks[0] * 0], 0
                    )
                    for one in self._mask_templates
                ]
            )
        mask = np.max(masks, axis=0)
        if not self._values:
            return mask
        table = np.full(256, 255, np.uint8)
        table[0] = 0
        table[len(self._values) + 1 :] = np.arange(len(self._values) + 1, 256)  # named as they are in the file
        for number, value in enumerate(self._values, start=1):
            table[value] = number
        return table[mask]

    def _read(self, path: Path) -> np.ndarray:
        if not self.options["threshold"]:
            several = len(self.classes) > 1 and len(self._mask_templates) == 1
            return readers.open_mask(path, dimensions=self.dimensions, binary=not several)
        image = readers.open_any(path, dimensions=self.dimensions)
        return (image.array.max(axis=0, keepdims=True) > self.options["threshold"]).astype(np.uint8)

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        cases = [(part, *case) for part in ("image", "test", "submit") for case in self._cases(part)]
        own = Counter(pieces.get("id", "") for _, pieces, _ in cases)
        names = [name if own[name := pieces.get("id", "")] == 1 and name else images[0] for _, pieces, images in cases]
        classes, nothing = self.classes, names_of(self.options["nothing"], "|")
        for case_id, (part, pieces, images) in zip(unique_ids(names), cases, strict=True):
            masks = self._masks(pieces) if part != "submit" else []
            labels: dict[str, float] = {}
            if not self.options["mask"] and part != "submit":
                label = identifier(pieces["class"])
                if label not in classes and pieces["class"] not in nothing:
                    found.append(f"{images[0]} is of the class {pieces['class']}, which is not named, and is left out")
                    continue
                labels = {f"y_{name}": float(name == label) for name in classes}
            unlabeled = bool(self.options["mask"]) and not masks and self.options["unmasked"] == "submit"
            split = "submit" if unlabeled else {"image": "", "test": "test", "submit": "submit"}[part]
            yield {
                "case_id": case_id,
                "patient_id": pieces.get("patient") or case_id,
                "image": as_list(*images),
                "mask": as_list(*masks) if self.options["mask"] and split != "submit" else "",
                "split": split,
                **labels,
            }

    def _masks(self, pieces: Mapping[str, str]) -> list[str]:
        return [
            name
            for template, found in zip(self._mask_templates, self._masks_by_pieces, strict=True)
            for name in found.get(tuple(pieces.get(name, "") for name in template.fields), [])
        ]

    @cached_property
    def _masks_by_pieces(self) -> list[dict[tuple[str, ...], list[str]]]:
        """Files of every template of masks, by the pieces of their paths."""
        every = []
        for template in self._mask_templates:
            if unknown := [name for name in template.fields if name not in self._images[0].fields]:
                raise UserError(
                    f"source_options mask = {template.text!r} names {{{unknown[0]}}}, which image does not: write * "
                    f"in its place"
                )
            found = template.matches(self._names)
            if not found:
                raise UserError(f"{self.root} has no file of the form {template.text}: correct source_options mask")
            every.append(found)
        return every

    def _cases(self, part: str) -> list[_Case]:
        """Pieces and images of every case of a part.

        Raises:
            UserError: no file fits its templates, or they do not fit the same cases.
        """
        templates = [Template(text) for text in names_of(self.options[part])]
        if templates and len(templates) != len(self._images):
            raise UserError(
                f"source_options {part} = {self.options[part]!r}: write {len(self._images)} templates, as image has"
            )
        found: dict[str, _Case] = {}
        for number, template in enumerate(templates):
            for name in self._names:
                if (pieces := template.match(name)) is None or self._is_mask(Path(name)) or not self._readable(name):
                    continue
                key = str(sorted(pieces.items())) if "id" in pieces or len(templates) > 1 else name
                case = found.setdefault(key, (pieces, []))
                case[1].append(name)
                if len(case[1]) != number + 1:
                    raise UserError(
                        f"{self.root}: {case[1][0]} and {name} are one case by source_options {part} = "
                        f"{self.options[part]!r}, or one of its channels is missing: correct it"
                    )
        if odd := next((images[0] for _, images in found.values() if len(images) < len(templates)), ""):
            raise UserError(f"{self.root}: {odd} has no file of the form {templates[-1].text}: restore it")
        if templates and not found:
            raise UserError(f"{self.root} has no file of the form {self.options[part]}: correct source_options {part}")
        return list(found.values())

    def _readable(self, name: str) -> bool:
        return self.dimensions == 3 or (self.root / name).is_file()

    def _loose_sets(self, folder: Path) -> list[list[Path]]:
        texts = [template.text for template in self._images]
        if len(texts) < 2:
            return super()._loose_sets(folder)
        return [[folder / name for name in names] for names in channel_sets(names_below(folder), texts)]

    def _patient(self, relative: Path) -> str | None:
        texts = [text for name in ("image", "test", "submit") for text in names_of(self.options[name])]
        return patient_of(relative, texts, "patient")

    def _is_mask(self, relative: Path) -> bool:
        return any(template.match(relative.as_posix()) for template in self._mask_templates)

    @cached_property
    def _images(self) -> list[Template]:
        found = [Template(text) for text in names_of(self.options["image"])]
        if not found:
            raise UserError("source_options image is empty: write the form of the images' paths, as images/{id}.png")
        return found

    @cached_property
    def _mask_templates(self) -> list[Template]:
        return [Template(text) for text in names_of(self.options["mask"])]

    @cached_property
    def _values(self) -> list[int]:
        texts = names_of(self.options["values"])
        if not all(text.isdigit() and 0 < int(text) < 255 for text in texts):
            raise UserError(f"source_options values = {self.options['values']!r}: write numbers from 1 to 254")
        return list(map(int, texts))

    @cached_property
    def _names(self) -> list[str]:
        return sorted(names_below(self.root), key=natural_key)
