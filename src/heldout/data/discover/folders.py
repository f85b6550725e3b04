"""Proposals for folders without a table: images with masks."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from heldout.data import readers
from heldout.data.discover.findings import Ask, Choice, Proposal, decide
from heldout.data.discover.listing import MASKISH, VOLUMES, Listing, ending_of, evenly, stem_of
from heldout.data.discover.matching import start_of, unlabeled_places
from heldout.data.sources.template import Template
from heldout.errors import UserError

PART = re.compile(r"(.*[^a-z])?(train|training|val|valid|validation|test|testing)([^a-z].*)?$", re.IGNORECASE)
TEST = re.compile(r"(.*[^a-z])?test(ing)?([^a-z].*)?$", re.IGNORECASE)
MOST_CLASSES = 100
_LOOKED_AT = 24  # masks that are read
_ANY = "*"  # before the end of a name
_TOKENS = re.compile(r"[^_.\- ]+")


def from_masks(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal where images have masks of like names; None where they have not."""
    masks = [name for name in listing.images if listing.is_mask(name)]
    known = set(masks)
    images = [name for name in listing.images if name not in known]
    if not masks or not images:
        return None
    index: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in images:
        folder, stem = str(PurePosixPath(name).parent), stem_of(name)
        for start in _starts(stem):
            index["", start].append(name)
            index[folder, start].append(name)
        for end in _ends(stem):
            index[folder, _ANY + end].append(name)
    pairs: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for mask in evenly(masks, 200):
        if own := _images_of(mask, index):
            forms = _templates(mask, own)
            pairs[forms].append(mask)
    if not pairs:
        return None
    merged = _merge(pairs)
    trained = {forms: found for forms, found in merged.items() if not _is_test(forms[1])}
    merged = trained or merged
    counts = {forms: len(found) for forms, found in merged.items()}
    best = max(counts.values())
    likely = [forms for forms in merged if counts[forms] >= 0.5 * best]
    looks = {forms: _values(listing, [name for name in masks if Template(forms[1]).match(name)]) for forms in likely}
    likely.sort(key=lambda forms: looks[forms][2])
    choices = [Choice(f"{forms[1]}: {looks[forms][1]}", forms) for forms in likely]
    kinds = [forms[1] for forms in merged if forms[0] == likely[0][0]]
    together = _together(kinds)
    if together:
        choices.insert(0 if len(kinds) > 2 else len(choices), Choice(f"all, a class each: {together}", None))
    picked = decide(ask, "mask", "Which files are the masks?", choices)
    choice, every = picked or likely[0], picked is None
    options: dict[str, Any] = {"image": ", ".join(choice[0]), "mask": choice[1], **looks[choice][0]}
    if every:
        options |= {"mask": ", ".join(kinds), "labels": together}
    forms_of_masks = Template("|".join(kinds if every else [choice[1]]))
    labeled = sum(forms_of_masks.match(name) is not None for name in masks)
    there = sum(Template(choice[0][0]).match(name) is not None for name in images)
    found = {
        "images": f"{options['image']}: {there:,} files",
        "masks": f"{options['mask']}: {labeled:,} files, {looks[choice][1]}",
        "patients": "{patient} of the paths"
        if "{patient}" in choice[0][0]
        else "none named: every image counts as another patient",
    }
    names = listing.images
    for text, mask in zip(
        unlabeled_places(options["image"], names), unlabeled_places(options["mask"], names), strict=False
    ):
        if not any(Template(text.split(", ")[0]).match(name) for name in images):
            continue
        if any(Template(one).match(name) for name in masks for one in mask.split(", ")):
            options["test"] = found["test part"] = text
            options["mask"] = "/".join(
                one if one == other else "*"
                for one, other in zip(options["mask"].split("/"), mask.split("/"), strict=True)
            )
        else:
            options["submit"] = found["unlabeled"] = text
        break
    _narrow(options, images, masks)
    dimensions = 3 if choice[1].lower().endswith(VOLUMES) else 2
    options |= {"dimensions": 3} if dimensions == 3 else {}
    return Proposal("images with masks of like names", "folders", f"Segment{dimensions}D", options, {}, found)


