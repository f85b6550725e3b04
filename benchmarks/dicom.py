"""DICOM: a series to a checked volume against SimpleITK, MONAI and a bare pydicom loop; a header index; hostile files.

The readers take turns, and ratios are of medians, so that what else the machine does falls on all of them alike.
SimpleITK is not a requirement of the project: where it is not installed, its rows are left out.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from imagecodecs import jpeg8_encode
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless
from record import REPOSITORY, Measurement, record
from scipy.ndimage import gaussian_filter

from heldout.data.readers import dicom

SLICES, SIDE, INTERCEPT = 140, 512, -1024
COMPRESSED_SLICES = 48
INDEXED = 10_000
TURNS, COMPRESSED_TURNS, SLOW_TURNS = 9, 5, 2
ENCODINGS = {"JPEG 2000": JPEG2000Lossless, "JPEG-LS": JPEGLSLossless, "JPEG lossless": JPEGLosslessSV1}
# What scanners write besides: a CT slice has 80 to 130 elements.
TEXTS = (
    *("InstitutionName", "StationName", "StudyDescription", "SeriesDescription", "ManufacturerModelName"),
    *("SoftwareVersions", "ProtocolName", "ReferringPhysicianName", "OperatorsName", "DeviceSerialNumber"),
    *("AccessionNumber", "StudyID", "PositionReferenceIndicator", "ContrastBolusAgent", "SpecificCharacterSet"),
)
CODES = ("BodyPartExamined", "ScanOptions", "RotationDirection", "FilterType", "ConvolutionKernel", "PatientPosition")
NUMBERS = (
    *("SliceLocation", "DataCollectionDiameter", "ReconstructionDiameter", "DistanceSourceToDetector", "TableHeight"),
    *("DistanceSourceToPatient", "FocalSpots", "SpacingBetweenSlices", "GantryDetectorTilt", "PatientWeight"),
    *("WindowCenter", "WindowWidth", "PatientSize"),
)
WHOLE = ("ExposureTime", "XRayTubeCurrent", "Exposure", "GeneratorPower")
DATES = ("SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate")
TIMES = ("SeriesTime", "AcquisitionTime", "ContentTime")
Reader = Callable[[Path], np.ndarray]


def head(count: int) -> np.ndarray:
    """Stored values (count, rows, columns) of a textured, noisy head CT."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    texture = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 6)
    texture *= 15 / texture.std()
    planes = np.empty((count, SIDE, SIDE), np.uint16)
    for number in range(count):
        radius = (columns / (0.8 + 0.1 * np.sin(number / 40))) ** 2 + (rows / 0.7) ** 2
        values = np.where(radius < 1, 40 + np.roll(texture, number, 0), -1000)
        values = np.where((radius < 1) & (radius > 0.9), 1000, values) + rng.normal(0, 8, values.shape)
        planes[number] = np.clip(values - INTERCEPT, 0, 4095)
    return planes


def dataset(values: np.ndarray, number: int) -> Dataset:
    """One axial slice."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number + 1}"
    for names, value in ((CODES, "HEAD"), (NUMBERS, "1.25"), (WHOLE, 120), (DATES, "20260101"), (TIMES, "101010.5")):
        for name in names:
            setattr(data, name, value)
    for name in TEXTS:
        setattr(data, name, "ISO_IR 100" if name == "SpecificCharacterSet" else "phantom text")
    private = data.private_block(0x0019, "HELDOUT PHANTOM", create=True)
    for place in range(20):
        private.add_new(place, "DS", "1.5")
    data.ImageType, data.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    data.PatientID, data.PatientName, data.Manufacturer = "P1", "Phantom", "heldout"
    data.StudyDate, data.StudyTime, data.KVP = "20260101", "101010", 120
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.9"
    data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = 2, 1, number + 1
    data.ImagePositionPatient = [-128.0, -128.0, float(number)]
    data.ImageOrientationPatient, data.PixelSpacing, data.SliceThickness = [1, 0, 0, 0, 1, 0], [0.5, 0.5], 1
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, INTERCEPT
    data.PixelData = values.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    return data


def write_series(folder: Path, planes: np.ndarray, syntax: str = ExplicitVRLittleEndian) -> None:
    """Write a series whose file names do not follow its order."""
    folder.mkdir()
    for number, values in enumerate(planes):
        data = dataset(values, number)
        if syntax == JPEGLosslessSV1:
            data.PixelData = encapsulate([jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16)])
            data["PixelData"].is_undefined_length = True
            data.file_meta.TransferSyntaxUID = syntax
        elif syntax != ExplicitVRLittleEndian:
            data.compress(syntax, generate_instance_uid=False)
        data.save_as(folder / f"{number * 37 % 1009:04d}.dcm", enforce_file_format=True)


def heldout_reader(folder: Path) -> np.ndarray:
    """Values (slices, rows, columns)."""
    return dicom.read_volume(folder).image.array[0].transpose(2, 1, 0)


def bare_reader(folder: Path) -> np.ndarray:
    """Stored values: sorted by position and stacked, nothing checked or rescaled."""
    slices = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda one: float(one.ImagePositionPatient[2]))
    return np.stack([one.pixel_array for one in slices])


def monai_reader(folder: Path) -> np.ndarray:
    """Stored values; its reader sorts by InstanceNumber."""
    from monai.transforms import LoadImage

    return np.asarray(LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=False)(folder)).T


def itk_reader() -> Reader | None:
    """SimpleITK's series reader, None where it is not installed."""
    try:
        import SimpleITK
    except ImportError:
        return None

    def read(folder: Path) -> np.ndarray:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return SimpleITK.GetArrayFromImage(reader.Execute())

    return read


