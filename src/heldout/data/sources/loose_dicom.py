"""DICOM series among loose files: one case per series, wherever its files lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heldout.data.sources.layout import as_list, unique_ids


def loose_series(folder: Path, taken: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of :meth:`Source.loose` for the series below a folder.

    A damaged file is a case of its own, so that it is complained about when it is read, and never lost; scouts and
    objects without pixels are left out.

    Args:
        folder: Where to look.
        taken: Case ids of other files there.
    """
    from heldout.data.readers.dicom import index_tree

    series: dict[str, list[Path]] = defaultdict(list)
    patients: dict[str, str] = {}
    for entry in index_tree(folder):
        if entry.damaged:
            series[str(entry.path)].append(entry.path)
        elif not entry.problem:
            series[entry.series].append(entry.path)
            patients[entry.series] = entry.patient
    used = {case_id.casefold() for case_id in taken}
    names = [_name(folder, uid, paths, series) for uid, paths in series.items()]
    for (uid, paths), name, case_id in zip(series.items(), names, unique_ids(names), strict=True):
        free = case_id if case_id.casefold() not in used else f"{case_id}_dicom"
        yield {"case_id": free, "patient_id": patients.get(uid) or free, "image": as_list(*paths), "name": name}


def _name(folder: Path, uid: str, paths: list[Path], series: dict[str, list[Path]]) -> str:
    """The folder of a series that has one of its own, else the file of a single one, else its UID."""
    home = paths[0].parent
    alone = all(path.parent == home for path in paths) and all(
        path.parent != home for other, others in series.items() if other != uid for path in others
    )
    if alone and home != folder:
        return home.relative_to(folder).as_posix()
    return paths[0].relative_to(folder).as_posix() if len(paths) == 1 else uid or folder.name