def _narrow(options: dict[str, Any], images: Sequence[str], masks: Sequence[str]) -> None:
    """Names as ``{patient}_frame{number}`` where patients have other images without a mask, as ``patient001_4d``."""
    image, mask = Template(options["image"]), Template(options["mask"])
    if "," in image.text + mask.text or not {"patient", "id"} <= set(image.fields) & set(mask.fields):
        return
    masked = {(pieces["patient"], pieces["id"]) for name in masks if (pieces := mask.match(name))}
    there = {(pieces["patient"], pieces["id"]) for name in images if (pieces := image.match(name))}
    other = [name.removeprefix(who) for who, name in there - masked if who in {one for one, _ in masked}]
    own = [name.removeprefix(who) for who, name in masked if name.startswith(who)]
    start = start_of(own).rstrip("0123456789") if own else ""
    if not other or len(own) < len(masked) or len(start) < len("_x") or any(rest.startswith(start) for rest in other):
        return
    last = "{number}" if all(rest.removeprefix(start).isdigit() for rest in own) else "{id}"
    for name in ("image", "mask", "test", "submit"):
        if name in options:
            options[name] = options[name].replace("{id}", f"{{patient}}{start}{last}")


def _images_of(mask: str, index: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """Images whose names begin as a mask's does without the words for masks; those in the nearest folder."""
    stem, folder = stem_of(mask), PurePosixPath(mask).parent
    tokens = list(_TOKENS.finditer(stem))
    while tokens and MASKISH.search(tokens[-1][0]):
        tokens.pop()
    start = stem[: tokens[-1].end()] if tokens else ""
    if not start:
        return index.get((str(folder), ""), [])
    here = index.get((str(folder), start))
    if here:
        return here
    if tokens[1:] and MASKISH.search(tokens[0][0]):  # segmentation-0 of volume-0
        own = index.get((str(folder), _ANY + stem[tokens[1].start() :]), [])
        if len(own) == 1:
            return own
    there = index.get(("", start), [])
    while not there and len(tokens) > 1:  # a word of the kind of mask, as IDRiD_01_MA
        tokens.pop()
        there = index.get(("", stem[: tokens[-1].end()]), [])
    if not there:  # the folder is the case, and its files have names of their own, or that above it
        above = index.get((str(folder.parent), ""), [])
        return index.get((str(folder), ""), []) or (above if len(above) == 1 and folder.name else [])
    near = [name for name in there if PurePosixPath(name).parts[:-2] == folder.parts[:-1]]
    found = near or there
    folders = {PurePosixPath(name).parent for name in found}
    return found if len(folders) == 1 else []


def _templates(mask: str, images: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Templates of the images and the mask of one case, as far as one case shows them."""
    stems = [stem_of(name) for name in (*images, mask)]
    start = start_of(stems)
    while start and start not in _starts(stems[-1]) and start not in set(stems):
        start = start[:-1].rstrip("_-. ")
    end = "" if start else _shared_end(stems)
    folder = PurePosixPath(mask).parent
    inside = PurePosixPath(images[0]).parent == folder.parent  # masks lie in a folder of the case's
    value = start or end or (folder.parent.name if inside else folder.name)

    def form(name: str) -> str:
        parts = PurePosixPath(name).parts
        shown = ["{id}" if part == value else part for part in parts[:-1]]
        last = parts[-1]
        if start:
            last = "{id}" + last[len(start) :]
        elif end:
            place = len(stem_of(last)) - len(end)
            last = last[:place] + "{id}" + last[place + len(end) :]
        return "/".join([*shown, last])

    return tuple(form(name) for name in images), form(mask)


def _merge(pairs: Mapping[tuple[tuple[str, ...], str], list[str]]) -> dict[tuple[tuple[str, ...], str], list[str]]:
    """Forms of single cases with what differs as ``{patient}``, where image and mask share it, or as ``*``."""
    groups: dict[Any, list[tuple[tuple[tuple[str, ...], str], list[str]]]] = defaultdict(list)
    for forms, names in pairs.items():
        endings = tuple(ending_of(text) for text in forms[0])
        key = (len(forms[0]), forms[1].count("/"), endings, _generic(forms[1]), _is_test(forms[1]))
        groups[key].append((forms, names))
    merged: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for members in groups.values():
        images = tuple(zip(*(forms[0] for forms, _ in members), strict=True))
        masks = [forms[1] for forms, _ in members]
        shared = {
            part for texts, _ in members for part in set(texts[1].split("/")[:-1]) & set(texts[0][0].split("/")[:-1])
        }
        common = set.intersection(*(set(text.split("/")[:-1]) for text in masks))
        forms = (tuple(_joined(texts, shared - common) for texts in images), _joined(masks, shared - common))
        merged[forms] += [name for _, names in members for name in names]
    return merged


def _joined(texts: Sequence[str], shared: set[str]) -> str:
    """One template for several: folders that image and mask share become the patient, what else differs ``*``."""
    columns = list(zip(*(text.split("/") for text in texts), strict=True))
    parts = []
    for column in columns:
        if len(set(column)) == 1:
            parts.append(column[0])
        elif set(column) <= shared and "{patient}" not in parts and not all(map(PART.match, column)):
            numbered = all(re.search(r"\d", name) for name in column) or len(set(column)) > MOST_CLASSES
            parts.append("{patient}" if numbered else "{class}")
        else:
            start = start_of(column)
            ends = start_of([text[::-1] for text in column])[::-1]
            start = start if "{" not in start or "}" in start else start.partition("{")[0]
            parts.append(f"{start}*{ends[max(0, len(start) + len(ends) - min(map(len, column))) :]}")
    return "/".join(parts)


def _is_test(text: str) -> bool:
    """Whether a folder of a path says that it is of a test part."""
    return any(map(TEST.match, text.split("/")[:-1]))


def _generic(text: str) -> tuple[str, ...]:
    """The folders of a mask that are words for masks, and its file's words: by these, kinds of masks are told apart."""
    *folders, last = text.split("/")
    return (*(part for part in folders if MASKISH.search(part)), re.sub(r"\d+", "", last))


def _together(kinds: Sequence[str]) -> str:
    """Names of several kinds of masks, from the folders or words in which their templates differ; "" where not."""
    columns = list(zip(*(text.split("/") for text in kinds), strict=False))
    if len(kinds) < 2 or len({text.count("/") for text in kinds}) > 1:
        return ""
    for column in columns:
        start = start_of(column)
        names = [re.sub(r"^[\d. _-]+|\.[a-z.]+$", "", text[len(start) :], flags=re.IGNORECASE) for text in column]
        if len(set(names)) == len(kinds) and all(names) and "," not in "".join(names):
            return ", ".join(names)
    return ""


def _shared_end(stems: Sequence[str]) -> str:
    """The longest end with a number that names share, whole words of them, but not a whole name."""
    shared = (end for end in _ends(stems[0]) if all(end in _ends(stem) for stem in stems[1:]))
    return next((end for end in shared if re.search(r"\d", end)), "")


def _ends(stem: str) -> list[str]:
    """Ends of a name that begin with one of its words, but the first; the longest first."""
    return [stem[match.start() :] for match in list(_TOKENS.finditer(stem))[1:]]


def _starts(stem: str) -> list[str]:
    """Beginnings of a name that end with one of its words, "" included."""
    return ["", *(stem[: match.end()] for match in _TOKENS.finditer(stem))]


def _values(listing: Listing, names: Sequence[str]) -> tuple[dict[str, Any], str, float]:
    """Options for the values that masks hold, the evidence, and the share of their pixels that is not zero."""
    counts: Counter[int] = Counter()
    lossy = colored = False
    for name in evenly(list(names), _LOOKED_AT):
        try:
            array = readers.open_any(listing.root / name).array
        except UserError:
            continue
        colored |= len(array) == 3 and array.ndim == 3
        lossy |= name.lower().endswith((".jpg", ".jpeg"))
        values, number = np.unique(array, return_counts=True)
        counts.update(dict(zip(values.tolist(), number.tolist(), strict=True)))
    share = 1 - counts[0] / max(counts.total(), 1)
    found = sorted(int(value) for value in counts if value == int(value) and 0 < value <= 255)
    if lossy or colored or len(found) > 30:
        near = sum(number for value, number in counts.items() if value < 40 or value > 215) / max(counts.total(), 1)
        extreme = f"{near:.0%} of the pixels are nearly black or white" + (", JPEG" if lossy else "")
        return {"threshold": 127}, f"images, {extreme}: above 127 is foreground", share
    if found in ([], [1], [255]):
        return {}, f"0 and {found[0] if found else 'nothing else'}, {share:.1%} of the pixels", share
    labels = ", ".join(f"label_{value}" for value in found)
    plain = found == list(range(1, len(found) + 1))
    return (
        {"labels": labels} | ({} if plain else {"values": ", ".join(map(str, found))}),
        f"the values {', '.join(map(str, found))}",
        share,
    )


def dimensions_of(listing: Listing) -> int:
    """3 where all images are volumes, else 2."""
    return 3 if all(name.lower().endswith(VOLUMES) for name in listing.images) else 2
