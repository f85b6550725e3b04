"""A second head's scores come out as they should under flips, windows and batches, and spare the mask where sure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heldout.tasks import MultiTask2D
from tests.predict.test_run import grid, images


class TwoSmallHeads(nn.Module):
    """Says how bright the brightest pixel is, and which pixels are bright; counts the decoder's work."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.decoded = 0

    def forward(self, image):
        features = self.encode(image)
        return {"mask": self.decode(features, image), "label": self.classify(features)}

    def encode(self, image):
        return [image * self.gain]

    def classify(self, features):
        return torch.logit(features[-1].amax(dim=(2, 3)), eps=1e-6)

    def decode(self, features, image):
        self.decoded += len(image)
        return torch.logit(features[-1], eps=1e-6)


def run(config, model, arrays, **options):
    from heldout.predict.run import predict_cases

    cases = [(f"case{n}", array, grid(array.shape[1:])) for n, array in enumerate(arrays)]
    return [answer[0] for answer in predict_cases(config, [model], cases, exclusive=False, **options)]


@pytest.mark.parametrize("tta", ["", "h", "hv"])
@pytest.mark.parametrize("patch_size", [None, (8, 8), (64, 64)])
@pytest.mark.parametrize("skip", [None, 0.001])
def test_a_case_shows_what_one_of_its_windows_shows(tta, patch_size, skip):
    config = MultiTask2D.create(
        overrides={"patch_size": patch_size, "predict_batch_size": 3, **({"skip_mask_below": skip} if skip else {})}
    )
    arrays = [array // 2 for array in images((20, 30), (20, 30), (9, 17))]
    for array, answer in zip(arrays, run(config, TwoSmallHeads(), arrays, tta=tta), strict=True):
        np.testing.assert_allclose(answer.scores, [array.max() / 255], atol=1e-5)
        assert np.abs(answer.map.astype(int) - array).max() <= 1


def test_scores_are_means_over_flips():
    class Corner(TwoSmallHeads):
        def classify(self, features):
            return torch.logit(features[-1][:, :, 0, 0], eps=1e-6)

    (array,) = images((6, 9))
    (answer,) = run(MultiTask2D.create(), Corner(), [array], tta="hv")
    corners = array[0][[0, 0, -1, -1], [0, -1, 0, -1]] / 255
    np.testing.assert_allclose(answer.scores, [corners.mean()], atol=1e-5)


@pytest.mark.parametrize("patch_size", [None, (8, 8)])
@pytest.mark.parametrize("tta", ["", "hv"])
def test_the_decoder_rests_where_the_head_is_sure(patch_size, tta):
    arrays = [np.full((1, 16, 12), level, np.uint8) for level in (20, 200, 100, 128)]
    config = MultiTask2D.create(overrides={"skip_mask_below": 0.5, "patch_size": patch_size, "predict_batch_size": 4})
    model = TwoSmallHeads()
    answers = run(config, model, arrays, tta=tta)
    assert [int(answer.map.max()) for answer in answers] == [0, 200, 0, 128]
    assert [answer.map.shape for answer in answers] == [(1, 16, 12)] * 4
    np.testing.assert_allclose([answer.scores[0] for answer in answers], np.array([20, 200, 100, 128]) / 255, atol=1e-5)
    forwards = 2 ** len(tta)
    windows = model.decoded / (2 * forwards)
    assert windows == (1 if patch_size is None else 6)


def test_whether_a_mask_is_spared_does_not_depend_on_company():
    torch.manual_seed(0)
    config = MultiTask2D.create(overrides={"encoder": "tu-mobilenetv3_small_050", "tta": "h", "skip_mask_below": 0.5})
    model, arrays = config.build_model(1, False).eval(), images((40, 32), (40, 32), (32, 40), (40, 32))
    scores = [answer.scores[0] for answer in run(config, model, arrays)]
    # the limit is one of the scores themselves: the last bit decides
    config = MultiTask2D.create(
        overrides={**config.model_dump(include={"encoder", "tta"}), "skip_mask_below": float(scores[1])}
    )
    together = run(config, model, arrays)
    alone = [run(config, model, [array])[0] for array in arrays]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.map, other.map)
    assert [bool(answer.map.any()) for answer in together] == [score >= scores[1] for score in scores]


def test_a_broken_head_is_named_not_stored():
    from heldout.errors import UserError

    class Broken(TwoSmallHeads):
        def classify(self, features):
            return features[-1].amax(dim=(2, 3)) * torch.nan

    with pytest.raises(UserError, match="prediction of case case0 is not finite"):
        run(MultiTask2D.create(), Broken(), images((8, 8)))
