"""Masks as DICOM segmentations on the frames of the images they were made of (PS3.3 A.51), written by highdicom."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import __version__, files
from heldout.data.readers import format_of
from heldout.data.sources.layout import image_paths, visible_files
from heldout.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

_NEAR = 0.25  # of a voxel: a frame's pixels lie on voxels of the mask
# what a DICOM object must have, if only empty (PS3.3, type 2), and what files without names often lack
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_ROOT = "1.2.826.0.1.3680043.10.1561."  # prefix of the UIDs; the rest is a hash, so that a file repeats


def check_packages() -> None:
    """Refuse before anything is predicted where highdicom is missing.

    Raises:
        UserError: saying how to install it.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise UserError("DICOM segmentations need highdicom: run `pip install 'heldout[dicom]'`")


def segmentation_file(
    stem: str,
    mask: np.ndarray,
    classes: Sequence[str],
    *,
    affine: np.ndarray | None,
    source: str,
    root: Path,
    decision: str,
    seal: str,
) -> tuple[str, bytes]:
    """Encode a case's mask as one DICOM file with a segment for every class.

    Args:
        stem: File name without its ending.
        mask: (M, *spatial) uint8, as :func:`heldout.deliver.masks.mask_files` takes it.
        classes: Names of the foreground classes.
        affine: (4, 4) voxel to mm (RAS) of the mask; None of an image.
        source: ``image`` of the case's row: the DICOM files, folder or archive.
        root: Folder that relative paths start from.
        decision: Name of the decision.
        seal: Its seal; with the sources and the mask it makes the file's UIDs.

    Returns:
        File name and content; the same input gives the same bytes.

    Raises:
        UserError: the case was not read from DICOM files, they lack what a segmentation copies of them, or no frame of
            theirs lies on the mask's grid.
    """
    import pydicom
    from highdicom.seg import Segmentation, SegmentationTypeValues

    frames = list(_frames(source, root, mask.shape[1:], affine))
    if not frames:
        raise UserError(
            f"{Path(source).name}: no DICOM frame lies on the grid of its mask: leave out --format dicomseg"
        )
    sources, indices = [frame[0] for frame in frames], [frame[1] for frame in frames]
    if len({id(one) for one in sources}) > 1 and any("PerFrameFunctionalGroupsSequence" in one for one in sources):
        raise UserError(
            f"{Path(source).name} has frames in several multi-frame files, and a DICOM segmentation is of one such "
            "file: leave out --format dicomseg"
        )
    if len({id(one) for one in sources}) < len(sources) != int(getattr(sources[0], "NumberOfFrames", 1)):
        raise UserError(f"{Path(source).name}: some frames lie off the grid of its mask: leave out --format dicomseg")
    planes = np.stack([mask[(slice(None), *index)] for index in indices])  # (frames, M, rows, columns)
    overlapping = mask.shape[0] > 1
    pixels = planes.transpose(0, 2, 3, 1) if overlapping else planes[:, 0]
    unique = list({id(one): one for one in sources}.values())
    for one in unique:
        _complete(one)
    digest = files.sha256_json(
        [seal, *(str(one.SOPInstanceUID) for one in unique), files.sha256_bytes(pixels.tobytes())]
    )
    uids = [_ROOT + str(int(files.sha256_bytes(f"{digest}/{part}".encode())[:24], 16)) for part in range(3)]
    try:
        result = Segmentation(
            source_images=unique,
            pixel_array=np.ascontiguousarray(pixels),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(number, name) for number, name in enumerate(classes, start=1)],
            series_instance_uid=uids[0],
            series_number=9000,
            sop_instance_uid=uids[1],
            instance_number=1,
            manufacturer="heldout",
            manufacturer_model_name=decision[:64],
            software_versions=__version__,
            device_serial_number=seal[:16],
            series_description=f"heldout {decision}"[:64],
            content_description="research use only",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of a source that lacks what is copied
        raise UserError(
            f"{Path(source).name} cannot be the source of a DICOM segmentation ({error}): leave out --format dicomseg"
        ) from error
    _repeatable(result, unique[0], uids[2])
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return f"{stem}.dcm", buffer.getvalue()


def _complete(dataset: Dataset) -> None:
    """Give an image what highdicom asks for and may be empty, or is said of every frame instead of all."""
    from pydicom import Dataset

    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    if "PerFrameFunctionalGroupsSequence" in dataset:
        if not dataset.get("SharedFunctionalGroupsSequence"):
            dataset.SharedFunctionalGroupsSequence = [Dataset()]
        shared, first = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[0]
        for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            if name in first and name not in shared:
                setattr(shared, name, first[name].value)


