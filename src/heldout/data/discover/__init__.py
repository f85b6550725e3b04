"""Looks at a folder: which layout it has, what its labels are, and which source and settings read it.

A recognizer takes the files and returns a proposal, or None; it asks where the evidence leaves several readings. To
add one, write such a function and name it in :data:`RECOGNIZERS`; the first that proposes something is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from heldout.data.discover.affixes import match_rows
from heldout.data.discover.answers import with_answers
from heldout.data.discover.class_folders import from_class_folders
from heldout.data.discover.findings import Ask, Choice, Proposal, Question
from heldout.data.discover.folders import from_masks
from heldout.data.discover.known import from_bids, from_coco, from_decathlon, from_single_datasets, from_yolo
from heldout.data.discover.large import by_tile
from heldout.data.discover.listing import Listing, first_cells
from heldout.data.discover.settings import fitted
from heldout.data.discover.tables import from_tables
from heldout.errors import UserError

__all__ = ["RECOGNIZERS", "Choice", "Proposal", "Question", "discover"]

_SAID = 3
_OF_DATA = (".xml", ".json", ".jsonl", ".hdf5", ".h5", ".npy", ".npz", ".parquet", ".xlsx", ".mat", ".pkl")
RECOGNIZERS = (
    from_single_datasets,
    from_decathlon,
    from_bids,
    from_coco,
    from_yolo,
    from_tables,
    from_masks,
    from_class_folders,
)


def discover(root: Path, ask: Ask) -> Proposal:
    """Propose an experiment for a folder of data.

    Args:
        root: The folder.
        ask: Answers a question with one of its choices.

    Raises:
        UserError: there is no image, or nothing says what its labels are.
    """
    listing = Listing(root)
    if not listing.names:
        raise UserError(f"{root} is empty: unpack the dataset there")
    proposals = (proposal for recognize in RECOGNIZERS if (proposal := recognize(listing, ask)))
    proposal = next(proposals, None)
    if proposal is not None:
        return with_answers(listing, fitted(root, by_tile(listing, _with_unread(listing, proposal))))
    if not listing.images:
        endings = Counter(PurePosixPath(name).suffix or "no ending" for name in listing.names).most_common(3)
        there = ", ".join(f"{number:,} {ending}" for ending, number in endings)
        raise UserError(
            f"{root} holds no image (PNG, JPEG, TIFF, DICOM, NIfTI) but {there}: unpack the dataset there, or convert "
            "its images"
        )
    raise UserError(
        f"{root} holds {len(listing.images)} images, but nothing says what they show{_looked_at(listing)}: add a table "
        f"with their names and labels, folders of classes, or masks, as docs/your-competition.md describes"
    )


def _with_unread(listing: Listing, proposal: Proposal) -> Proposal:
    """The proposal that says which files of data were left aside, where it is of tables or folders."""
    if proposal.source not in ("table", "folders"):
        return proposal
    found = []
    if proposal.source == "folders" and listing.tables:
        found.append(f"{_some(list(listing.tables))}: no column that names images")
    if unread := [name for name in listing.names if name.lower().endswith(_OF_DATA)]:
        found.append(f"{_some(unread)}, in no format that is known here")
    return proposal.with_found({"not read": "; ".join(found)}) if found else proposal


def _some(names: Sequence[str]) -> str:
    """The first of some names, and how many others there are."""
    return names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")


def _looked_at(listing: Listing) -> str:
    """What was there and did not help: masks that no image is called like, tables that name no image, annotations."""
    masks = [name for name in listing.images if listing.is_mask(name)]
    others = [name for name in listing.images if not listing.is_mask(name)]
    found = []
    if masks and others:
        found.append(f"no image is called like the mask {masks[0]}, such as {others[0]}")
    for name, frame in listing.tables.items():
        if match_rows(listing, frame) is None:
            found.append(
                f"no column of {name} names images such as {(others or masks)[0]}, its first row has "
                f"{first_cells(frame)}"
            )
        else:
            found.append(f"{name} names images, and has no column of labels: {', '.join(frame.columns)}")
    if marks := [name for name in listing.names if name.lower().endswith((*_OF_DATA, ".txt"))]:
        found.append(f"{marks[0]} is in no format that is known here")
    return f" ({'; '.join(found[:_SAID])})" if found else ""
