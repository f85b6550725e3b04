"""Small DICOM series for tests: one sound series, and a hook to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1

SHAPE = (5, 6, 8)  # slices, rows, columns


def voxels(shape=SHAPE, high=4000, seed=0) -> np.ndarray:
    """Stored values (slices, rows, columns)."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint16)


def plane(array: np.ndarray, number: int = 0, **changes) -> Dataset:
    """One slice of an axial CT: 0.5 mm between rows, 0.4 mm between columns, 2 mm between slices."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    data.Modality, data.PatientID = "CT", "P1"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2", "1.2.3"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = 100 - number
    data.ImagePositionPatient = [-10.0, -20.0, 30.0 + 2 * number]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.4], 2
    data.Rows, data.Columns = array.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = array.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def compress(data: Dataset, syntax: str) -> Dataset:
    """Compress the pixels without loss; pydicom itself has no encoder for lossless JPEG."""
    if syntax != JPEGLosslessSV1:
        data.compress(syntax, generate_instance_uid=False)
        return data
    from imagecodecs import jpeg8_encode

    frames = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
    codes = [jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16) for frame in frames]
    data.PixelData = encapsulate(codes)
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = syntax
    return data


def save(data: Dataset, path: Path) -> Path:
    """Write one object, with the preamble that real files have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def series(
    folder: Path, array: np.ndarray | None = None, spoil: Callable[[Dataset, int], Dataset | None] | None = None
) -> np.ndarray:
    """Write a series under names that say nothing about its order; ``spoil`` may change or drop (None) a slice.

    Returns:
        The stored values.
    """
    array = voxels() if array is None else array
    for number, values in enumerate(array):
        data = plane(values, number)
        data = data if spoil is None else spoil(data, number)
        if data is not None:
            save(data, folder / f"{(number * 7) % 10}{number}.dcm")
    return array


def enhanced(array: np.ndarray, slopes: list[float], steps: list[float]) -> Dataset:
    """A multi-frame MR with its functional groups; frames lie ``steps`` mm along z."""
    data = plane(array[0])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.Modality, data.NumberOfFrames = "MR", len(array)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(data, name)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.4], 2
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for slope, step in zip(slopes, steps, strict=True):
        frame, position, value = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10.0, -20.0, 30.0 + step]
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, 0, "US"
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([value])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.PixelData = array.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    return data


def write_picture(path: Path, array: np.ndarray, **changes) -> None:
    """Write one gray image (H, W), such as an X-ray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"SOPInstanceUID": path.stem, "Modality": "CR", **changes}
    data = plane(array.astype(np.uint16), **names)
    data.file_meta.MediaStorageSOPInstanceUID = path.stem
    data.save_as(path, enforce_file_format=True)


def ct_files() -> list[Path]:
    """Three neighboring slices of a CT among pydicom's test files, not in the order of their positions."""
    import pydicom
    from pydicom.data import get_testdata_file

    paths = Path(get_testdata_file("dicomdirtests/77654033/CT2/17106")).parent.iterdir()
    ordered = sorted(paths, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]), reverse=True)
    steps = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in ordered]
    start = 0 if abs(steps[0] - steps[2]) < 10 else 1
    return [ordered[start + k] for k in (1, 2, 0)]
