"""YOLO: a text file beside each image, with a line per box or polygon in shares of its width and height.

Reference: https://docs.ultralytics.com/datasets/detect
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from heldout.data.image import BadFile
from heldout.data.objects import Named, object_rows
from heldout.data.readers.image import displayed_size
from heldout.data.sources import Source, as_list, unique_ids
from heldout.data.sources.layout import class_names, names_of
from heldout.data.sources.marks import Mark, draw
from heldout.data.sources.template import Template
from heldout.errors import UserError

_TEST = re.compile(r"(^|[^a-z])test(ing)?($|[^a-z])", re.IGNORECASE)
_OFF = 1e-3  # by which a share may leave 0 ... 1
Line = tuple[int, list[float]]  # class, and shares of width and height by turns


def label_path(image: str) -> str:
    """Where the text file of an image is: in ``labels`` instead of its last ``images``, or beside it.

    Example:
        >>> label_path("train/images/a.b.jpg")
        'train/labels/a.b.txt'
    """
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return "/".join(parts)


class Yolo(Source):
    """A channel per class; an image without lines shows nothing, a folder of images without text files is unlabeled.

    Options:
        file: ``data.yaml``, whose ``names`` are the classes; "" takes the only one, and without one the numbers.
        labels: Names of the classes in the order of their numbers, separated by commas, instead of those of the file.
        draw: ``segments`` fills polygons and boxes, ``boxes`` fills the boxes around polygons.
        patient: Template of the images' file names with ``{patient}``, such as ``{patient}_*.png``; "" names none.
    """

    exclusive = False
    defaults: ClassVar[dict[str, Any]] = {"file": "", "labels": "", "draw": "segments", "patient": ""}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"draw": ("segments", "boxes")}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers.

        Raises:
            UserError: the file cannot be read, or two names are the same here.
        """
        return class_names(self._own_names, self._file or self.root)

    def own_classes(self) -> dict[str, str]:
        """The classes as the file writes them."""
        return dict(zip(self.classes, self._own_names, strict=True))

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """Says so where no patients are known."""
        if self.options["patient"]:
            return ()
        return ("The names of the images name no patients: every image is taken to be of another patient.",)

    def tables(self) -> list[Path]:
        """The file with the names."""
        return [self._file] if self._file else []

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Draw the lines of an image, uint8 (K, H, W).

        Raises:
            BadFile: a line is damaged.
        """
        if not row["mask"]:
            return super().read_mask(row)
        height, width = displayed_size(self.paths(row["image"])[0])
        masks = np.zeros((len(self.classes), height, width), np.uint8)
        for number, (kind, shares) in enumerate(self._lines(row["mask"]), start=1):
            points = [share * side for share, side in zip(shares, (width, height) * len(shares), strict=False)]
            left, top = min(points[::2]), min(points[1::2])
            box = [left, top, max(points[::2]) - left, max(points[1::2]) - top]
            mark = Mark(str(number), "", self.classes[kind], [points], box)
            masks[kind] |= draw(mark, (height, width), row["case_id"], as_box=self.options["draw"] == "boxes")
        return masks

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:
        """The boxes of the lines, around polygons too."""
        height, width = mask.shape[-2:]
        found: list[Named] = []
        for kind, shares in self._lines(row["mask"]):
            across, down = [share * width for share in shares[::2]], [share * height for share in shares[1::2]]
            found.append((kind, (min(down), min(across)), (max(down), max(across))))
        return object_rows(found, 2)

    def _lines(self, text: str) -> list[Line]:
        return [line for path in self.paths(text) for line in read_lines(path, len(self.classes))]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        images = [self.relative(path) for path in self.image_files(self.root)]
        texts = {name: label_path(name) for name in images}
        labeled = {name: (self.root / text).is_file() for name, text in texts.items()}
        folders: dict[PurePosixPath, list[str]] = defaultdict(list)
        for name in images:
            folders[PurePosixPath(name).parent].append(name)
        if not images:
            raise UserError(f"{self.root} holds no image: put the images and their text files there")
        if not any(labeled.values()):
            raise UserError(f"{self.root} has no text file for any image, as {texts[images[0]]}: correct source")
        template, empty = Template(self.options["patient"]), 0
        for name, case_id in zip(images, _case_ids(images), strict=True):
            folder = PurePosixPath(name).parent
            known = any(labeled[one] for one in folders[folder])
            pieces = template.match(PurePosixPath(name).name) if self.options["patient"] else {}
            if pieces is None:
                raise UserError(f"{name} is not of the form {template.text}: correct source_options patient")
            empty += known and not labeled[name]
            split = "submit" if not known else "test" if _TEST.search(folder.as_posix()) else ""
            yield {
                "case_id": case_id,
                "patient_id": pieces.get("patient", case_id),
                "image": as_list(name),
                "mask": "" if not known else as_list(texts[name]) if labeled[name] else "[]",
                "split": split,
            }
        if empty:
            found.append(f"{empty} images have no text file among others that have one: nothing is on them")

    @cached_property
    def _own_names(self) -> list[str]:
        if named := names_of(self.options["labels"]):
            return named
        if self._file:
            return class_list(self._file)
        paths = (self.root / label_path(self.relative(path)) for path in self.image_files(self.root))
        numbers = [kind for path in paths if path.is_file() for kind, _ in read_lines(path, None)]
        return [f"class_{number}" for number in range(max(numbers, default=0) + 1)]

    @cached_property
    def _file(self) -> Path | None:
        if name := self.options["file"]:
            if not (self.root / name).is_file():
                raise UserError(f"{self.root / name} does not exist: correct source_options file")
            return self.root / name
        found = sorted(path for path in self.root.rglob("*") if path.name in ("data.yaml", "data.yml", "dataset.yaml"))
        return found[0] if found else None


def _case_ids(images: list[str]) -> list[str]:
    """File names without their ending where they are all different, else paths."""
    stems = [PurePosixPath(name).name for name in images]
    return unique_ids(stems if len({stem.casefold().rpartition(".")[0] for stem in stems}) == len(stems) else images)


def class_list(path: Path) -> list[str]:
    """Names of the classes of ``data.yaml``, a list or by their numbers.

    Raises:
        UserError: the file is damaged, or has no names.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = content["names"]
        found = [str(names[number]) for number in sorted(names)] if isinstance(names, dict) else list(map(str, names))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path} has no names of classes ({text}): restore it, or set source_options labels") from None
    if not found:
        raise UserError(f"{path} has no names of classes: restore it, or set source_options labels")
    return found


