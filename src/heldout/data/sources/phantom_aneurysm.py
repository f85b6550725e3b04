"""Synthetic patients in the layout of RSNA Intracranial Aneurysm Detection 2025, in DICOM with its usual oddities."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.sources.phantom import SYNTHETIC, Synthetic
from heldout.data.sources.rsna_aneurysm import LOCATIONS, PRESENT, RsnaAneurysm

_ROOT = "1.2.826.0.1.3680043.10.511"
# Where a location's aneurysms lie: shares of the head's radius to the left, back and head (LPS).
_PLACES = (
    *((0.25, -0.2, -0.5), (-0.25, -0.2, -0.5), (0.25, -0.25, 0.0), (-0.25, -0.25, 0.0), (0.55, -0.1, 0.1)),
    *((-0.55, -0.1, 0.1), (0.0, -0.5, 0.1), (0.15, -0.55, 0.45), (-0.15, -0.55, 0.45), (0.2, 0.1, -0.05)),
    *((-0.2, 0.1, -0.05), (0.0, 0.25, 0.0), (0.0, 0.5, -0.4)),
)
_SEEN = {"CT": (1, 0, 0, 0, 1, 0), "MR": (0, 1, 0, 0, 0, -1)}  # axial CT, sagittal MR


class PhantomAneurysm(RsnaAneurysm, Synthetic):
    """Bright spheres in a textured ellipsoid; half the patients have some, at up to four locations.

    CT series are axial with an intercept of -1024, MR series sagittal. Every third patient has one of each, every
    fifth series carries a scout, and one series names no patient.

    Options: ``patients``, ``size`` (pixels per side), ``slices`` and ``seed`` say what is made; ``inspect`` as in
    :class:`RsnaAneurysm`.
    """

    defaults: ClassVar[dict[str, Any]] = {"patients": 40, "size": 32, "slices": 16, "seed": 0, "inspect": True}
    minimum: ClassVar[dict[str, int]] = {"patients": 4, "size": 16, "slices": 8, "seed": 0}

    @property
    def caveats(self) -> tuple[str, ...]:
        """Those of the layout, and that nothing here is real."""
        return (*SYNTHETIC, *super().caveats)

    def _write(self, folder: Path, settings: Mapping[str, int]) -> None:
        table, points, number = [], [], 0
        for patient in range(settings["patients"]):
            rng = np.random.default_rng([settings["seed"], patient])
            positive = patient % 2 == 1
            chosen = sorted({(patient // 2 * 4 + n) % len(LOCATIONS) for n in range(rng.integers(2, 5))})
            chosen = chosen if positive else []
            kinds = ("CT", "MR") if patient % 3 == 0 else (("CT", "MR")[patient % 2],)
            age, sex = int(rng.integers(20, 90)), "FM"[int(rng.integers(2))]
            for kind in kinds:
                number += 1
                uid = f"{_ROOT}.{settings['seed']}.{number}"
                name = "" if number == 1 else f"P{patient + 1:03d}"
                maker = _SeriesWriter(folder / "series" / uid, uid, name, kind, settings["size"], settings["slices"])
                for place, sop, x, y in maker.write(rng, chosen, scout=number % 5 == 0):
                    points.append((uid, sop, str({"x": x, "y": y}), LOCATIONS[place]))
                labels = [int(n in chosen) for n in range(len(LOCATIONS))]
                modality = {"CT": "CTA", "MR": "MRA"}[kind]
                table.append((uid, age, {"F": "Female", "M": "Male"}[sex], modality, *labels, int(positive)))
        head = ("SeriesInstanceUID", "PatientAge", "PatientSex", "Modality", *LOCATIONS, PRESENT)
        _write_csv(folder / "train.csv", head, table)
        _write_csv(
            folder / "train_localizers.csv", ("SeriesInstanceUID", "SOPInstanceUID", "coordinates", "location"), points
        )


class _SeriesWriter:
    """Writes one series; file names say nothing about the order of the slices, as in the real dataset."""

    def __init__(self, folder: Path, uid: str, patient: str, kind: str, size: int, slices: int) -> None:
        self.folder, self.uid, self.patient, self.kind = folder, uid, patient, kind
        self.axes = np.array(_SEEN[kind], float).reshape(2, 3)
        self.normal = np.cross(*self.axes)
        self.shape = (slices, size, size)
        self.spacing = 160 / size
        self.thickness = 160 / slices
        self.radius = max(9.0, 0.75 * self.thickness)  # so that every aneurysm has a voxel

    def write(self, rng: np.random.Generator, places: list[int], *, scout: bool) -> list[tuple[int, str, float, float]]:
        """Write the files; (location, SOPInstanceUID, x, y) of the middle of every aneurysm."""
        self.folder.mkdir(parents=True)
        count, size, _ = self.shape
        origin = -self.axes.sum(0) * self.spacing * (size - 1) / 2 - self.normal * self.thickness * (count - 1) / 2
        index = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), -1)
        steps = np.stack([self.normal * self.thickness, self.axes[1] * self.spacing, self.axes[0] * self.spacing])
        at = origin + index @ steps  # mm, LPS
        inside = ((at / (64, 74, 70)) ** 2).sum(-1) < 1
        values = np.where(inside, 40 + 12 * rng.standard_normal(self.shape), -1000 if self.kind == "CT" else 0)
        marks = []
        for place in places:
            center = np.array(_PLACES[place]) * (64, 74, 70) + rng.uniform(-3, 3, 3)
            values[((at - center) ** 2).sum(-1) < self.radius**2] = 400
            column, row, number = np.linalg.solve(np.stack([steps[2], steps[1], steps[0]], 1), center - origin)
            number = int(np.clip(round(number), 0, count - 1))
            marks.append((place, f"{self.uid}.{number + 1}", round(float(column), 2), round(float(row), 2)))
        for number, plane in enumerate(values):
            self._save(number, plane, origin + self.normal * self.thickness * number, ("ORIGINAL", "PRIMARY", "AXIAL"))
        if scout:
            self._save(count, values[0], origin, ("ORIGINAL", "PRIMARY", "LOCALIZER"))
        return marks

    def _save(self, number: int, plane: np.ndarray, position: np.ndarray, image_type: tuple[str, ...]) -> None:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

        intercept = -1024 if self.kind == "CT" else 0
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = CTImageStorage if self.kind == "CT" else MRImageStorage
        data.SOPInstanceUID = f"{self.uid}.{number + 1}"
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.ImageType, data.Modality, data.PatientID = list(image_type), self.kind, self.patient
        data.StudyInstanceUID, data.SeriesInstanceUID = f"{self.uid}.0", self.uid
        data.InstanceNumber = self.shape[0] - number  # counted against the normal, as some scanners do
        data.ImagePositionPatient = [f"{value:.6g}" for value in position]
        data.ImageOrientationPatient = [f"{value:g}" for value in self.axes.ravel()]
        data.PixelSpacing, data.SliceThickness = [self.spacing] * 2, self.thickness
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.RescaleSlope, data.RescaleIntercept = 1, intercept
        data.PixelData = np.clip(plane - intercept, 0, 4095).astype("<u2").tobytes()
        data["PixelData"].VR = "OW"
        name = hashlib.sha256(data.SOPInstanceUID.encode()).hexdigest()[:12]
        data.save_as(self.folder / f"{name}.dcm", enforce_file_format=True)


def _write_csv(path: Path, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
