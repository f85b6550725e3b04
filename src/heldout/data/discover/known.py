"""Proposals for layouts with a standard of their own: nnU-Net and the Decathlon, COCO, BIDS, and single datasets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import PurePosixPath
from typing import Any, cast

from heldout.data.discover.columns import readings
from heldout.data.discover.findings import Ask, Choice, Proposal, decide
from heldout.data.discover.listing import MASKISH, VOLUMES, Listing, stem_of
from heldout.data.sources.coco import coco_files, read_coco
from heldout.data.sources.layout import IMAGE_ENDINGS, folder_with
from heldout.data.sources.msd import Msd
from heldout.data.sources.yolo import Yolo, label_path, read_lines
from heldout.errors import UserError
from heldout.records import read_json

_SUBJECT = re.compile(r"(^|/)sub-[A-Za-z0-9]+/")
_BIDS_FILE = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(?P<rest>(_[A-Za-z0-9-]+)*)_(?P<suffix>[A-Za-z0-9]+)$"
)


def from_decathlon(listing: Listing, ask: Ask) -> Proposal | None:  # noqa: ARG001 - nothing is left open
    """A proposal for ``dataset.json`` of the Decathlon or nnU-Net, of volumes or of images."""
    folder = folder_with(listing.root, "dataset.json")
    if folder is None:
        return None
    plan = read_json(folder / "dataset.json", "restore it from its source")
    if not isinstance(plan, dict) or "labels" not in plan:
        return None
    ending = str(plan.get("file_ending", ".nii.gz")).lower()
    version = "nnU-Net v2" if "channel_names" in plan else "Decathlon or nnU-Net v1"
    above = "" if folder == listing.root else folder.relative_to(listing.root).as_posix() + "/"
    if not ending.endswith(IMAGE_ENDINGS[3]):
        return _decathlon_images(listing, plan, ending, above)
    source = Msd(listing.root)
    index = source.index()
    splits = folder / "splits_final.json"
    options: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    found = {
        "labels": ", ".join(source.classes),
        "patients": "none named: every volume counts as another patient",
    }
    if splits.is_file():
        options["splits"] = True
        folds = read_json(splits, "copy it from nnU-Net")
        fields["fold_count"] = len(folds)
        fields["test_fraction"] = 0.0
        found["folds"] = f"{len(folds)} of splits_final.json, with no part locked for a test"
    labeled = int((index["split"] != "submit").sum())
    found["images"] = f"{labeled:,} labeled and {len(index) - labeled:,} unlabeled volumes"
    return Proposal(f"dataset.json of {version}", "msd", "Segment3D", options, fields, found)


def _decathlon_images(listing: Listing, plan: dict[str, Any], ending: str, above: str) -> Proposal:
    channels = len(plan.get("channel_names", plan.get("modality", {"0": ""})))
    labels = {name: value for name, value in plan["labels"].items() if value not in (0, "0", "background")}
    if not all(isinstance(value, int) for value in labels.values()):
        raise UserError(
            f"{listing.root / (above + 'dataset.json')} has regions of images, which are not read: list single labels"
        )
    ordered = sorted(labels, key=lambda name: labels[name])
    options: dict[str, Any] = {
        "image": ", ".join(f"{above}imagesTr/{{id}}_{number:04d}{ending}" for number in range(channels)),
        "mask": f"{above}labelsTr/{{id}}{ending}",
        "labels": ", ".join(ordered),
    }
    values = [labels[name] for name in ordered]
    options |= {} if values == list(range(1, len(values) + 1)) else {"values": ", ".join(map(str, values))}
    if any(name.startswith(f"{above}imagesTs/") for name in listing.images):
        options["submit"] = options["image"].replace("imagesTr/", "imagesTs/")
    return Proposal(
        "dataset.json of nnU-Net v2, images", "folders", "Segment2D", options, {}, {"labels": ", ".join(ordered)}
    )


def from_coco(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for JSON files in the format of COCO."""
    paths = coco_files(listing.root)
    if not paths:
        return None
    contents = [read_coco(path) for path in paths]
    marks = [mark for content in contents for mark in content.marks]
    forms, numbers = Counter(mark.kind for mark in marks), Counter(mark.category for mark in marks)
    text = ", ".join(f"{number:,} {form}" for form, number in forms.most_common())
    drawn = forms.total() > forms["boxes"]
    draw = "segments" if drawn else "boxes"
    choices = [
        Choice(f"masks of {text}" if drawn else f"{text}, filled as masks", (draw, "Segment2D")),
        Choice("presence of each category in an image", (draw, "Classify2D")),
    ]
    if drawn and all(mark.box for mark in marks):
        choices.append(Choice("boxes, filled as masks", ("boxes", "Segment2D")))
    draw, task = decide(ask, "labels", "What is to be predicted?", choices)
    names = ", ".join(path.relative_to(listing.root).as_posix() for path in paths)
    categories = ", ".join(f"{name} {number:,}" for name, number in numbers.most_common(8))
    found = {
        "annotations": names,
        "images": f"{sum(len(content.images) for content in contents):,} listed",
        "labels": f"{text} of {len(numbers)} categories: {categories}",
        "patients": "none named: every image counts as another patient",
    }
    options = {"file": names} | ({"draw": draw} if draw != "segments" else {})
    return Proposal("COCO annotations", "coco", task, options, {}, found)


