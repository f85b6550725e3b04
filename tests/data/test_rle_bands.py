import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heldout.data.rle import RunLengths
from heldout.data.rle_bands import RunWriter, decode_region

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)
ways = st.builds(RunLengths, st.sampled_from(["columns", "rows"]), st.integers(0, 1))


@settings(max_examples=200, deadline=None)
@given(masks, ways, st.integers(1, 9))
def test_bands_give_the_text_of_the_whole(mask, runs, height):
    writer = RunWriter(mask.shape, runs)
    for row in range(0, len(mask), height):
        writer.add(mask[row : row + height], row)
    assert writer.text() == runs.encode(mask)


@settings(max_examples=200, deadline=None)
@given(masks, ways, st.data())
def test_a_region_is_that_of_the_whole(mask, runs, data):
    row, column = (data.draw(st.integers(0, size - 1)) for size in mask.shape)
    height, width = (data.draw(st.integers(1, size)) for size in mask.shape)
    height, width = min(height, mask.shape[0] - row), min(width, mask.shape[1] - column)
    found = decode_region(runs.encode(mask), mask.shape, runs, (row, column, height, width))
    np.testing.assert_array_equal(found, mask[row : row + height, column : column + width])
