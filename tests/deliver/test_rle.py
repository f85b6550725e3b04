"""Run-length text and back, as Kaggle counts pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heldout.deliver.submission.rle import decode, encode
from heldout.errors import UserError

MASKS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1))


@given(MASKS)
def test_decoding_undoes_encoding(mask):
    assert np.array_equal(decode(encode(mask), mask.shape), mask)


@given(MASKS)
def test_every_pixel_named_is_foreground_counted_down_the_columns_from_one(mask):
    numbers = [int(part) for part in encode(mask).split()]
    named = {p for s, n in zip(numbers[::2], numbers[1::2], strict=True) for p in range(s, s + n)}
    rows = mask.shape[0]
    assert named == {column * rows + row + 1 for row, column in zip(*np.nonzero(mask), strict=True)}


def test_a_known_example_and_the_empty_mask():
    mask = np.array([[0, 1, 0], [1, 1, 0]])
    assert encode(mask) == "2 3"
    assert encode(np.zeros((4, 5))) == ""
    assert not decode("", (4, 5)).any()


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
        decode(text, (2, 3))
