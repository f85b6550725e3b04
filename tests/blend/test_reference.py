"""A prediction that is made again agrees with the first one to the digits that processors share."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.blend.reference import compare
from heldout.predict.prediction import Prediction


@pytest.mark.parametrize(
    ("value", "other", "agrees"),
    [
        (0.5, 0.500001, True),
        (0.5, 0.50002, False),
        (180.0, 180.00002, True),  # a number of a regression: the last digit of float32
        (180.0, 180.01, False),
        (0.5, float("nan"), False),
    ],
)
def test_scores_agree_to_the_digits_of_their_size(value, other, agrees):
    first, second = (Prediction("one", np.array([one])) for one in (value, other))
    assert (compare(first, second) == "") == agrees
