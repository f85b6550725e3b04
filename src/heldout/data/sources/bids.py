"""Names of the Brain Imaging Data Structure: ``sub-<subject>_ses-<session>_..._<suffix>.nii.gz``.

Reference: Gorgolewski et al., The brain imaging data structure, Scientific Data 3 (2016).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from heldout.data.sources import Source, as_list, unique_ids
from heldout.data.sources.source import NOTHING

_SUBJECT = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)", re.ASCII)
_SESSION = re.compile(r"(?:^|[/_])(ses-[A-Za-z0-9]+)", re.ASCII)
_VOLUME = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


class BidsLesions(Source):
    """Volumes with one lesion class; several masks of a case are merged.

    Options: ``ignore`` is the value of masks that means a voxel without loss and score (default -1: none).
    """

    defaults: ClassVar[dict[str, Any]] = {"ignore": NOTHING}
    classes: tuple[str, ...] = ("lesion",)
    dimensions = 3

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Union (1, X, Y, Z) of a case's masks; see :meth:`Source.read_mask`."""
        return super().read_mask(row).max(axis=0, keepdims=True)

    def _row(self, case_id: str, path: Path, images: Sequence[Path], masks: Sequence[Path]) -> dict[str, Any]:
        """Row of the index of a case, which is unlabeled where it has no mask."""

        def names(paths: Sequence[Path]) -> str:
            return as_list(*(one.relative_to(self.root).as_posix() for one in paths))

        return {
            "case_id": case_id,
            "patient_id": subject_of(path.relative_to(self.root)) or case_id,
            "image": names(images),
            "mask": names(masks) if masks else "",
            "split": "" if masks else "submit",
        }


def stem_of(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    return _VOLUME.sub("", path.name)


def suffix_of(path: Path) -> str:
    """What follows the last underscore of the name, in lower case: ``t1w``, ``dwi``, ``mask``."""
    return stem_of(path).rpartition("_")[2].lower()


def subject_of(relative: Path) -> str | None:
    """``sub-<subject>`` of a file by its name, or by its folders; None where neither names one."""
    match = _SUBJECT.search(relative.name) or _SUBJECT.search(relative.as_posix())
    return match[1] if match else None


def session_of(relative: Path) -> str | None:
    """``ses-<session>``, found as :func:`subject_of` finds the subject."""
    match = _SESSION.search(relative.name) or _SESSION.search(relative.as_posix())
    return match[1] if match else None


def case_ids(relative: Sequence[Path]) -> list[str]:
    """Subject and session of every file; the whole name where a session holds several, or a subject is not named."""
    short = ["_".join(filter(None, (subject_of(path), session_of(path)))) for path in relative]
    alone = {text for text in short if short.count(text) == 1 and text.startswith("sub-")}
    return unique_ids(text if text in alone else path.as_posix() for text, path in zip(short, relative, strict=True))


def by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by their name without ending."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(stem_of(path), []).append(path)
    return found


def nearest(candidates: Sequence[Path], to: Path) -> Path | None:
    """The file that shares most of its folders with ``to``: copies may lie in other trees of a download."""

    def shared(path: Path) -> int:
        pairs = zip(path.parent.parts, to.parent.parts, strict=False)
        return next((n for n, (one, other) in enumerate(pairs) if one != other), len(path.parts))

    return max(candidates, key=shared, default=None)


def masks_of(start: str, rest: re.Pattern[str], masks: dict[str, list[Path]], to: Path) -> list[Path]:
    """All masks of a case, in the order of their names; of each name the copy that is nearest to its image.

    Args:
        start: What the names of the case's files start with.
        rest: What may follow ``start`` in the name of a mask, all of it.
        masks: Files by their name, of :func:`by_name`.
        to: The image.
    """
    names = sorted(name for name in masks if name.startswith(start) and rest.fullmatch(name[len(start) :]))
    found = [nearest(masks[name], to) for name in names]
    return [path for path in found if path is not None]
