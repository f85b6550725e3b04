"""ATLAS v2: T1 MRI after stroke, ``*_T1w.nii.gz`` with ``*_label-L_desc-T1lesion_mask.nii.gz`` beside it.

Reference: Liew et al., A large, curated, open-source stroke neuroimaging dataset to improve lesion segmentation
algorithms, Scientific Data 9 (2022).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heldout.data.sources.bids import BidsLesions, by_name, case_ids, masks_of, stem_of, subject_of, suffix_of
from heldout.errors import UserError

MASK = "_label-L_desc-T1lesion_mask"
_MASKS = re.compile(r"_label-[A-Za-z0-9]+_desc-T1lesion[-_]?\d*_mask([-_]?\d+)?", re.IGNORECASE)
_MASK_LIKE = re.compile(r"(^|[_-])(mask|gold_?standard)([_-]|$)", re.IGNORECASE)


class Atlas(BidsLesions):
    """One lesion class; a T1 without a mask, such as those of the folder ``Testing``, is unlabeled.

    Any depth of folders will do (``Training/R001/sub-r001s001/ses-1/anat/...``), flat ones too. All sessions of a
    subject are one patient; a file that names no subject is a patient of its own. Several masks of a case, such as
    ``*_desc-T1lesion2_mask.nii.gz``, are merged.
    """

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        volumes = self.image_files(self.root)
        images = [path for path in volumes if suffix_of(path) == "t1w"]
        if not images:
            raise UserError(f"{self.root} has no *_T1w.nii.gz: unpack ATLAS there, or use source = 'table'")
        masks = by_name(path for path in volumes if _MASKS.search(stem_of(path)))
        relative = [path.relative_to(self.root) for path in images]
        used = set(images)
        for path, name, case_id in zip(images, relative, case_ids(relative), strict=True):
            own = masks_of(stem_of(path)[: -len("_T1w")], _MASKS, masks, path)
            used.update(own)
            if not own and "training" in name.as_posix().lower():
                found.append(f"{case_id}: {name} has no mask *{MASK}.nii.gz and counts as unlabeled")
            yield self._row(case_id, path, [path], own)
        orphans = sorted(path for paths in masks.values() for path in paths if path not in used)
        found += [f"{path.relative_to(self.root)} is a mask without its own image" for path in orphans]

    def _is_mask(self, relative: Path) -> bool:
        return bool(_MASK_LIKE.search(stem_of(relative)))

    def _patient(self, relative: Path) -> str | None:
        return subject_of(relative)
