"""Kinds of image files: which a source reads, and which names say that a file is an image all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heldout.data.sources.naming import natural_key

IMAGE_ENDINGS = {2: (".png", ".jpg", ".jpeg", ".tif", ".tiff"), 3: (".nii", ".nii.gz")}
FORMATS = {2: ("png", "jpeg", "tiff", "dicom"), 3: ("nifti",)}
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_NEVER_READ = (
    *(".gif", ".bmp", ".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".pgm", ".ppm", ".svs", ".ndpi"),
    *(".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".mnc", ".hdr"),  # an .img or .raw lies beside its header
)
_PLAINLY_IMAGES = (*IMAGE_ENDINGS[2], *IMAGE_ENDINGS[3], *DICOM_ENDINGS, *_NEVER_READ)


def visible_files(folder: Path) -> Iterator[Path]:
    """Files at any depth below a folder; hidden ones, and what macOS adds to archives, are left out."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def strange_images(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Files below a folder that their names say to be images, but without one of these endings, in natural order."""
    images = [path for path in visible_files(folder) if path.name.lower().endswith(_PLAINLY_IMAGES)]
    strange = [path for path in images if not path.name.lower().endswith(endings)]
    return sorted(strange, key=lambda path: natural_key(path.relative_to(folder).as_posix()))
