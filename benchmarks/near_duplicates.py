"""Which transformed copies of an image are found, and how many other images are taken for copies.

For each of eight transformations, copies of some images are added to a dataset as cases of other patients, and searched
as `folds` does. A copy is found if it is in one set with its original. False merges are images that are put into a
set with another patient's: of the LGG slices by patient. The other two sets name no patients; their sets are
listed, to be looked at.

Needs lgg-mri-segmentation, FracAtlas and brain_mri_images_for_brain_tumor_detection below ``$HELDOUT_DATA``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
from record import Measurement, record

from heldout.config import load
from heldout.data.cases import open_source
from heldout.data.image import BadFile, Image
from heldout.data.leaks import Duplicates, find_duplicates
from heldout.data.signature import ImageSignature, content_hash, signature

SETS = {"brain MRI": ("exp020", 1000), "FracAtlas": ("exp040", 200), "LGG slices": ("exp025", 200)}
COPIES = 30  # of each transformation
RECALL, FALSE_MERGES = 0.95, 0.005


def rotated(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """By 3 to 10 degrees, corners black, and darker."""
    height, width = picture.shape
    angle = draw.choice([-1, 1]) * draw.uniform(3, 10)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return (cv2.warpAffine(picture, turn, (width, height)) * 0.8 + 20).astype(np.uint8)


def cropped(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """To 80 to 95 % of each side, anywhere."""
    size = (np.array(picture.shape) * draw.uniform(0.8, 0.95)).astype(int)
    row, column = draw.integers(0, np.array(picture.shape) - size + 1)
    return picture[row : row + size[0], column : column + size[1]]


def compressed(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """As JPEG of quality 25 to 50."""
    quality = int(draw.integers(25, 51))
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def rescaled(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """By 0.5, 0.7 or 1.5."""
    scale = float(draw.choice([0.5, 0.7, 1.5]))
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def brightened(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """By a gamma of 0.6 or 1.6."""
    return np.rint(255 * (picture / 255) ** draw.choice([0.6, 1.6])).astype(np.uint8)


TRANSFORMATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "flip, left to right": lambda picture, _: picture[:, ::-1],
    "flip, upside down": lambda picture, _: picture[::-1],
    "quarter turn": lambda picture, draw: np.rot90(picture, draw.choice([1, 3])),
    "rotation by 3 to 10 degrees, darker": rotated,
    "crop to 80 to 95 % of each side": cropped,
    "gamma 0.6 or 1.6": brightened,
    "JPEG of quality 25 to 50": compressed,
    "rescaling by 0.5, 0.7 or 1.5": rescaled,
}


def gray(image: Image) -> np.ndarray:
    """An image (H, W) uint8."""
    picture = image.array.mean(0)
    return np.rint(picture * (255 / max(picture.max(), 1))).astype(np.uint8)


def search(
    names: list[str], patients: list[str], pictures: list[np.ndarray], prints: list[ImageSignature]
) -> Duplicates:
    """What `folds` would find."""
    hashes = [content_hash(picture[None]) for picture in pictures]
    frame = pd.DataFrame({"case_id": names, "patient_id": patients, "content_hash": hashes, "y_any": 0.0})
    return find_duplicates(frame, prints, 2)


def measure(what: str, spec: str, most: int) -> list[Measurement]:
    """Recall of every transformation, and false merges among the images themselves."""
    source = open_source(load(spec))
    rows = source.index().to_dict("records")
    chosen = rows if len(rows) <= most else [rows[number] for number in np.linspace(0, len(rows) - 1, most).astype(int)]
    names, patients, pictures, prints = [], [], [], []
    for row in chosen:
        try:
            picture = gray(source.read_image(row))
        except BadFile:
            continue
        names.append(row["case_id"])
        patients.append(row["patient_id"])
        pictures.append(picture)
        prints.append(signature(Image(picture[None])))
    alone = search(names, patients, pictures, prints)
    joined = {name for found in alone.near for name in found}
    print(what, len(names), "images; sets of near-duplicates among them:", *alone.near, sep="\n  ", flush=True)
    found = [Measurement(f"{what}: images", len(names), "")]
    bar = FALSE_MERGES if "LGG" in what else None
    label = "of other patients in one set" if bar else "in sets of near-duplicates, to be looked at"
    found.append(Measurement(f"{what}: images {label}", len(joined) / len(names), "", bar))
    draw = np.random.default_rng(0)
    rich = [number for number, one in enumerate(prints) if one.local is not None and len(one.local.places) >= 100]
    for name, change in TRANSFORMATIONS.items():
        originals = draw.choice(rich, COPIES, replace=False)
        copies = [np.ascontiguousarray(change(pictures[number], draw)) for number in originals]
        ids = [f"copy-of-{names[number]}" for number in originals]
        sets = search(
            [*names, *ids],
            [*patients, *ids],
            [*pictures, *copies],
            [*prints, *(signature(Image(copy[None])) for copy in copies)],
        ).near
        hits = [
            any({names[number], copy} <= set(one) for one in sets) for number, copy in zip(originals, ids, strict=True)
        ]
        wrong = false_merges(
            sets, dict(zip(ids, (names[number] for number in originals), strict=True)), alone.near + alone.exact
        )
        found.append(Measurement(f"{what}: recall, {name}", float(np.mean(hits)), "", RECALL, at_least=True))
        found.append(Measurement(f"{what}: false merges, {name}", len(wrong) / (len(names) + COPIES), "", FALSE_MERGES))
        print(what, name, np.mean(hits), sorted(wrong), flush=True)
    return found


def false_merges(sets: list[list[str]], original_of: dict[str, str], alone: list[list[str]]) -> set[str]:
    """Copies in a set with an image that is neither their original nor in its set without them."""
    like: dict[str, set[str]] = {}
    for members in alone:
        for name in members:
            like.setdefault(name, set()).update(members)
    wrong = set()
    for members in sets:
        originals = {original_of[one] for one in members if one in original_of}
        expected = originals.union(*(like.get(one, set()) for one in originals)) | set(original_of)
        if originals and set(members) - expected:
            wrong |= set(members) & set(original_of)
    return wrong


def main() -> int:
    """Measure all three sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    found = [one for what in parser.parse_args().sets for one in measure(what, *SETS[what])]
    return record(
        "near_duplicates", found, f"{COPIES} copies of each transformation, of images with 100 features or more."
    )


if __name__ == "__main__":
    sys.exit(main())
