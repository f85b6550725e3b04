"""A tiny dataset layout for tests: ``index.csv`` beside ``.npy`` arrays, with the options of a real source."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from heldout.config import BaseConfig
from heldout.data import sources
from heldout.data.image import BadFile, Image
from heldout.data.sources import Source


class Toy(Source):
    defaults: ClassVar = {"classes": "lesion", "kind": "segmentation", "exclusive": True, "dimensions": 2}
    classes: tuple[str, ...] = ()
    exclusive = True
    kind = "segmentation"
    caveats = ("toy data",)

    def __init__(self, root, **options):
        super().__init__(root, **options)
        self.classes = tuple(self.options["classes"].split(","))
        self.kind = self.options["kind"]
        self.exclusive = self.options["exclusive"]
        self.dimensions = self.options["dimensions"]

    def tables(self):
        return [self.root / "index.csv"]

    def _rows(self, found):
        found.append("toy line")
        text = ["case_id", "patient_id", "image", "mask", "split"]
        frame = pd.read_csv(self.root / "index.csv", dtype=dict.fromkeys(text, str), keep_default_na=False)
        for name in self.classes:
            column = f"y_{name}"
            frame[column] = pd.to_numeric(frame[column]) if column in frame else np.nan
        return frame.to_dict("records")

    def read_image(self, row, *, salvage=False):
        array = np.load(self.paths(row["image"])[0])
        if array.dtype == np.int8:
            raise BadFile(f"{row['image']} is truncated: restore it")
        return Image(array, np.eye(4) if self.dimensions == 3 else None)

    def read_mask(self, row):
        return np.load(self.paths(row["mask"])[0])


def textured(seed: int, shape=(1, 24, 20)) -> np.ndarray:
    """An image unlike that of any other seed."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, shape).astype(np.uint8)


def write_toy(folder: Path, rows: list[dict], images: dict[str, np.ndarray], masks: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in (("image", images), ("mask", masks)):
        for case_id, array in arrays.items():
            np.save(folder / f"{case_id}.{name}.npy", array)
    table = pd.DataFrame(rows)
    table["image"] = [f"{case_id}.image.npy" for case_id in table["case_id"]]
    table["mask"] = [f"{case_id}.mask.npy" if case_id in masks else "" for case_id in table["case_id"]]
    if "split" not in table:
        table["split"] = ""
    table.to_csv(folder / "index.csv", index=False)


def segmentation_toy(folder: Path, patients: int = 12, per_patient: int = 2) -> None:
    """Patients with ``per_patient`` images each; those of every second patient show a lesion."""
    rows, images, masks = [], {}, {}
    for patient in range(patients):
        for number in range(per_patient):
            case_id = f"p{patient:02d}_{number}"
            rows.append({"case_id": case_id, "patient_id": f"p{patient:02d}"})
            images[case_id] = textured(100 * patient + number)
            masks[case_id] = np.zeros((1, 24, 20), np.uint8)
            masks[case_id][0, 3:9, 4:8] = patient % 2
    write_toy(folder, rows, images, masks)


def install(monkeypatch, tmp_path: Path) -> Path:
    """Make ``toy`` known as a source; returns the folder of the dataset ``toys``."""
    monkeypatch.setitem(sources.SOURCES, "toy", "Toy")
    monkeypatch.setitem(sys.modules, "heldout.data.sources.toy", sys.modules[__name__])
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    return tmp_path / "raw" / "toys"


def get_source(name: str, root: Path, options: dict) -> Source:
    """The source ``name`` for the dataset in ``root``."""
    return sources.source_class(name)(root, **options)


def toy_config(**fields) -> BaseConfig:
    options = {"dataset": "toys", "source": "toy", "fold_count": 3, "image_size": (16, 16)}
    return BaseConfig(**{**options, **fields})
