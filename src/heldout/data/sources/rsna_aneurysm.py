"""RSNA Intracranial Aneurysm Detection 2025: CT and MR series as folders of DICOM files.

``train.csv`` has a row per series: SeriesInstanceUID, PatientAge, PatientSex, Modality, 13 locations and Aneurysm
Present. ``series/<SeriesInstanceUID>/`` holds its files, and ``train_localizers.csv`` points at single aneurysms.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from heldout.data.image import BadFile, Image
from heldout.data.sides import sided_pairs
from heldout.data.sources import Source, as_list, folder_with, identifier, natural_key
from heldout.data.sources.download import Download
from heldout.data.sources.layout import read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.data.readers.dicom import Series

LOCATIONS = (
    "Left Infraclinoid Internal Carotid Artery",
    "Right Infraclinoid Internal Carotid Artery",
    "Left Supraclinoid Internal Carotid Artery",
    "Right Supraclinoid Internal Carotid Artery",
    "Left Middle Cerebral Artery",
    "Right Middle Cerebral Artery",
    "Anterior Communicating Artery",
    "Left Anterior Cerebral Artery",
    "Right Anterior Cerebral Artery",
    "Left Posterior Communicating Artery",
    "Right Posterior Communicating Artery",
    "Basilar Tip",
    "Other Posterior Circulation",
)
PRESENT = "Aneurysm Present"
_UID, _SERIES = "SeriesInstanceUID", "series"


@dataclass(frozen=True)
class Localizer:
    """A point that a radiologist put on an aneurysm.

    Attributes:
        location: One of :data:`LOCATIONS`.
        voxel: Its place in the volume (column, row, slice), fractional; of the grid that :meth:`read_image` gives.
    """

    location: str
    voxel: tuple[float, float, float]


class RsnaAneurysm(Source):
    """A case is a series; the classes are the 13 locations and whether there is any aneurysm.

    Where a series holds several volumes the one with the most slices counts, and missing or unevenly spaced slices
    are interpolated, so that an odd series still gives a prediction; :meth:`report` lists what was done.

    Options: ``inspect`` (default True) reads the headers of every file for that report; without it only one header
    per series is read, for the patient's id.
    """

    downloads: ClassVar[Mapping[str, Download]] = {
        "rsna-intracranial-aneurysm-detection": Download(
            kaggle="rsna-intracranial-aneurysm-detection", license="the rules of the competition"
        )
    }
    dimensions = 3
    kind: Literal["classification", "segmentation", "regression"] = "classification"
    exclusive = False
    classes: tuple[str, ...] = (*map(identifier, LOCATIONS), identifier(PRESENT))
    swaps = sided_pairs(classes)
    defaults: ClassVar[dict[str, Any]] = {"inspect": True}

    _nameless = 0

    @property
    def caveats(self) -> tuple[str, ...]:
        """Says so where patients are not known; filled by :meth:`index`."""
        if not self._nameless:
            return ()
        return (f"{self._nameless} series name no patient (PatientID): each is taken to be of another patient.",)

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:  # noqa: ARG002 - always lenient
        """Read the largest volume of a series, evenly spaced: Hounsfield units of CT, raw values of MR.

        Raises:
            BadFile: a file is damaged, or the series makes no volume.
        """
        from heldout.data import readers

        return readers.open_series(self._place(row), salvage=True)

    def tables(self) -> list[Path]:
        """``train.csv``, and ``train_localizers.csv`` where it exists."""
        names = ("train.csv", "train_localizers.csv")
        return [self._folder / name for name in names if (self._folder / name).is_file()]

    def localizers(self, row: Mapping[str, Any]) -> list[Localizer]:
        """Points on the aneurysms of a case.

        Raises:
            BadFile: a point names a file or a frame that the case's volume does not have.
        """
        rows = self._points.get(Path(self._place(row)[0]).name, [])
        if not rows:
            return []
        from heldout.data.readers.dicom import grid_of

        series = self._series(row)
        grid = grid_of(series, gaps="resample")
        found = []
        for point in rows:
            one = self._slice(series, point)
            x, y = float(point["place"]["x"]), float(point["place"]["y"])
            sizes, axes = one.spacing, one.orientation
            place = one.position + axes[0] * sizes[1] * x + axes[1] * sizes[0] * y
            place = place * (-1, -1, 1)  # LPS to RAS
            voxel = np.linalg.solve(grid.affine, np.append(place, 1))[:3]
            found.append(Localizer(point["location"], _xyz(voxel)))
        return found

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        self._nameless = 0
        odd: list[tuple[str, str]] = []
        listed = set()
        for number, row in enumerate(self._table, start=2):
            uid = row[_UID].strip()
            if not uid or uid in listed:
                raise UserError(f"{self._folder / 'train.csv'} row {number}: {_UID} {uid!r} is empty or repeated")
            listed.add(uid)
            yield self._row(uid, {name: self._label(row, name, number) for name in (*LOCATIONS, PRESENT)}, "", odd)
        folder = self._folder / _SERIES
        present = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=natural_key)
        for uid in present:
            if uid not in listed and not uid.startswith("."):
                found.append(f"series/{uid} is not listed in train.csv: taken as unlabeled")
                yield self._row(uid, dict.fromkeys((*LOCATIONS, PRESENT), float("nan")), "submit", odd)
        found += _summary(odd)
        strange = sorted(set(self._points) - listed)
        if strange:
            found.append(f"train_localizers.csv names {len(strange)} series that train.csv lacks, such as {strange[0]}")

    def _row(self, uid: str, labels: dict[str, float], split: str, odd: list[tuple[str, str]]) -> dict[str, Any]:
        folder = self._folder / _SERIES / uid
        patient, notes = self._inspect(folder)
        self._nameless += not patient
        anywhere = max(labels[name] for name in LOCATIONS)
        if anywhere == anywhere and anywhere != labels[PRESENT]:
            notes.append(f"{PRESENT} = {labels[PRESENT]:g} contradicts its locations")
        odd += [(uid, note) for note in notes]
        return {
            "case_id": identifier(uid),
            "patient_id": patient or uid,
            "image": as_list(folder.relative_to(self.root).as_posix()),
            "mask": "",
            "split": split,
            **{f"y_{identifier(name)}": value for name, value in labels.items()},
        }

    def _inspect(self, folder: Path) -> tuple[str, list[str]]:
        """Patient of a series, and what is odd about its files."""
        from heldout.data.readers.dicom import find_series, index_tree, oddities

        if not folder.is_dir():
            return "", [f"series/{folder.name} is missing, though train.csv lists it"]
        if not self.options["inspect"]:
            return next((entry.patient for entry in index_tree(folder) if not entry.problem), ""), []
        try:
            series, notes = find_series(folder)
        except BadFile as error:
            return "", [str(error)]
        notes = [*notes, *(f"left out another volume: {one.describe()}" for one in series[1:])]
        return series[0].patient_id, [*notes, *oddities(series[0])]

    def _label(self, row: dict[str, str], name: str, number: int) -> float:
        value = row[name].strip()
        if value not in ("0", "1", "0.0", "1.0"):
            raise UserError(f"{self._folder / 'train.csv'} row {number} has {name} = {value!r}: write 0 or 1")
        return float(value)

    def _place(self, row: Mapping[str, Any]) -> list[Path]:
        return self.paths(row["image"])

    def _series(self, row: Mapping[str, Any]) -> Series:
        from heldout.data.readers.dicom import find_series

        return find_series(self._place(row)[0])[0][0]

    def _slice(self, series: Series, point: dict[str, Any]) -> Any:
        frame = int(point["place"].get("f", 0))
        for one in series.slices:
            if one.header.text("SOPInstanceUID") == point["uid"] and one.frame == frame:
                return one
        raise BadFile(
            f"{self._folder / 'train_localizers.csv'} points at SOPInstanceUID {point['uid']}, frame {frame}, which "
            f"series {series.uid} lacks: restore its file or remove the row"
        )

    @cached_property
    def _folder(self) -> Path:
        folder = folder_with(self.root, "train.csv")
        if folder is None or not (folder / _SERIES).is_dir():
            raise UserError(f"{self.root} has no train.csv beside a folder series: unpack the whole competition there")
        return folder

    @cached_property
    def _table(self) -> list[dict[str, str]]:
        return read_table(self._folder / "train.csv", (_UID, *LOCATIONS, PRESENT)).to_dict("records")

    @cached_property
    def _points(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of ``train_localizers.csv`` by series."""
        path = self._folder / "train_localizers.csv"
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        names = (_UID, "SOPInstanceUID", "coordinates", "location")
        for number, row in enumerate(read_table(path, names).to_dict("records") if path.is_file() else [], start=2):
            try:
                place = ast.literal_eval(row["coordinates"])
                float(place["x"]), float(place["y"]), int(place.get("f", 0))
            except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
                raise UserError(
                    f"{path} row {number} has coordinates = {row['coordinates'][:40]!r}: write {{'x': 1.5, 'y': 2.5}}"
                ) from None
            if row["location"] not in LOCATIONS:
                raise UserError(f"{path} row {number} has location = {row['location']!r}: name one of train.csv's")
            found[row[_UID]].append({"uid": row["SOPInstanceUID"], "place": place, "location": row["location"]})
        return found


def _summary(odd: list[tuple[str, str]]) -> list[str]:
    """One line for all notes that differ in names and numbers only, with the first of them and their number."""
    alike: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for uid, note in odd:
        alike[re.sub(r"\S*[/\d]\S*", "", note)].append((uid, note))
    return [
        f"{same[0][0]}: {same[0][1]}" + (f" ({len(same) - 1} more like this)" if len(same) > 1 else "")
        for same in alike.values()
    ]


def _xyz(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    return x, y, z