def read_lines(path: Path, classes: int | None) -> list[Line]:
    """Polygons of a text file; a box becomes one of four corners.

    Args:
        path: The file.
        classes: Number of classes; None takes any.

    Raises:
        BadFile: a line is not a class and a box or a polygon in shares of the image.
    """
    found: list[Line] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadFile(f"{path} cannot be read as text: restore it from its source") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            kind, shares = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            raise BadFile(f"{path} line {number} is {line[:40]!r}: write a class and numbers") from None
        if kind < 0 or (classes is not None and kind >= classes):
            raise BadFile(f"{path} line {number} has the class {kind}, of {classes} that are named: correct it")
        if len(shares) == 4:
            across, down, width, height = shares
            left, right, top, bottom = across - width / 2, across + width / 2, down - height / 2, down + height / 2
            shares = [left, top, right, top, right, bottom, left, bottom]
        elif len(shares) < 6 or len(shares) % 2:
            raise BadFile(
                f"{path} line {number} has {len(shares)} numbers: a box has 4, a polygon an even number from 6 on"
            )
        if not all(-_OFF <= share <= 1 + _OFF for share in shares):
            raise BadFile(f"{path} line {number} leaves the image: write shares of its width and height, 0 ... 1")
        found.append((kind, [min(max(share, 0.0), 1.0) for share in shares]))
    return found