def from_yolo(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for text files of boxes beside images."""
    texts = {name for name in listing.names if name.endswith(".txt")}
    labeled = [name for name in listing.images if label_path(name) in texts]
    if not labeled or not any(text.startswith("labels/") or "/labels/" in text for text in map(label_path, labeled)):
        return None
    source = Yolo(listing.root)
    index, classes = source.index(), source.classes
    lines = [line for name in labeled for line in read_lines(listing.root / label_path(name), len(classes))]
    polygons = sum(len(shares) != 8 for _, shares in lines)
    text = f"{len(lines):,} boxes" if not polygons else f"{len(lines):,} boxes and polygons"
    task = decide(
        ask,
        "labels",
        "What is to be predicted?",
        [
            Choice(f"{text}, filled as masks", "Segment2D"),
            Choice("presence of each class in an image", "Classify2D"),
            Choice("boxes around each object", "Detect2D"),
        ],
    )
    counts = Counter(classes[kind] for kind, _ in lines)
    found = {
        "annotations": f"{len(labeled):,} text files, such as {label_path(labeled[0])}",
        "labels": f"{text}: {', '.join(f'{name} {number:,}' for name, number in counts.most_common(8))}",
        "patients": "none named: every image counts as another patient",
    }
    if (index["split"] == "test").any():
        found["test part"] = f"{(index['split'] == 'test').sum():,} images in folders called test, locked"
    return Proposal("YOLO: text files beside images", "yolo", task, {}, {}, found)


def from_bids(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for the Brain Imaging Data Structure: masks of like names, or labels in ``participants.tsv``."""
    volumes = [name for name in listing.images if name.lower().endswith(VOLUMES) and _SUBJECT.search(name)]
    parsed = {name: match for name in volumes if (match := _BIDS_FILE.match(stem_of(name)))}
    if not parsed:
        return None
    masks = {name: match for name, match in parsed.items() if MASKISH.search(stem_of(name).partition("_")[2])}
    images = {
        name: match for name, match in parsed.items() if name not in masks and not name.startswith("derivatives/")
    }
    if not images:
        return None
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for name, match in images.items():
        forms[match["suffix"]][_bids_form(name, match)] += 1
    suffixes = {suffix: counts.most_common(1)[0] for suffix, counts in forms.items()}
    usual = max(number for _, number in suffixes.values())
    choices = [
        Choice(f"{suffix}: {number:,} files such as {form}", (form,)) for suffix, (form, number) in suffixes.items()
    ]
    full = [form for form, number in suffixes.values() if number == usual]
    if len(full) > 1:
        choices.append(
            Choice(f"all of {', '.join(s for s, (_, n) in suffixes.items() if n == usual)} as channels", tuple(full))
        )
    chosen = decide(ask, "path", "Which volumes are the images?", choices)
    subjects = len({match["subject"] for match in images.values()})
    found = {"patients": f"{subjects:,} subjects (sub-), all sessions together", "images": ", ".join(chosen)}
    table = next(
        (frame for name, frame in listing.tables.items() if PurePosixPath(name).name == "participants.tsv"), None
    )
    labels = [] if table is None or "participant_id" not in table.columns else readings(table, "participant_id", [], [])
    if masks:
        counts = Counter(_bids_form(name, match) for name, match in masks.items())
        mask = decide(
            ask,
            "mask",
            "Which files are the masks?",
            [Choice(f"{form}: {n:,} files", form) for form, n in counts.most_common()],
        )
        patient = [text.replace("{id}", "{patient}") for text in (*chosen, mask)]
        options = {"image": ", ".join(patient[:-1]), "mask": patient[-1], "dimensions": 3}
        return Proposal("BIDS with masks", "folders", "Segment3D", options, {}, {**found, "masks": mask})
    if not labels:
        return None
    reading = decide(ask, "labels", "What is to be predicted?", [Choice(one.text, one) for one in labels])
    name = next(name for name in listing.tables if PurePosixPath(name).name == "participants.tsv")
    task = "Classify3D" if reading.kind == "classification" else "Regress3D"
    options = {
        "file": name,
        "id": "participant_id",
        "path": ", ".join(chosen),
        "dimensions": 3,
        "absent": "skip",
        **reading.options,
    }
    return Proposal("BIDS with participants.tsv", "table", task, options, {}, {**found, "labels": reading.text})


def _bids_form(name: str, match: re.Match[str]) -> str:
    """Template of a file: its subject is ``{id}``, its session ``{session}``; runs and the like are ``*``."""
    ending = name[len(name) - (7 if name.lower().endswith(".gz") else 4) :]
    session = "_{session}" if match["session"] else ""
    rest = re.sub(r"(run|acq|echo|dir)-[A-Za-z0-9]+", lambda found: f"{found[1]}-*", match["rest"])
    folders = [
        "{id}" if part == match["subject"] else "{session}" if part == match["session"] else part
        for part in PurePosixPath(name).parts[:-1]
    ]
    return "/".join([*folders, f"{{id}}{session}{rest}_{match['suffix']}{ending}"])


def from_single_datasets(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for datasets that have a source of their own."""
    names = listing.names
    folders = {PurePosixPath(name).parent.name for name in listing.images}
    if any(name.endswith("VGG_fracture_masks.json") for name in names):
        return Proposal("FracAtlas", "fracatlas", "Segment2D", fields={"skip_bad": True})  # some JPEGs are truncated
    if any("kaggle_3m/TCGA_" in name or name.startswith("TCGA_") for name in listing.images):
        return Proposal("the LGG slices of Kaggle", "lgg", "Segment2D")
    if any(re.fullmatch(r"(.*/)?\w*mnist3d(_\d+)?\.npz", name) for name in names):
        return Proposal("MedMNIST 3D", "medmnist3d", "Classify3D")
    if {"yes", "no"} <= folders and not listing.tables:
        return Proposal("slices in yes/ and no/", "brain_mri", "Classify2D")
    if any("Aneurysm Present" in frame.columns for frame in listing.tables.values()):
        return Proposal("RSNA Intracranial Aneurysm Detection 2025", "rsna_aneurysm", "Classify3D")
    if any("_desc-T1lesion_mask" in name for name in names):
        return Proposal("ATLAS v2", "atlas", "Segment3D")
    if any(stem_of(name).endswith("_dwi") for name in listing.images) and any("_msk" in name for name in names):
        return Proposal("ISLES 2022", "isles", "Segment3D")
    stems = [stem_of(name) for name in listing.images]
    if any(stem.endswith("_flair") for stem in stems) and any(stem.endswith("_seg") for stem in stems):
        volumes = Choice("whole volumes in 3D", _brats_volumes(listing))
        slices = Choice("axial slices in 2D", Proposal("BraTS, slices", "brats_slices", "Segment2D"))
        return cast(Proposal, decide(ask, "labels", "BraTS: volumes, or their slices?", [volumes, slices]))
    return None


def _brats_volumes(listing: Listing) -> Proposal:
    name = next(name for name in listing.images if stem_of(name).endswith("_seg"))
    stem, folders = stem_of(name).removesuffix("_seg"), PurePosixPath(name).parts[:-1]
    ending = name.rpartition("_seg")[2]
    shown = "/".join("{id}" if part == stem else part for part in folders) + ("/" if folders else "")
    kinds = [
        kind for kind in ("flair", "t1", "t1ce", "t2") if any(stem_of(n) == f"{stem}_{kind}" for n in listing.images)
    ]
    options = {
        "image": ", ".join(f"{shown}{{id}}_{kind}{ending}" for kind in kinds),
        "mask": f"{shown}{{id}}_seg{ending}",
        "labels": "necrosis, edema, enhancing",
        "values": "1, 2, 4",
        "dimensions": 3,
    }
    found = {"images": str(options["image"]), "labels": "1 necrosis, 2 edema, 4 enhancing tumor"}
    return Proposal("BraTS, volumes", "folders", "Segment3D", options, {}, found)
