"""Several windows of one channel become the channels of a prepared case; without them nothing changes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heldout.config import load
from heldout.data.image import BadFile, Image
from heldout.data.normalize import to_float
from heldout.data.prepare import prepare_image
from heldout.data.recipe import Recipe
from heldout.tasks.classify import Classify3D

WINDOWS = ((40.0, 80.0), (300.0, 600.0), (600.0, 2800.0))


class Windowed(Classify3D):
    normalize = "window"
    channels = 3
    windows = WINDOWS


def test_every_window_is_a_channel_and_its_ends_are_0_and_1():
    values = np.array([-1000, 0, 40, 80, 600, 2000], np.int16).reshape(1, 6, 1, 1)
    prepared, _ = prepare_image(Image(values, np.eye(4)), Windowed())
    expected = [np.clip((values[0] - center) / width + 0.5, 0, 1) for center, width in WINDOWS]
    assert prepared.shape == (3, 6, 1, 1)
    assert np.abs(to_float(prepared) - expected).max() < 1e-3  # float16


def test_zeros_are_mapped_as_every_other_value():
    prepared, _ = prepare_image(Image(np.zeros((1, 4, 4, 4), np.int16), np.eye(4)), Windowed())
    assert to_float(prepared)[:, 0, 0, 0] == pytest.approx([0, 0, 800 / 2800], abs=1e-3)


def test_an_image_of_several_channels_is_refused():
    with pytest.raises(BadFile, match=r"2 channels, windows make channels of a single one: set windows = \(\)"):
        prepare_image(Image(np.zeros((2, 4, 4, 4), np.int16), np.eye(4)), Windowed())


def test_settings_survive_json_and_windows_change_the_digest():
    recipe = Recipe.of(Windowed())
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert (again, again.digest()) == (recipe, recipe.digest())
    assert recipe.digest() != Recipe.of(Windowed(windows=(*WINDOWS[:2], (700.0, 2800.0)))).digest()


@pytest.mark.parametrize(("name", "digest"), [("exp030", "4abe9174"), ("exp040", "50e5a50b"), ("exp050", "c3d36f02")])
def test_experiments_without_windows_find_the_arrays_that_were_prepared_for_them(name, digest):
    recipe = Recipe.of(load(name))
    assert recipe.digest() == digest
    assert "windows" not in recipe.to_dict()
