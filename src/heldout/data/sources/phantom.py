"""Synthetic patients, written in real formats: what the demonstration and the tests run on.

Every patient has several images of one head-like shape. About three in ten patients have lesions, in about half of
their images: small ones, large ones, or both. Two further patients are unlabeled, as a competition's are.
"""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout import files
from heldout.data.sources import Source, as_list
from heldout.data.sources.layout import number_value, read_table
from heldout.data.sources.phantom_image import Phantom2d, Phantom3d
from heldout.errors import UserError
from heldout.records import parse_object, read_bytes

_SUBMIT_SHARE = 0.1
_POSITIVE_SHARE = 0.3
SYNTHETIC = ("Synthetic images: scores say that the machinery works, nothing about medicine.",)


class Synthetic(Source):
    """A dataset that is made where it is missing, the same on every day.

    Attributes:
        minimum: Options that the files depend on, with the smallest value of each.
    """

    minimum: ClassVar[dict[str, int]] = {}

    @classmethod
    def locate(cls, dataset: str, options: Mapping[str, Any]) -> Path:
        """Folder of the dataset below ``input/``; made where it is missing.

        Raises:
            UserError: the folder exists but was made otherwise.
        """
        root = files.home() / "input" / (dataset or cls.__module__.rpartition(".")[2])
        source = cls(root, **options)
        if not root.exists():
            source.make()
        source.check()
        return root

    def make(self) -> None:
        """Write the dataset; it appears under its name when it is complete."""
        with files.folder_beside(self.root) as folder:
            temporary = folder / self.root.name
            temporary.mkdir()
            settings = self._settings
            self._write(temporary, settings)
            files.write_json(temporary / "phantom.json", settings)
            try:
                temporary.rename(self.root)
            except OSError:
                if not self.root.is_dir():  # else another process was faster, with the same content
                    raise

    def check(self) -> None:
        """Compare what the folder was made with and what is asked for.

        Raises:
            UserError: they differ, or the file says nothing of it.
        """
        path = self.root / "phantom.json"
        remedy = f"delete the folder {self.root}, it will be made again"
        made = parse_object(read_bytes(path), str(path), 1, remedy) if path.is_file() else {}
        for key, value in self._settings.items():
            if made.get(key) != value:
                raise UserError(
                    f"{self.root} was made with {key} = {made.get(key)}, not {value}: delete that folder, or give the "
                    f"experiment another dataset name"
                )

    @property
    def _usual(self) -> dict[str, int]:
        """Values of options that are 0."""
        return {}

    @property
    def _settings(self) -> dict[str, int]:
        """Everything that the files depend on."""
        options = {key: self.options[key] or self._usual.get(key, 0) for key in self.minimum}
        for key, least in self.minimum.items():
            if options[key] < least:
                raise UserError(f"source_options {key} = {options[key]}: at least {least} are needed")
        return {"schema": 1, "version": 1, **options}

    @abstractmethod
    def _write(self, folder: Path, settings: Mapping[str, int]) -> None:
        """Write the files."""


