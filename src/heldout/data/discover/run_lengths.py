"""How run lengths count pixels, told from the texts and the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heldout.data.rle import Form, RunLengths, fits_better_flipped
from heldout.errors import UserError


def coding(examples: Sequence[tuple[str, np.ndarray]]) -> tuple[dict[str, Any], str]:
    """Options ``rle``, ``rle_start`` and ``rle_form`` of some masks, and the evidence in words.

    Args:
        examples: Run lengths that are not empty, and their image (H, W) in gray.
    """
    form, valid = _form(examples)
    starts = [int(text.split()[0]) for text, _ in examples]
    start = 0 if form == "gap" or 0 in starts else 1
    runs = RunLengths("columns", start, form)
    usable = [(text, image) for text, image in examples if _fits(text, form, image.size, start)]
    flipped = fits_better_flipped(usable, runs)
    back = fits_better_flipped(usable, runs.flipped)
    chosen = runs.flipped if flipped else runs
    options: dict[str, Any] = {"rle": chosen.order}
    options |= {"rle_start": start} if start != 1 else {}
    options |= {"rle_form": form} if form != "length" else {}
    words = {
        "length": "pairs of start and length",
        "end": "pairs of first and last pixel",
        "gap": "pairs of gap and length",
        "pixels": "single pixels",
    }
    order = flipped or back or "their images do not tell the order, which is taken to be the usual one"
    return options, f"{words[form]} ({valid} of {len(examples)} fit), counted by {chosen.order} from {start}: {order}"


def _form(examples: Sequence[tuple[str, np.ndarray]]) -> tuple[Form, int]:
    """The form by which most texts can be read; of equals the usual one."""
    forms: tuple[Form, ...] = ("length", "end", "gap", "pixels")
    counts = {form: sum(_fits(text, form, image.size) for text, image in examples) for form in forms}
    best = max(forms, key=lambda form: counts[form])  # of equals the first
    return best, counts[best]


def _fits(text: str, form: Form, pixels: int | None, start: int = 0) -> bool:
    try:
        _, ends = RunLengths("columns", start, form).runs(text)
    except UserError:
        return False
    return pixels is None or not len(ends) or int(ends[-1]) - start <= pixels + (1 if start == 0 else 0)
