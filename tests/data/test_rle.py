"""Run-length text and back, in both orders of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heldout.data.rle import RunLengths
from heldout.errors import UserError

WAYS = st.builds(RunLengths, st.sampled_from(["columns", "rows"]), st.sampled_from([0, 1]))
MASKS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


@settings(deadline=None)
@given(MASKS, WAYS)
def test_decoding_undoes_encoding(mask, way):
    assert np.array_equal(way.decode(way.encode(mask), mask.shape), mask)


@settings(deadline=None)
@given(MASKS, st.sampled_from([0, 1]))
def test_rows_of_a_mask_are_columns_of_the_mask_turned_over(mask, start):
    assert RunLengths("rows", start).encode(mask) == RunLengths("columns", start).encode(mask.T)


@settings(deadline=None)
@given(MASKS)
def test_counting_from_zero_moves_every_start_by_one(mask):
    from_one, from_zero = (RunLengths("rows", start).encode(mask).split() for start in (1, 0))
    assert [int(one) - 1 for one in from_one[::2]] == [int(zero) for zero in from_zero[::2]]
    assert from_one[1::2] == from_zero[1::2]


@settings(deadline=None)
@given(MASKS)
def test_every_pixel_named_is_foreground_counted_down_the_columns_from_one(mask):
    numbers = [int(part) for part in RunLengths().encode(mask).split()]
    named = {p for s, n in zip(numbers[::2], numbers[1::2], strict=True) for p in range(s, s + n)}
    rows = mask.shape[0]
    assert named == {column * rows + row + 1 for row, column in zip(*np.nonzero(mask), strict=True)}


def test_a_known_example_and_the_empty_mask():
    mask = np.array([[0, 1, 0], [1, 1, 0]])
    assert RunLengths().encode(mask) == "2 3"
    assert RunLengths("rows", 0).encode(mask) == "1 1 3 2"
    assert RunLengths().encode(np.zeros((4, 5))) == ""
    assert not RunLengths().decode("", (4, 5)).any()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 2 3", "pairs"),
        ("1 x", "whole number"),
        ("0 2", "count from 1"),
        ("5 3", "leaves"),
        ("1 3 2 1", "overlapping"),
        ("2 0", "overlapping"),
    ],
)
def test_text_that_is_no_mask_is_refused(text, complaint):
    with pytest.raises(UserError, match=complaint):
        RunLengths().decode(text, (2, 3))
