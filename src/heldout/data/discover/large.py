"""Large images: a proposal for images that are read whole becomes one for slides, which are read by tile."""

from __future__ import annotations

from contextlib import suppress

from heldout.data.discover.findings import Proposal
from heldout.data.discover.listing import Listing, evenly
from heldout.data.readers.regions import open_large
from heldout.data.sources.slides import ENDINGS
from heldout.data.sources.template import Template
from heldout.errors import UserError

LARGE = 4096  # pixels of a side from which an image is read by tile
_OPENED = 8
_OPTIONS = ("file", "id", "path", "mask", "patient", "submit", "rle", "rle_start", "labels")
_AS_TABLES = {"image": "path"}  # options of ``folders`` by what ``slides`` calls them


def by_tile(listing: Listing, proposal: Proposal) -> Proposal:
    """The proposal with the source ``slides``, where its images are pyramids, or too large to be read as a whole.

    Only masks of a file each, or run lengths of one class in a row per image, can be read so.
    """
    options = {_AS_TABLES.get(name, name): value for name, value in proposal.options.items()}
    path = str(options.get("path", ""))
    plain = Template.is_one(path) and Template(path).fields == ("id",) and path.lower().endswith(ENDINGS)
    if proposal.task != "Segment2D" or proposal.source not in ("table", "folders") or not plain:
        return proposal
    if not set(options) <= set(_OPTIONS) or "," in str(options.get("file", "")) or "mask" not in options:
        return proposal
    names = [name for name in listing.images if Template(path).match(name)]
    large, shown = 0, ""
    for name in (looked := evenly(names, _OPENED)):
        with suppress(UserError):
            image = open_large(listing.root / name)
            if len(image.levels) > 1 or max(image.levels[0]) > LARGE:
                large += 1
                height, width = image.levels[0]
                shown = shown or f"{name}, {width:,} x {height:,} pixels in {len(image.levels)} resolutions"
    if not looked or large < len(looked):
        return proposal
    found = {
        "slides": f"{large} of {len(looked)} images looked at are pyramids or larger than {LARGE:,} pixels: {shown}"
    }
    found["slides"] += "; they are read by tile, and a case is a tile"
    plainly = Proposal(f"{proposal.layout}, of large images", "slides", proposal.task, options, proposal.fields)
    return plainly.with_found({**proposal.found, **found})
