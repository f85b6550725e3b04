"""Average precision of a run's boxes, held out, by this project and by pycocotools: ``boxes.py exp080``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from record import Measurement, record

from heldout.evaluate.held_out import open_held_out
from heldout.metrics import score

if TYPE_CHECKING:
    import pandas as pd


def by_pycocotools(table: pd.DataFrame, classes: Sequence[str]) -> tuple[float, float]:
    """Mean average precision of a table of cases, over IoU of 0.50 ... 0.95 and at 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = {name: [(i, row) for i, text in enumerate(table[name]) for row in json.loads(text)] for name in _COLUMNS}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(table))],
        "categories": [{"id": number} for number in range(len(classes))],
        "annotations": [
            {"id": number, "image_id": i, "category_id": row[0], "bbox": _box(row), "area": 1.0, "iscrowd": 0}
            for number, (i, row) in enumerate(rows["objects"], start=1)
        ],
    }
    truth.createIndex()
    found = [
        {"image_id": i, "category_id": row[0], "bbox": _box(row), "score": row[1]} for i, row in rows["detections"]
    ]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


_COLUMNS = ("detections", "objects")


def _box(row: Sequence[float]) -> list[float]:
    top, left, bottom, right = row[-4:]
    return [left, top, right - left, bottom - top]


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="exp080", help="a run or a blend")
    held = open_held_out(parser.parse_args().name)
    with contextlib.redirect_stdout(io.StringIO()):
        every, half = by_pycocotools(held.table, held.classes)
    found = []
    for name, theirs in (("map:0.5", half), ("map:0.5:0.95", every)):
        ours = float(score(name, held.table, held.classes))
        found.append(Measurement(f"{name} of {held.name}, held out", ours, ""))
        found.append(Measurement("same: distance to that of pycocotools", abs(ours - float(theirs)), "", 1e-6))
    return record("boxes", found, f"{len(held.table)} cases of {held.dataset_name}")


if __name__ == "__main__":
    sys.exit(main())
