"""The label that an answer names is the one that the sealed decision gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
from heldout.serve.fitting import labels_of

pytestmark = pytest.mark.extras


@pytest.mark.parametrize(
    ("scores", "thresholds", "prediction"),
    [
        ({"a": 0.6, "b": 0.5}, {"a": 0.7, "b": 0.3}, "b"),  # the most probable class is below its threshold
        ({"a": 0.6, "b": 0.2}, {"a": 0.7, "b": 0.3}, "none"),
        ({"a": 0.9, "b": 0.5}, {"a": 0.7, "b": 0.3}, "a"),
        ({"a": 0.501, "b": 0.1}, {"a": 128 / 255, "b": 128 / 255}, "a"),  # thresholds are of levels of 255
    ],
)
def test_the_most_probable_class_above_its_threshold_is_named(scores, thresholds, prediction):
    model = SimpleNamespace(kind="classification", exclusive=False, classes=("a", "b"), thresholds=thresholds)
    found = SimpleNamespace(scores=scores, uncalibrated=scores, grade=None)
    assert labels_of(model, found)["prediction"] == prediction
