"""Views at test time: quarter turns and mirror images, and several sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.predict.run import predict_cases
from heldout.tasks import Classify2D, Segment2D
from tests.predict.test_run import grid


class Neighbor(nn.Module):
    """Adds what lies above a pixel, so that every view gives another answer."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.pool = pool

    def forward(self, image):
        found = image + self.gain * image.roll(1, dims=2)
        return found.flatten(2)[..., : found.shape[3] * 2].mean(dim=2) if self.pool else found


def predicted(config, image: np.ndarray):
    model = Neighbor(config.kind == "classification")
    cases = [("one", image, grid(image.shape[1:]))]
    return next(predict_cases(config, [model], cases, exclusive=False))[0], model


def views(image: np.ndarray):
    """All eight symmetries of a square, and how to undo them."""
    for turns in range(4):
        for mirror in (False, True):
            turned = np.rot90(image, turns, (1, 2))
            yield (
                np.ascontiguousarray(turned[:, ::-1] if mirror else turned),
                lambda values, turns=turns, mirror=mirror: np.rot90(
                    values[:, ::-1] if mirror else values, -turns, (1, 2)
                ),
            )


@pytest.mark.parametrize("shape", [(12, 12), (12, 20)])
def test_hvr_is_the_mean_over_all_quarter_turns_and_mirror_images(shape):
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    answer, model = predicted(Segment2D.create(overrides={"tta": "hvr"}), image)
    found = []
    for view, back in views(image):
        with torch.inference_mode():
            found.append(back(torch.sigmoid(model(torch.from_numpy(view)[None]))[0].numpy()))
    np.testing.assert_allclose(answer.map / 255, np.mean(found, axis=0), atol=0.5 / 255 + 1e-5)
    score, _ = predicted(Classify2D.create(overrides={"tta": "hvr"}), image)
    assert score.scores.shape == (1,)


def test_several_sizes_are_averaged_on_the_grid_of_the_case():
    image = np.full((1, 16, 24), 0.4, np.float32)
    plain, _ = predicted(Segment2D.create(), image)
    several, _ = predicted(Segment2D.create(overrides={"tta_scales": (0.5, 1.0, 1.5), "tta": "h"}), image)
    assert several.map.shape == plain.map.shape
    np.testing.assert_array_equal(several.map, plain.map)  # of one gray
    image = np.random.default_rng(0).random((1, 16, 24)).astype(np.float32)
    assert (predicted(Segment2D.create(overrides={"tta_scales": (0.5, 1.0)}), image)[0].map != plain.map).any()


def test_sizes_are_refused_for_a_network_of_one_size():
    config = Segment2D.create(overrides={"tta_scales": (0.5, 1.0)})
    model = Neighbor()
    model.input_size = (16, 24)
    with pytest.raises(UserError, match="tta_scales needs a network that takes images of any size"):
        next(
            predict_cases(
                config, [model], [("one", np.zeros((1, 16, 24), np.float32), grid((16, 24)))], exclusive=False
            )
        )
