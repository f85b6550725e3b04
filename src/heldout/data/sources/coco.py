"""COCO: a JSON file of images, categories and annotations with polygons, run lengths or boxes.

Reference: Lin et al., Microsoft COCO: common objects in context, ECCV (2014).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data import readers
from heldout.data.objects import Named, object_rows
from heldout.data.readers.image import displayed_size
from heldout.data.sources import Source, as_list, identifier
from heldout.data.sources.layout import class_names, in_natural_order, names_of, visible_files
from heldout.data.sources.marks import Mark, draw
from heldout.data.sources.template import Template
from heldout.errors import UserError
from heldout.records import read_json

_RESTORE = "restore it from its source"


@dataclass(frozen=True)
class Annotations:
    """What a COCO file holds.

    Attributes:
        path: The file.
        images: File names by their ids.
        categories: Names in the order of their ids.
        marks: Annotations.
    """

    path: Path
    images: dict[str, str]
    categories: tuple[str, ...]
    marks: tuple[Mark, ...]


def coco_files(root: Path) -> list[Path]:
    """JSON files below a folder that hold what COCO files do, in natural order."""
    found = [path for path in visible_files(root) if path.suffix.lower() == ".json" and _looks_like_coco(path)]
    return in_natural_order(found, root)


def read_coco(path: Path) -> Annotations:
    """Read a COCO file.

    Raises:
        UserError: it is damaged, lacks a list, or an entry lacks what it needs.
    """
    content = read_json(path, _RESTORE)
    try:
        names = {about["id"]: str(about["name"]) for about in content["categories"]}
        return Annotations(
            path,
            {str(about["id"]): str(about["file_name"]) for about in content["images"]},
            tuple(name for _, name in sorted(names.items())),
            tuple(
                Mark(
                    str(about.get("id", "?")),
                    str(about["image_id"]),
                    names[about["category_id"]],
                    about.get("segmentation"),
                    about.get("bbox"),
                )
                for about in content["annotations"]
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a COCO file, images, annotations and categories with their ids ({type(error).__name__}: "
            f"{error}): {_RESTORE}"
        ) from None


def _looks_like_coco(path: Path) -> bool:
    content = path.read_bytes()
    return all(name in content for name in (b'"images"', b'"annotations"', b'"categories"'))


class Coco(Source):
    """A channel per category; an image without annotations shows nothing.

    Options:
        file: Annotation files, separated by commas; "" takes all below the folder. The images of a file whose name has
            ``test`` in it are the locked test part, or unlabeled where it has no annotations.
        images: Folder of the images, "" finds each by its name.
        draw: ``segments`` fills polygons and run lengths, ``boxes`` fills boxes.
        categories: Names of those to use, separated by commas; "" takes all that occur.
        patient: Template of the images' file names with ``{patient}``, such as ``{patient}_*.png``; "" names none.
    """

    exclusive = False
    defaults: ClassVar[dict[str, Any]] = {"file": "", "images": "", "draw": "segments", "categories": "", "patient": ""}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"draw": ("segments", "boxes")}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories that occur, in the order of their ids.

        Raises:
            UserError: a named category does not exist, there is none, or two are called the same here.
        """
        return class_names(self._own_names, self._contents[0].path)

    @cached_property
    def _own_names(self) -> list[str]:
        named = names_of(self.options["categories"])
        present = {mark.category for content in self._contents for mark in content.marks}
        listed = dict.fromkeys(name for content in self._contents for name in content.categories if name in present)
        if unknown := [name for name in named if name not in listed]:
            raise UserError(
                f"{self._contents[0].path} has no annotation of the category {unknown[0]!r}: it has "
                f"{', '.join(listed)}; correct source_options categories"
            )
        if not listed:
            raise UserError(f"{self._contents[0].path} has no annotation: name the right file in source_options file")
        return [name for name in listed if not named or name in named]

    def own_classes(self) -> dict[str, str]:
        """The categories as the annotations write them."""
        return dict(zip(self.classes, self._own_names, strict=True))

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """Says so where no patients are known."""
        if self.options["patient"]:
            return ()
        return ("The annotations name no patients: every image is taken to be of another patient.",)

    def tables(self) -> list[Path]:
        """The annotation files."""
        return [content.path for content in self._contents]

    def own_ids(self) -> dict[str, str]:
        """File names of the images by case id."""
        return {identifier(Path(name).stem): Path(name).stem for _, name, _ in self._images}

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Draw the annotations of an image, uint8 (K, H, W).

        Raises:
            BadFile: an annotation is damaged or leaves the image.
        """
        if not row["mask"]:
            return super().read_mask(row)
        path = self.paths(row["image"])[0]
        plain = readers.format_of(path) in ("png", "jpeg", "tiff")
        shape = displayed_size(path) if plain else self.read_image(row).full_shape
        masks = np.zeros((len(self.classes), *shape), np.uint8)
        file, _, number = row["mask"].partition("#")
        for mark in self._marks[file, number]:
            if (name := identifier(mark.category)) in self.classes:
                masks[self.classes.index(name)] |= draw(
                    mark, (shape[0], shape[1]), f"{path.name} in {file}", as_box=self.options["draw"] == "boxes"
                )
        return masks

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:
        """The boxes of the annotations; where one has none, what the mask has."""
        file, _, number = row["mask"].partition("#")
        marks = [mark for mark in self._marks[file, number] if identifier(mark.category) in self.classes]
        if not all(mark.box for mark in marks):
            return super().objects(row, mask)
        found: list[Named] = []
        for mark in marks:
            left, top, wide, high = map(float, mark.box)
            found.append((self.classes.index(identifier(mark.category)), (top, left), (top + high, left + wide)))
        return object_rows(found, 2)

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        places = defaultdict(list)
        for path in self.image_files(self.root / self.options["images"]):
            places[path.name].append(path.relative_to(self.root).as_posix())
        template, lost = Template(self.options["patient"]), list[str]()
        for file, name, number in self._images:
            own = [place for place in places[Path(name).name] if place.endswith(name.lstrip("./"))] or places[
                Path(name).name
            ]
            if len(own) > 1:
                stem = Path(file).stem.lower()
                own = [place for place in own if any(part in stem for part in Path(place).parent.parts)] or own
            if len(own) != 1:
                lost.append(
                    f"{name} of {file} {'is missing' if not own else 'lies in several folders'} and is left out"
                )
                continue
            pieces = template.match(Path(name).name) if self.options["patient"] else {}
            if pieces is None:
                raise UserError(f"{file}: {name} is not of the form {template.text}: correct source_options patient")
            case_id = identifier(Path(name).stem)
            split = self._part(file)
            yield {
                "case_id": case_id,
                "patient_id": pieces.get("patient", case_id),
                "image": as_list(own[0]),
                "mask": f"{file}#{number}" if split != "submit" else "",
                "split": split,
            }
        found += lost[:20] + ([f"... and {len(lost) - 20} more"] if len(lost) > 20 else [])

    def _part(self, file: str) -> str:
        name = Path(file).stem.lower()
        unlabeled = not any(marks for (own, _), marks in self._marks.items() if own == file)
        if unlabeled:
            return "submit"
        return "test" if re.search(r"(^|[^a-z])test", name) else ""

    def paths(self, text: str) -> list[Path]:
        """Files of a text of the index; of a mask, its annotation file."""
        return super().paths(text) if text.startswith("[") else [self.root / text.partition("#")[0]]

    @cached_property
    def _images(self) -> list[tuple[str, str, str]]:
        """Annotation file, file name and number of every image."""
        return [
            (self.relative(content.path), name, number)
            for content in self._contents
            for number, name in content.images.items()
        ]

    @cached_property
    def _marks(self) -> dict[tuple[str, str], list[Mark]]:
        """Annotations by file and number of the image."""
        found: dict[tuple[str, str], list[Mark]] = defaultdict(list)
        for content in self._contents:
            for mark in content.marks:
                found[self.relative(content.path), mark.image].append(mark)
        return found

    @cached_property
    def _contents(self) -> list[Annotations]:
        paths = [self.root / name for name in names_of(self.options["file"])] or coco_files(self.root)
        if not paths:
            raise UserError(
                f"{self.root} has no COCO file (JSON with images, annotations, categories): name it in source_options "
                f"file"
            )
        return [read_coco(path) for path in paths]