class Phantom(Synthetic):
    """Lesions of two sizes, on disk as a label map: 1 small, 2 large.

    Options: ``dimensions`` (2: PNG, 3: NIfTI), ``patients``, ``images_per_patient`` and ``size`` (pixels per side; 0
    takes a default that fits the dimensions) and ``seed`` say what is made; ``exclusive`` (default False) says how it
    is read: as one label map, or as a channel and a label per class, which suits classification and segmentation.
    """

    classes: tuple[str, ...] = ("small", "large")
    exclusive: bool = True
    defaults: ClassVar[dict[str, Any]] = {
        "dimensions": 2,
        "patients": 0,
        "images_per_patient": 0,
        "size": 0,
        "seed": 0,
        "exclusive": False,
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"dimensions": (2, 3)}
    minimum: ClassVar[dict[str, int]] = {
        "dimensions": 2,
        "patients": 10,
        "images_per_patient": 1,
        "size": 32,
        "seed": 0,
    }

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.dimensions = self.options["dimensions"]
        self.exclusive = self.options["exclusive"]

    @property
    def caveats(self) -> tuple[str, ...]:
        """Nothing here is real."""
        return SYNTHETIC

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a label map (1, *S), or where classes are not exclusive a channel per class (2, *S)."""
        mask = super().read_mask(row)
        if self.exclusive or mask.max() > len(self.classes):
            return mask
        return np.concatenate([(mask == value).astype(np.uint8) for value in range(1, len(self.classes) + 1)])

    def tables(self) -> list[Path]:
        """``cases.csv``."""
        return [self.root / "cases.csv"]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - nothing odd in a made dataset
        path = self.root / "cases.csv"
        remedy = f"delete the folder {self.root}, it will be made again"
        if not path.is_file():
            raise UserError(f"{path} does not exist: {remedy}")
        columns = ("case_id", "patient_id", "image", "mask", "split", *(f"y_{name}" for name in self.classes))
        for row in read_table(path, columns, remedy).to_dict("records"):
            yield {
                **{key: row[key] for key in ("case_id", "patient_id", "split")},
                "image": as_list(row["image"]),
                "mask": as_list(row["mask"]) if row["mask"] else "",
                **{key: number_value(row[key], key, f"{path}, case {row['case_id']},") for key in columns[5:]},
            }

    def _is_mask(self, relative: Path) -> bool:
        return "masks" in relative.parts[:-1]

    @property
    def _usual(self) -> dict[str, int]:
        if self.dimensions == 3:
            return {"patients": 24, "images_per_patient": 2, "size": 40}
        return {"patients": 40, "images_per_patient": 4, "size": 96}

    def _write(self, folder: Path, settings: Mapping[str, int]) -> None:
        maker = (Phantom3d if self.dimensions == 3 else Phantom2d)(settings["size"])
        lesions = self._plan(settings["patients"])
        lesions += [lesions[n % len(lesions)] for n in range(max(2, round(_SUBMIT_SHARE * len(lesions))))]
        rows = []
        for patient, sizes in enumerate(lesions):
            hidden = patient >= settings["patients"]
            number = patient - settings["patients"] if hidden else patient
            name = f"{'s' if hidden else 'p'}{number + 1:03d}"
            for n in range(settings["images_per_patient"]):
                rng = np.random.default_rng([settings["seed"], patient, n + 1])
                shape = np.random.default_rng([settings["seed"], patient, 0])
                show = sizes if n == 0 or rng.random() < 0.5 else ()
                image, mask = maker.draw(rng, shape, show)
                rows.append(self._save(folder, f"{name}_{n + 1}", name, maker, image, mask, hidden))
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "cases.csv").write_text(table.getvalue(), encoding="utf-8")
        wanted = [row["case_id"] for row in rows if row["split"] == "submit"]
        sample = ["id,small,large", *(f"{case_id},0.5,0.5" for case_id in wanted)]
        (folder / "sample_submission.csv").write_text("\n".join(sample) + "\n", encoding="utf-8")

    def _plan(self, patients: int) -> list[tuple[int, ...]]:
        """Lesion sizes of each patient: none, small (1), large (2) or both, in a shuffled order."""
        positives = max(6, round(_POSITIVE_SHARE * patients))
        kinds: list[tuple[int, ...]] = [((1,), (2,), (1, 2))[n % 3] for n in range(positives)]
        kinds += [()] * (patients - positives)
        order = np.random.default_rng(self.options["seed"]).permutation(patients)
        return [kinds[n] for n in order]

    def _save(
        self, folder: Path, case_id: str, patient: str, maker: Any, image: Any, mask: Any, hidden: bool
    ) -> dict[str, str]:
        place = "submit" if hidden else "images"
        paths = {
            "image": f"{place}/{case_id}{maker.ending}",
            "mask": "" if hidden else f"masks/{case_id}{maker.ending}",
        }
        for kind, content in (("image", image), ("mask", mask)):
            if paths[kind]:
                path = folder / paths[kind]
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(maker.encode(content))
        present = {n: "" if hidden else str(int((maker.values(mask) == n).any())) for n in (1, 2)}
        labels = {"y_small": present[1], "y_large": present[2]}
        split = "submit" if hidden else ""
        return {"case_id": case_id, "patient_id": patient, **paths, "split": split, **labels}
