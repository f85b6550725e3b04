"""Local series made to look like a hidden test set: most tags gone, one file cut short, one series without files."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from heldout import files
from heldout.deliver.kernel.rsna2025 import stand_in
from heldout.deliver.kernel.rsna2025.server import COLUMNS, ID, SECONDS_PER_CALL, SECONDS_TO_START
from heldout.errors import UserError

# Besides the pixels, what RSNA's demo notebook lists as tags that the hidden files may have. SeriesInstanceUID is there
# too, as far as that notebook says; it is left out here, since nothing must hang on it: the folder bears its name.
KEPT_TAGS = (
    *("BitsAllocated", "BitsStored", "Columns", "FrameOfReferenceUID", "HighBit", "ImageOrientationPatient"),
    *("ImagePositionPatient", "InstanceNumber", "Modality", "PatientID", "PhotometricInterpretation", "PixelData"),
    *("PixelRepresentation", "PixelSpacing", "PlanarConfiguration", "RescaleIntercept", "RescaleSlope", "RescaleType"),
    *("Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SliceThickness", "SpacingBetweenSlices"),
    "StudyInstanceUID",
)
TRUNCATED, EMPTY = "9.9.9.1", "9.9.9.2"  # UIDs of the two bad series


def write_hidden_set(series: Mapping[str, Path], folder: Path, shared: Path) -> None:
    """Write ``kaggle_evaluation`` as the competition's folder holds it: the server, ``test.csv`` and the series.

    Args:
        series: Folders of good series by their UID; copies of them lose tags, and two bad series join them.
        folder: The competition's folder.
        shared: Where the gateway is to show series.

    Raises:
        UserError: there is no series, or a folder holds no file.
    """
    if not series:
        raise UserError("there is no series to replay on: name a folder of series folders with --replay-on")
    package = folder / "kaggle_evaluation"
    package.mkdir(parents=True)
    files.write_text(package / "__init__.py", "")
    shutil.copyfile(stand_in.__file__, package / "rsna_inference_server.py")
    for uid, place in series.items():
        copied = [hide_tags(path, package / "series" / uid) for path in sorted(place.rglob("*")) if path.is_file()]
        if not copied:
            raise UserError(f"{place} holds no file: a series is a folder of DICOM files")
    first = next(iter(series))
    shutil.copytree(package / "series" / first, package / "series" / TRUNCATED)
    victim = min((package / "series" / TRUNCATED).iterdir())
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    (package / "series" / EMPTY).mkdir()
    files.write_text(package / "test.csv", _table([*series, TRUNCATED, EMPTY]))
    limits = {"seconds_per_call": SECONDS_PER_CALL, "seconds_to_start": SECONDS_TO_START}
    files.write_json(package / "limits.json", {**limits, "shared": str(shared), "columns": COLUMNS})


def loses_places(series: Path) -> bool:
    """Whether a series has a multi-frame file that says where its frames lie in tags that the hidden set lacks."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    for path in sorted(series.rglob("*")):
        try:
            if path.is_file() and "PerFrameFunctionalGroupsSequence" in pydicom.dcmread(path, stop_before_pixels=True):
                return True
        except InvalidDicomError:
            continue
    return False


def hide_tags(path: Path, folder: Path) -> Path:
    """Copy a DICOM file without the tags that a hidden set lacks; what is not a DICOM file is copied as it is."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    target = folder / f"{path.name.removesuffix('.dcm')}.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        data = pydicom.dcmread(path)
    except InvalidDicomError:
        shutil.copyfile(path, target)
        return target
    for element in list(data):
        if element.keyword not in KEPT_TAGS:
            del data[element.tag]
    data.save_as(target)
    return target


def _table(uids: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[ID], *([uid] for uid in uids)])
    return text.getvalue()
