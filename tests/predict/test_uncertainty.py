"""Dropout left on, flips apart, and Grad-CAM, on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.predict.gradcam import grad_cam, last_feature_map
from heldout.predict.run import predict_cases
from heldout.predict.uncertainty import dropout_answers, dropout_on, ensemble_answers, flip_answers, has_dropout
from heldout.tasks import Classify2D, Classify3D, Segment2D
from tests.predict.test_run import grid

CLASSIFY = Classify2D(channels=1, image_size=(32, 32), encoder="resnet10t", dropout=0.4, tta="h")


class Small(nn.Module):
    """Convolution, batch norm, dropout and a map."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout2d(rate), nn.Conv2d(6, 1, 1)
        )

    def forward(self, image):
        return {"mask": self.body(image)}


def case(shape=(1, 32, 32), name="a"):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    return name, array, grid(shape[1:])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CLASSIFY.build_model(1, True).eval()


def test_dropout_differs_from_pass_to_pass_and_not_from_call_to_call(network):
    first = dropout_answers(CLASSIFY, network, case(), True, 8)
    assert first.shape == (8, 1)
    assert len(np.unique(first)) > 1
    torch.rand(5)  # neither order nor company of the cases matters
    dropout_answers(CLASSIFY, network, case(name="b"), True, 3)
    assert np.array_equal(first, dropout_answers(CLASSIFY, network, case(), True, 8))
    assert not np.array_equal(first, dropout_answers(CLASSIFY, network, case(name="b"), True, 8))


def test_dropout_leaves_the_global_random_numbers_alone(network):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dropout_answers(CLASSIFY, network, case(), True, 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("rate", [0.5])
def test_only_dropout_is_left_on(rate):
    model, config = Small(rate), Segment2D(channels=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with dropout_on(config, model):
        assert {type(m) for m in model.modules() if m.training} == {nn.Dropout2d}
    assert not any(module.training for module in model.modules())
    answers = dropout_answers(config, model, case(), True, 4)
    assert answers.shape == (4, 1, 32, 32)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_of_timm_drops_though_it_has_no_dropout_layer(network):
    with dropout_on(CLASSIFY, network):
        assert not any(m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert has_dropout(CLASSIFY, network)


def test_a_network_without_dropout_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="has no dropout to leave on: set dropout, or ask its flips or seeds"):
        dropout_answers(Segment2D(channels=1), Small(0.0), case(), True)
    assert not has_dropout(Segment2D(channels=1), Small(0.0))


def test_flips_one_by_one_have_the_mean_that_prediction_gives(network):
    answers = flip_answers(CLASSIFY, network, case(), True, "hv")
    assert answers.shape == (4, 1)
    predicted = next(predict_cases(CLASSIFY, [network], [case()], exclusive=True, tta="hv"))[0]
    assert answers.mean(0) == pytest.approx(predicted.scores, abs=1e-6)


def test_an_ensemble_gives_one_answer_per_network():
    config, models = Segment2D(channels=1, patch_size=(40, 40)), [Small(), Small()]
    answers = ensemble_answers(config, models, case(), True)
    assert answers.shape == (2, 1, 32, 32)  # padding up to the patch is cut off again
    assert not np.array_equal(answers[0], answers[1])


class Looker(nn.Module):
    """Its logit is the mean of the bright pixels: all that speaks for the class is the bright square."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.features = nn.Sequential(convolution(1, 2, 1, bias=True), nn.ReLU())
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([4.0, -4.0]).view_as(self.features[0].weight))
            self.features[0].bias.copy_(torch.tensor([-2.0, 2.0]))
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))

    def forward(self, image):
        return {"label": self.head(self.features(image).flatten(2).mean(2))}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_heat_lies_where_the_class_is_seen(dimensions):
    config = (Classify2D if dimensions == 2 else Classify3D)(channels=1)
    array = np.zeros((1, *(12,) * dimensions), np.uint8)
    square = (0, *(slice(2, 6),) * dimensions)
    array[square] = 250
    name = ("a", array, grid(array.shape[1:]))
    bright, dark = (grad_cam(config, Looker(dimensions), name, target) for target in (0, 1))
    assert bright.shape == array.shape[1:]
    assert bright[square[1:]].min() == pytest.approx(1)
    assert bright.sum() == pytest.approx(4**dimensions, rel=1e-4)
    assert dark[square[1:]].max() == 0
    assert dark.max() == 1


def test_the_last_feature_map_of_a_real_network_is_its_last_stage(network):
    name = last_feature_map(CLASSIFY, network, torch.zeros(1, 1, 64, 64))
    assert name == "body.layer4"
    heat = grad_cam(CLASSIFY, network, case((1, 64, 64)), 0)
    assert heat.shape == (64, 64)
    assert 0 <= heat.min() <= heat.max() <= 1


def test_a_segmentation_without_a_label_head_is_refused():
    with pytest.raises(UserError, match="has no label head to explain: see its maps with `overlay"):
        grad_cam(Segment2D(channels=1), Small(), case(), 0)


def test_a_network_that_ends_in_single_positions_is_refused():
    with pytest.raises(UserError, match="has no feature map of the whole case"):
        grad_cam(Classify2D(channels=1), Looker(2), case((1, 1, 1)), 0)