def _segment(number: int, name: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="heldout", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
    )


def _repeatable(result: Dataset, source: Dataset, uid: str) -> None:
    """Take dates and times from the source, and a UID of our own, where highdicom takes the clock and chance."""
    date = str(getattr(source, "StudyDate", "") or "19000101")
    time = str(getattr(source, "StudyTime", "") or "000000")
    for part in ("Series", "Content", "InstanceCreation"):
        if f"{part}Date" in result:
            setattr(result, f"{part}Date", date)
            setattr(result, f"{part}Time", time)
    for item in result.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = date + time
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in result.get(sequence, ()):
            item.DimensionOrganizationUID = uid


def _frames(
    source: str, root: Path, shape: tuple[int, ...], affine: np.ndarray | None
) -> Iterator[tuple[Dataset, tuple[Any, ...]]]:
    """DICOM files whose pixels lie on the mask, and where: an index that gives (rows, columns) of a mask (*shape)."""
    taken: set[tuple[int, ...]] = set()
    series = None
    for dataset in sorted(_datasets(source, root), key=lambda one: int(getattr(one, "InstanceNumber", 0) or 0)):
        if "Rows" not in dataset or series not in (None, dataset.SeriesInstanceUID):
            continue
        for plane in _planes(dataset):
            index = _index(dataset, plane, shape, affine)
            if index is None:
                continue
            place = tuple(int(part.flat[0]) for part in index if isinstance(part, np.ndarray))
            if place not in taken:
                taken.add(place)
                series = dataset.SeriesInstanceUID
                yield dataset, index


def _index(
    dataset: Dataset, plane: tuple[Any, Any, Any] | None, shape: tuple[int, ...], affine: np.ndarray | None
) -> tuple[Any, ...] | None:
    """Index of a mask that gives the pixels of a plane; None where they do not lie on it."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if len(shape) == 2:
        return (slice(None), slice(None)) if (rows, columns) == shape else None
    if plane is None or affine is None:
        return None
    position, orientation, spacing = (np.asarray(part, float) for part in plane)
    flip = np.array([-1.0, -1.0, 1.0])  # LPS of DICOM to RAS
    steps = np.stack(
        [flip * orientation[3:] * spacing[0], flip * orientation[:3] * spacing[1]]
    )  # of a row, of a column
    inverse = np.linalg.inv(affine)
    start = inverse[:3, :3] @ (flip * position) + inverse[:3, 3]
    row, column = (inverse[:3, :3] @ step for step in steps)
    exact = (
        start[:, None, None]
        + row[:, None, None] * np.arange(rows)[:, None]
        + column[:, None, None] * np.arange(columns)
    )
    index = np.rint(exact).astype(int)
    inside = all(part.min() >= 0 and part.max() < size for part, size in zip(index, shape, strict=True))
    return tuple(index) if inside and np.abs(exact - index).max() < _NEAR else None


def _planes(dataset: Dataset) -> list[tuple[Any, Any, Any] | None]:
    """Position, orientation and pixel spacing of every frame; None where the file says none."""
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        return [tuple(dataset[name].value for name in names) if all(name in dataset for name in names) else None]
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]

    def found(frame: Dataset, group: str, name: str) -> Any:
        place = frame if group in frame else shared[0]
        if group not in place:
            raise UserError(f"a frame of the DICOM source has no {group}: leave out --format dicomseg")
        return place[group].value[0][name].value

    return [
        (
            found(frame, "PlanePositionSequence", "ImagePositionPatient"),
            found(frame, "PlaneOrientationSequence", "ImageOrientationPatient"),
            found(frame, "PixelMeasuresSequence", "PixelSpacing"),
        )
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]


def _datasets(source: str, root: Path) -> Iterator[Dataset]:
    import pydicom

    for text in image_paths(source):
        path = root / text
        for one in visible_files(path) if path.is_dir() else [path]:
            kind = format_of(one)
            if kind == "dicom":
                yield pydicom.dcmread(one)
            elif kind == "zip":
                with zipfile.ZipFile(one) as archive:
                    for name in archive.namelist():
                        content = archive.read(name)
                        if content[128:132] == b"DICM":
                            yield pydicom.dcmread(io.BytesIO(content))
            elif not path.is_dir():
                raise UserError(
                    f"{path.name} is not a DICOM file: DICOM segmentations lie on the frames of DICOM images"
                )