def race(readers: dict[str, Reader], folder: Path, turns: int) -> dict[str, tuple[float, float]]:
    """Median seconds of every reader, one after another in each turn.

    Returns:
        Wall seconds; and what they would be with two free cores: the calling thread's processor time, and half of
        what all others used.
    """
    wall: dict[str, list[float]] = {name: [] for name in readers}
    busy: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(turns):
        for name, read in readers.items():
            start, start_all, start_own = time.perf_counter(), time.process_time(), time.thread_time()
            read(folder)
            wall[name].append(time.perf_counter() - start)
            own = time.thread_time() - start_own
            busy[name].append(own + (time.process_time() - start_all - own) / 2)
    return {name: (statistics.median(wall[name]), statistics.median(busy[name])) for name in readers}


def check_same(readers: dict[str, Reader], folder: Path, planes: np.ndarray) -> None:
    """Stop unless every reader gives the same voxels, rescaled or as stored."""
    expected = planes.astype(int) + INTERCEPT
    for name, read in readers.items():
        values = read(folder).astype(int)
        if not any(np.array_equal(values + offset, expected) for offset in (0, INTERCEPT)):
            raise SystemExit(f"{name} gives other voxels")


def uncompressed(home: Path, itk: Reader | None) -> list[Measurement]:
    """Reading 140 slices without compression."""
    planes, folder = head(SLICES), home / "raw"
    write_series(folder, planes)
    fast = {"heldout": heldout_reader, "bare": bare_reader, **({"itk": itk} if itk else {})}
    check_same({**fast, "monai": monai_reader}, folder, planes)
    seconds = race(fast, folder, TURNS)
    slow = race({"heldout": heldout_reader, "monai": monai_reader}, folder, SLOW_TURNS)
    ours = seconds["heldout"][0]
    what = f"{SLICES} x {SIDE} x {SIDE}, uncompressed"
    found = [
        Measurement(f"{what}: heldout", SLICES / ours, "slices/s"),
        Measurement("the same against a bare pydicom loop", seconds["bare"][0] / ours, "x", 0.9, at_least=True),
        Measurement("... against MONAI", slow["monai"][0] / slow["heldout"][0], "x", 10, at_least=True),
    ]
    if itk:
        found.append(Measurement("... against SimpleITK", seconds["itk"][0] / ours, "x", 2, at_least=True))
    return found


def compressed(home: Path, itk: Reader | None) -> list[Measurement]:
    """Reading compressed slices; MONAI decodes with pydicom, so the bare loop stands for it."""
    planes, found = head(COMPRESSED_SLICES), []
    readers = {"heldout": heldout_reader, "bare": bare_reader, **({"itk": itk} if itk else {})}
    for name, syntax in ENCODINGS.items():
        folder = home / name.replace(" ", "_")
        write_series(folder, planes, syntax)
        check_same(readers, folder, planes)
        seconds = race(readers, folder, COMPRESSED_TURNS)
        ours = seconds.pop("heldout")
        best = min(seconds, key=lambda other: seconds[other][0])
        wall, busy = seconds[best]
        label = {"itk": "SimpleITK", "bare": "pydicom"}[best]
        found += [
            Measurement(f"{name}: heldout", COMPRESSED_SLICES / ours[0], "slices/s"),
            Measurement(f"{name} against {label}", wall / ours[0], "x", 1.7, at_least=True),
            Measurement("the same with two free cores, by processor time", busy / ours[1], "x"),
        ]
    return found


def indexed(home: Path) -> list[Measurement]:
    """Headers of many small files."""
    values = np.zeros((16, 16), np.uint16)
    template = home / "template.dcm"
    dataset(values, 0).save_as(template, enforce_file_format=True)
    raw = template.read_bytes()
    for number in range(INDEXED):
        folder = home / "tree" / f"{number // 200:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}.dcm").write_bytes(raw)
    start, count, early = time.perf_counter(), 0, 0
    for entry in dicom.index_tree(home / "tree"):
        count += not entry.problem
        if count == INDEXED // 10:
            early = _memory()
    seconds = time.perf_counter() - start
    return [
        Measurement(f"header index of {count:,} files", count / seconds, "files/s", 2000, at_least=True),
        Measurement("memory that the last nine tenths of them add", _memory() - early, "MiB", 1),
    ]


def hostile() -> list[Measurement]:
    """The test of hostile files, 500 mutated ones included."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/data/test_dicom_hostile.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return [
        Measurement("tests of hostile files that fail", float(done.returncode != 0), "", 0),
        Measurement("their peak memory", memory, "MiB", 1024),
    ]


def _memory() -> float:
    """Resident MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    """Measure everything in a temporary folder."""
    itk = itk_reader()
    if itk is None:
        print("SimpleITK is not installed: its rows are left out (pip install SimpleITK)")
    found = hostile()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found += uncompressed(home, itk) + compressed(home, itk) + indexed(home)
    return record("dicom", found)


if __name__ == "__main__":
    sys.exit(main())
