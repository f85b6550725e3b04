"""Brain MRI images for brain tumor detection: slices in ``yes/`` and ``no/``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from heldout.data import readers
from heldout.data.sources import Source, as_list, folder_with, unique_ids
from heldout.data.sources.download import Download
from heldout.errors import UserError


class BrainMri(Source):
    """The folder is the label; images that lie in neither folder are unlabeled."""

    downloads: ClassVar[Mapping[str, Download]] = {
        "brain_mri_images_for_brain_tumor_detection": Download(
            kaggle="navoneel/brain-mri-images-for-brain-tumor-detection", license="unclear"
        )
    }
    classes = ("tumor",)
    kind = "classification"
    caveats = (
        "The dataset names no patients: every image is taken to be of another patient, and only duplicate images are "
        "kept together; scores may be optimistic.",
        "The file type predicts the label (nearly all PNGs lie in no/): a score may owe something to compression.",
    )

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        folder = folder_with(self.root, "yes") or self.root
        by_label = {label: self.image_files(folder / label) for label in ("no", "yes") if (folder / label).is_dir()}
        if len(by_label) == 1:
            raise UserError(f"{folder} has only one of the folders yes/ and no/: a classifier needs both")
        labeled = [(path, label) for label, paths in by_label.items() for path in paths]
        here = [path for path in self.image_files(folder) if path.parent == folder]
        cases = labeled + [(path, "") for path in here]
        names = [path.relative_to(folder).as_posix() for path, _ in cases]
        for (path, label), case_id in zip(cases, unique_ids(names), strict=True):
            yield {
                "case_id": case_id,
                "patient_id": case_id,
                "image": as_list(path.relative_to(self.root).as_posix()),
                "split": "" if label else "submit",
                "y_tumor": float(label == "yes") if label else float("nan"),
            }
        formats = Counter((label, readers.format_of(path) or "unknown") for path, label in labeled)
        for (label, name), count in sorted(formats.items()):
            found.append(f"{label}/ holds {count} files that are {name.upper()} inside")
        found += [line for path, _ in cases if (line := _wrong_ending(path, folder))]


def _wrong_ending(path: Path, folder: Path) -> str | None:
    """A line about a file whose ending is not that of its content."""
    name = readers.format_of(path)
    ending = (
        path.suffix.lower().removeprefix(".").replace("jpg", "jpeg").replace("tif", "tiff").replace("tifff", "tiff")
    )
    if name is None or name == ending:
        return None
    return f"{path.relative_to(folder)} is a {name.upper()} file, which makes no difference to its reading"
