"""What a sample submission asks about: cases, patients, or groups of cases that columns of a table name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from heldout.data.discover.findings import Proposal
from heldout.data.discover.listing import Listing, stem_of
from heldout.data.levels import CASE, groups_of
from heldout.data.sources import Source, identifier, source_class
from heldout.data.sources.layout import image_paths
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = 8  # of a table of which two may name a group together
_FIELD = "sample_submission"
_RUNS = re.compile(r"rle|encoded|pixels|predicted", re.IGNORECASE)  # columns of run lengths


def with_answers(listing: Listing, proposal: Proposal) -> Proposal:
    """The proposal with the level that its sample submission asks for, or without one that it cannot fill."""
    sample = listing.sample()
    if sample is None:
        return proposal
    if _FIELD not in proposal.fields:
        return _of_folders(listing, proposal, sample)
    source = source_class(proposal.source)(listing.root, **proposal.options)
    index = source.index()
    index = index.assign(own_id=[source.own_ids().get(case, case) for case in index["case_id"]])
    asked = index[index["split"] == "submit"]
    if asked.empty:
        return proposal
    ids, parts, known = list(sample.iloc[:, 0]), _parts(source), _names_of(asked)
    if _names_all(ids, known, parts) or not proposal.task.startswith(("Classify", "Regress", "Detect")):
        return proposal
    for level in _levels(listing, index) if not proposal.task.startswith("Detect") else ():
        with suppress(UserError):  # a column that only some cases have
            groups = groups_of(source, index, level)
            own = {group for group, split in zip(groups, index["split"], strict=True) if split == "submit"}
            if _names_all(ids, own, parts):
                return proposal.with_found({"submission": f"a row per {level}, of all its cases"}, level=level)
    left_out = (_FIELD, *(["submission"] if proposal.fields.get("submission") != "detections" else []))
    fields = {name: value for name, value in proposal.fields.items() if name not in left_out}
    strange = [text for text in ids if not _names_all([text], known, parts)]
    more = f", as are {len(strange):,} of its {len(ids):,} ids" if len(strange) < len(ids) else ""
    text = (
        f"{listing.samples[0]} is not filled: it asks for {strange[0]}, which is no case, patient or group of cases "
        f"here{more}; override write_submission"
    )
    return replace(proposal, fields=fields, found={**proposal.found, "submission": text})


def _of_folders(listing: Listing, proposal: Proposal, sample: pd.DataFrame) -> Proposal:
    """The proposal for folders, with a sample submission that names their unlabeled cases and has fitting columns."""
    if proposal.source != "folders" or "submit" not in proposal.options:
        return proposal
    source = source_class(proposal.source)(listing.root, **proposal.options)
    index = source.index()
    names = _names_of(index.assign(own_id=index["case_id"])[index["split"] == "submit"])
    columns = [identifier(name).casefold() for name in sample.columns[1:]]
    masks = source.kind == "segmentation"
    held = {name.casefold() for name in source.classes}
    if not _names_all(list(sample.iloc[:, 0]), names, _parts(source)):
        return proposal
    if masks and len(columns) == len(held) == 1 and _RUNS.search(columns[0]):
        text = "run lengths, counted down the columns from 1; the fields rle and rle_start say otherwise"
        return proposal.with_found({"submission": text}, sample_submission=listing.samples[0], submission="rle")
    if not masks and (set(columns) == held or len(columns) == 1):
        return proposal.with_found({}, sample_submission=listing.samples[0])
    return proposal


def _parts(source: Source) -> set[str]:
    """What may follow a case's name in an id: classes, and groups of them."""
    names = {identifier(name).casefold() for name in source.classes}
    if source.options.get("graded"):
        names |= {identifier(name).casefold() for name in source.options["labels"].split(",")}
    return names


def _names_all(ids: Sequence[str], names: Collection[str], parts: Collection[str]) -> bool:
    """Whether every id is a name, or one with a part after it."""
    for text in ids:
        cuts = [place for place, letter in enumerate(text) if letter == "_"]
        if text not in names and not any(
            text[:cut] in names and identifier(text[cut + 1 :]).casefold() in parts for cut in cuts
        ):
            return False
    return True


def _names_of(cases: pd.DataFrame) -> set[str]:
    """What a sample submission may call cases."""
    paths = [image_paths(text)[0] for text in cases["image"]]
    names = {*cases["case_id"], *cases["own_id"], *(PurePosixPath(path).name for path in paths), *map(stem_of, paths)}
    folders = (f"{folder}_{stem_of(path)}" for path in paths for folder in PurePosixPath(path).parts[:-1])
    return names | set(folders)


def _levels(listing: Listing, index: pd.DataFrame) -> Iterator[str]:
    """Levels that groups of cases may have, the plainest first."""
    if (index["patient_id"] != index["case_id"]).any():
        yield "patient"
    tables = [frame for frame in listing.tables.values() if _mentions(frame, index)]
    for frame in tables:
        yield from (name for name in frame.columns if name != CASE)
    for frame in tables:
        for first, second in permutations(list(frame.columns)[:_COLUMNS], 2):
            yield f"{{{first}}}_{{{second}}}"


def _mentions(frame: pd.DataFrame, index: pd.DataFrame) -> bool:
    """Whether a column of a table names cases that are to be submitted."""
    own = set(index["own_id"][index["split"] == "submit"])
    return any(own & set(frame[name].str.strip()) for name in frame.columns)
