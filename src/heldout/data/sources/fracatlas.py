"""FracAtlas: musculoskeletal X-rays with a table of findings and outlines of fractures.

Reference: Abedeen et al., FracAtlas: a dataset for fracture classification, localization and segmentation of
musculoskeletal radiographs, Scientific Data 10 (2023).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.image import BadFile
from heldout.data.objects import object_rows
from heldout.data.sources import Source, as_list, folder_with, natural_key
from heldout.data.sources.layout import read_table
from heldout.errors import UserError
from heldout.records import read_json

_VGG = "Annotations/VGG JSON/VGG_fracture_masks.json"
_COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"
_RESTORE = "restore the Annotations folder of FracAtlas"
_SUBPIXEL_BITS = 4
_MARGIN = 2.0  # pixels by which an outline may leave its image


class FracAtlas(Source):
    """Outlines are filled in the image as displayed: EXIF rotation comes first.

    Where ``dataset.csv`` and the outlines disagree about an image, ``label_from`` decides: with "polygon" (default) a
    image is fractured if it has an outline, with "csv" an outline that the table denies is ignored, and a fracture
    without an outline is a bad case. The outlines are those of the VGG file; where the COCO file lists more for a
    image, those of the COCO file. Every such case is reported.
    """

    classes = ("fracture",)
    caveats = (
        "The dataset names no patients: every image is taken to be of another patient, so that only duplicate images "
        "are kept together, and scores may be optimistic.",
        "Every truncated JPEG of the dataset is non-fractured: training on padded files would teach the damage.",
    )
    defaults: ClassVar[dict[str, Any]] = {"label_from": "polygon"}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"label_from": ("polygon", "csv")}

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Fill the outlines of an image: (1, H, W) of the whole image, rows lost to truncation included."""
        import cv2

        from heldout.data.readers.image import displayed_size

        if not row["mask"]:
            raise BadFile(f"case {row['case_id']} is fractured by the table but has no outline: leave it out")
        path = self.paths(row["image"])[0]
        height, width = displayed_size(path)
        mask = np.zeros((height, width), np.uint8)
        for points in self._outlines.get(row["mask"].partition("#")[2], []):
            low, high = points.min(0), points.max(0)
            if low.min() < -_MARGIN or (high > np.array([width, height]) + _MARGIN).any():
                raise BadFile(
                    f"{path}: an outline reaches to {high.round().tolist()} in an image of {width} x {height}: "
                    f"the file was rotated or resized, restore it"
                )
            fixed = np.round(points * 2**_SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL_BITS)
        return mask[None]

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:  # noqa: ARG002 - outlines are listed
        """A box around every outline."""
        outlines = self._outlines.get(row["mask"].partition("#")[2], [])
        return object_rows([(0, one.min(0)[::-1].tolist(), one.max(0)[::-1].tolist()) for one in outlines], 2)

    def tables(self) -> list[Path]:
        """``dataset.csv`` and the outlines."""
        return [path for name in ("dataset.csv", _VGG, _COCO) if (path := self._folder / name).is_file()]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        present = defaultdict(list)
        for path in self.image_files(self._folder / "images"):
            present[path.name].append(path.relative_to(self.root))
        table = self._table
        for name in sorted(present.keys() | table.keys(), key=natural_key):
            folder = "Fractured" if table.get(name) else "Non_fractured"
            paths = present.get(name) or [(self._folder / "images" / folder / name).relative_to(self.root)]
            if name not in present:
                found.append(f"{name} is missing, though dataset.csv lists it")
            if len(paths) > 1:
                found.append(f"{name} lies in several folders: {paths[0]} is used")
            row = {"case_id": Path(name).stem, "patient_id": Path(name).stem, "image": as_list(paths[0].as_posix())}
            if name not in table:
                if table:
                    found.append(f"{name} is not listed in dataset.csv: it is taken as unlabeled")
                yield {**row, "mask": "", "split": "submit"}
                continue
            label, outlines = self._decide(name, table[name], paths[0].parent.name, found)
            if label and not outlines:
                yield {**row, "mask": "", "split": "", "y_fracture": 1.0}
                continue
            vgg = (self._folder / _VGG).relative_to(self.root).as_posix()
            yield {**row, "mask": f"{vgg}#{name if label else ''}", "split": "", "y_fracture": float(label)}
        unknown = sorted(self._outlines.keys() - table.keys()) if table else []
        found += [f"{name} has an outline but is not listed in dataset.csv" for name in unknown]

    def _decide(self, name: str, by_table: bool, folder: str, found: list[str]) -> tuple[bool, bool]:
        """(fractured, has an outline) of one image; a disagreement goes into ``found``."""
        outlined = bool(self._outlines.get(name))
        label = outlined if self.options["label_from"] == "polygon" else by_table
        by_folder = {"Fractured": True, "Non_fractured": False}.get(folder, by_table)
        if len({by_table, outlined, by_folder}) > 1:
            outline = "an outline" if outlined else "no outline"
            found.append(
                f"{name} lies in {folder}/ and has {outline}, but dataset.csv says fractured={int(by_table)}: taken as "
                f"{'fractured' if label else 'not fractured'} (label_from = {self.options['label_from']!r})"
            )
        if label and len(self._outlines.get(name, [])) > self._vgg_counts.get(name, 0):
            found.append(f"{name}: the COCO file has more outlines than the VGG file, its outlines are used")
        return label, outlined

    @cached_property
    def _folder(self) -> Path:
        folder = folder_with(self.root, "images")
        if folder is None:
            raise UserError(f"{self.root} has no images/ folder: unpack FracAtlas there")
        return folder

    @cached_property
    def _table(self) -> dict[str, bool]:
        """File name to fractured, by ``dataset.csv``; empty where there are only images."""
        path = self._folder / "dataset.csv"
        if not path.is_file():
            return {}
        frame = read_table(path, ["image_id", "fractured"])
        table: dict[str, bool] = {}
        for number, (name, value) in enumerate(zip(frame["image_id"], frame["fractured"], strict=True), start=2):
            if not name or value not in ("0", "1"):
                raise UserError(f"{path} row {number} needs image_id and fractured = 0 or 1: correct it")
            if name in table:
                raise UserError(f"{path} row {number} repeats {name}: remove one of its rows")
            table[name] = value == "1"
        return table

    @cached_property
    def _vgg_counts(self) -> dict[str, int]:
        return {name: len(outlines) for name, outlines in self._vgg.items()}

    @cached_property
    def _vgg(self) -> dict[str, list[np.ndarray]]:
        path = self._folder / _VGG
        if not path.is_file():
            raise UserError(f"{path} does not exist: restore the Annotations folder of FracAtlas")
        outlines = defaultdict(list)
        for entry in read_json(path, _RESTORE).values():
            regions = entry["regions"]
            for region in regions.values() if isinstance(regions, dict) else regions:
                shape = region["shape_attributes"]
                if shape["name"] != "polygon":
                    raise UserError(f"{path}: {entry['filename']} has a {shape['name']}: draw it as a polygon")
                points = np.stack([shape["all_points_x"], shape["all_points_y"]], axis=1)
                outlines[entry["filename"]].append(points.astype(np.float64))
        return dict(outlines)

    @cached_property
    def _outlines(self) -> dict[str, list[np.ndarray]]:
        """Outlines (points, 2) as x, y in displayed pixels, by file name."""
        outlines = dict(self._vgg)
        path = self._folder / _COCO
        if path.is_file():
            content, coco = read_json(path, _RESTORE), defaultdict(list)
            names = {image["id"]: image["file_name"] for image in content["images"]}
            for annotation in content["annotations"]:
                for flat in annotation["segmentation"]:
                    coco[names[annotation["image_id"]]].append(np.asarray(flat, np.float64).reshape(-1, 2))
            outlines.update({name: found for name, found in coco.items() if len(found) > len(outlines.get(name, []))})
        return outlines
