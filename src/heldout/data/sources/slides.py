"""Large images, such as whole slides: cut into tiles that are cases, and read by tile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout.data.image import BadFile, Image, check_labels
from heldout.data.patches import window_starts
from heldout.data.readers.regions import LargeImage, open_large
from heldout.data.rle import RunLengths
from heldout.data.rle_bands import decode_region
from heldout.data.sources import as_list, identifier, natural_key
from heldout.data.sources.layout import chosen_file, class_names, read_table, visible_files
from heldout.data.sources.template import Template
from heldout.data.sources.tiled import TiledSource
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".tif", ".tiff", ".svs", ".ndpi")
_RLE = "rle:"
_RUNS = re.compile(r"-1|\d+( +\d+)*")
_SMALL = 4096  # pixels of a resolution that is looked at as a whole


class Slides(TiledSource):
    """A table with a row per image; all tiles of a patient stay together.

    Options:
        file: The table, CSV or TSV, with columns ``id``, ``path``, and where they exist ``patient``, ``mask`` and
            ``split``; "" takes the only one in the folder. ``mask`` names a TIFF of label values, or
            holds run lengths. An image without either is unlabeled.
        id, mask, patient: Names of these columns; ``mask`` may be a template such as ``masks/{id}.tif``.
        path: The template of the images' paths, ``train/{id}.tiff``, of a table without a column ``path``. Where no
            table is named either, every file of this form is an image, with the mask that its template names.
        submit: The template of the unlabeled images that have no row.
        labels: Names of the label values 1 ... K, separated by commas; run lengths are of one class.
        tile: Pixels of a tile's sides.
        overlap: Share of a tile that the next one covers too when new images are predicted.
        background: Largest difference of gray values (of 255) in a tile that is left out as empty.
        rle, rle_start: How run lengths count pixels.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "file": "",
        "id": "id",
        "path": "",
        "mask": "mask",
        "patient": "patient",
        "submit": "",
        "labels": "foreground",
        "tile": 1024,
        "overlap": 0.25,
        "background": 12,
        "rle": "columns",
        "rle_start": 1,
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"rle": ("columns", "rows"), "rle_start": (0, 1)}

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.rle = RunLengths(self.options["rle"], self.options["rle_start"])
        if not 32 <= self.options["tile"] <= 8192:
            raise UserError(f"source_options tile = {self.options['tile']} must be 32 ... 8192 pixels")
        if not 0 <= self.options["overlap"] <= 0.75:
            raise UserError(f"source_options overlap = {self.options['overlap']} must be 0 ... 0.75")

    @property
    def classes(self) -> tuple[str, ...]:
        """As the option says."""
        return class_names([name.strip() for name in self.options["labels"].split(",")], self.root)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Says what a case is."""
        return (
            f"A case is a tile of {self.options['tile']} pixels, and scores are of tiles; empty ones are left out.",
        )

    def tables(self) -> list[Path]:
        """The table, where there is one."""
        return [] if self._untabled else [self._csv]

    def paths(self, text: str) -> list[Path]:
        """Files with their boxes; none of run lengths."""
        return [] if text.startswith(_RLE) else super().paths(text)

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:  # noqa: ARG002 - no JPEG files
        """Read a tile."""
        path, box = _split(self.paths(row["image"])[0])
        return Image(open_large(path).read(*box))

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a tile of a mask, or decode its part of the run lengths: (1, H, W) uint8."""
        if not row["mask"]:
            raise BadFile(f"case {row['case_id']} has no mask: add its file, or leave the case out")
        path, box = _split(self.paths(row["image"])[0])
        if row["mask"].startswith(_RLE):
            text = self._texts[row["mask"].removeprefix(_RLE).rpartition(":")[0]]
            return decode_region(text, open_large(path).levels[0], self.rle, box)[None]
        mask_path, _ = _split(self.paths(row["mask"])[0])
        mask = open_large(mask_path)
        if mask.levels[0] != open_large(path).levels[0] or mask.channels != 1:
            raise BadFile(f"{mask_path} has another shape than {path}: store one label value per pixel")
        values = mask.read(*box)
        check_labels(mask_path, values)
        return (values > 0).astype(np.uint8) if len(self.classes) == 1 else values.astype(np.uint8)

    def loose(self, folder: Path) -> pd.DataFrame:
        """Overlapping tiles of all images below a folder, row by row; ``name`` is the image of each."""
        import pandas as pd

        pictures = self.pictures(folder)
        paths = (self.paths(text)[0] for text in pictures["image"])
        return pd.DataFrame(
            tile for name, path in zip(pictures["name"], paths, strict=True) for tile in self.tiles(name, path)
        )

    def pictures(self, folder: Path) -> pd.DataFrame:
        """All images below a folder."""
        import pandas as pd

        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name one that holds TIFF files")
        every = sorted(one for one in folder.resolve().rglob("*") if one.suffix.lower() in ENDINGS)
        paths = [path for path in every if not path.stem.endswith("_mask")]
        if not paths:
            raise UserError(f"{folder} holds no TIFF file: name a folder with {' or '.join(ENDINGS[:2])} files")
        names = [path.relative_to(folder.resolve()).as_posix() for path in paths]
        cases = [identifier(name.rpartition(".")[0]) for name in names]
        images = [as_list(str(path)) for path in paths]
        return pd.DataFrame({"case_id": cases, "patient_id": map(identifier, names), "image": images, "name": names})

    def unlabeled(self) -> pd.DataFrame:
        """The images without a mask, which are to be submitted as a whole."""
        import pandas as pd

        rows = [row for row in self._frame.to_dict("records") if not row.get("mask", "").strip()]
        names = [row["id"].strip() for row in rows]
        patients = [row.get("patient", "").strip() for row in rows]
        values = {
            "case_id": [identifier(name) for name in names],
            "patient_id": [patient or identifier(name) for patient, name in zip(patients, names, strict=True)],
            "image": [as_list(row["path"].strip()) for row in rows],
            "own_id": names,
        }
        return pd.DataFrame(values, dtype=str)

    def tiles(self, name: str, path: Path) -> Iterator[dict[str, Any]]:
        """Overlapping tiles of an image, row by row."""
        for box in boxes(open_large(path), self.options["tile"], self.options["overlap"]):
            yield {
                "case_id": f"{identifier(name.rpartition('.')[0] or name)}_r{box[0]}_c{box[1]}",
                "patient_id": identifier(name),
                "image": as_list(f"{path}#{','.join(map(str, box))}"),
                "name": name,
                "box": box,
            }

    def unread(self, folder: Path, rows: Any) -> dict[str, str]:  # noqa: ARG002 - other files are none of its
        """Nothing: only TIFF files are asked for."""
        return {}

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        table = self.root if self._untabled else self._csv
        for number, row in enumerate(self._frame.to_dict("records"), start=2):
            where, name = f"{table} row {number}", identifier(row["id"].strip())
            path, mask = self.root / row["path"].strip(), row.get("mask", "").strip()
            if not row["id"].strip() or not path.is_file():
                raise UserError(f"{where}: the file {row['path']!r} does not exist below {self.root}: correct it")
            encoded = bool(_RUNS.fullmatch(mask))
            if mask and not encoded and not (self.root / mask).is_file():
                raise UserError(f"{where}: the mask {mask!r} does not exist below {self.root}: correct it")
            if encoded and len(self.classes) > 1:
                raise UserError(f"{where} has run lengths for {len(self.classes)} classes: name a TIFF of label values")
            if encoded and mask != "-1":
                self.rle.runs(mask)
            large = open_large(path)
            every = list(boxes(large, self.options["tile"], 0.0))
            used = [box for box in every if self._holds_detail(large, box)]
            found.append(f"{row['path']}: {len(used)} of {len(every)} tiles are used, the others are empty")
            digest = hashlib.sha256(mask.encode()).hexdigest()[:16]
            for box in used:
                place = ",".join(map(str, box))
                text = as_list(f"{mask}#{place}") if mask and not encoded else f"{_RLE}{row['id'].strip()}:{digest}"
                yield {
                    "case_id": f"{name}_r{box[0]}_c{box[1]}",
                    "patient_id": row.get("patient", "").strip() or name,
                    "image": as_list(f"{row['path'].strip()}#{place}"),
                    "mask": text if mask else "",
                    "split": row.get("split", "").strip() if mask else "submit",
                }

    def _holds_detail(self, large: LargeImage, box: tuple[int, int, int, int]) -> bool:
        levels = enumerate(large.levels)
        level = next((number for number, shape in levels if max(shape) <= _SMALL), len(large.levels) - 1)
        scale = large.levels[level][0] / large.levels[0][0]
        small = [max(1, round(side * scale)) for side in box[2:]]
        part = large.read(int(box[0] * scale), int(box[1] * scale), small[0], small[1], level).mean(0)
        return part.size > 0 and float(np.ptp(part)) > self.options["background"]

    @cached_property
    def _texts(self) -> dict[str, str]:
        masks = zip(self._frame["id"].str.strip(), self._frame["mask"].str.strip(), strict=True)
        return {name: "" if text == "-1" else text for name, text in masks}

    @cached_property
    def _frame(self) -> pd.DataFrame:
        """The table with the columns ``id``, ``path``, ``mask`` and ``patient``."""
        import pandas as pd

        path, mask = self.options["path"], self.options["mask"]
        images = self._named(path) if path else {}
        if self._untabled:
            if not images:
                raise UserError(f"{self.root} holds no file of the form {path}: correct source_options path")
            table = pd.DataFrame({"id": list(images)}, dtype=str)
        else:
            table = read_table(
                self._csv,
                [self.options["id"], *([] if path else ["path"])],
                "rename the columns, or name them in source_options id and path",
            )
            names = {self.options[name]: name for name in ("id", "mask", "patient")}
            table = table.rename(columns={there: name for there, name in names.items() if there in table.columns})
        ids = table["id"].str.strip()
        if path:
            table = table.assign(path=[images.get(one, path.replace("{id}", one)) for one in ids])
        if Template.is_one(mask):
            masks = self._named(mask)
            table = table.assign(mask=[masks.get(one, "") for one in ids])
        if self.options["submit"]:
            new = {one: name for one, name in self._named(self.options["submit"]).items() if one not in set(ids)}
            table = pd.concat([table, pd.DataFrame({"id": list(new), "path": list(new.values())}, dtype=str)])
        return table.fillna("").reset_index(drop=True)

    def _named(self, text: str) -> dict[str, str]:
        """Files of a form, by their ids."""
        template = Template(text)
        if template.fields != ("id",):
            raise UserError(f"source_options of slides: {text!r} must name {{id}}, and nothing else, once")
        names = sorted((path.relative_to(self.root).as_posix() for path in visible_files(self.root)), key=natural_key)
        return {pieces["id"]: name for name in names if (pieces := template.match(name))}

    @property
    def _untabled(self) -> bool:
        """Whether no table says what there is, but a template does."""
        return bool(self.options["path"]) and not self.options["file"]

    @cached_property
    def _csv(self) -> Path:
        present = [one for one in self.root.iterdir() if one.suffix.lower() in (".csv", ".tsv")]
        present = [one for one in present if one.name not in self.other_files]
        return chosen_file(self.root, self.options["file"], present, "table (CSV or TSV)")


def boxes(large: LargeImage, tile: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """First row, first column, height and width of tiles that cover an image, row by row.

    Without overlap the last tiles are smaller; with it they end where the image does.
    """
    height, width = large.levels[0]
    if overlap:
        tops, lefts = (window_starts(size, min(tile, size), overlap) for size in (height, width))
    else:
        tops, lefts = list(range(0, height, tile)), list(range(0, width, tile))
    for top in tops:
        for left in lefts:
            yield top, left, min(tile, height - top), min(tile, width - left)


def _split(place: Path) -> tuple[Path, tuple[int, int, int, int]]:
    name, _, box = str(place).rpartition("#")
    top, left, height, width = map(int, box.split(","))
    return Path(name), (top, left, height, width)
