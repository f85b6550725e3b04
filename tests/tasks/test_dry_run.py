"""A batch that no network can be trained on is refused in a sentence whose advice works; nothing else is."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.tasks import Classify2D, Classify3D, MultiTask2D, Segment2D, Segment3D
from heldout.tasks.dry_run import try_batch

SMALL = "tu-resnet10t"


def size_of(config):
    return config.patch_size or config.image_size


def advised(message):
    """Fields and values that a refusal names behind its last colon."""
    found = dict(re.findall(r"(\w+) = (\([^)]*\)|\d+)", message.rpartition(": ")[2]))
    return {name: eval(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (Segment2D, {"arch": "DeepLabV3Plus", "encoder": SMALL, "image_size": (64, 64), "batch_size": 1}),
        (Segment2D, {"arch": "PAN", "encoder": SMALL, "image_size": (64, 64), "batch_size": 1}),
        (Segment2D, {"arch": "PAN", "image_size": (32, 32)}),
        (Segment2D, {"arch": "UPerNet", "encoder": SMALL, "patch_size": (64, 64), "batch_size": 1}),
        (Segment2D, {"encoder": SMALL, "image_size": (32, 32), "batch_size": 1}),
        (Classify2D, {"encoder": "resnet10t", "image_size": (32, 32), "batch_size": 1}),
        (Classify3D, {"encoder": "resnet10", "width": 0.25, "image_size": (16, 16, 16), "batch_size": 1}),
        (MultiTask2D, {"arch": "DeepLabV3", "encoder": SMALL, "image_size": (32, 32), "batch_size": 1}),
    ],
    ids=str,
)
def test_a_batch_that_cannot_be_trained_on_is_refused_with_advice_that_works(task, fields):
    config = task.create(overrides=fields)
    with pytest.raises(UserError, match=r"batch of . of size .* cannot be trained on .*: set ") as caught:
        try_batch(config, 1, False, size_of(config), min(2, config.batch_size))
    changes = advised(str(caught.value))
    assert changes
    fixed = task.create(overrides=fields | changes)
    try_batch(fixed, 1, False, size_of(fixed), min(2, fixed.batch_size))


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (Segment2D, {"encoder": SMALL, "image_size": (50, 33)}),
        (Segment2D, {"encoder": "tu-swin_tiny_patch4_window7_224", "image_size": (96, 96)}),
        (Segment2D, {"encoder": "tu-coatnet_nano_rw_224", "patch_size": (70, 90)}),
        (Segment3D, {"filters": (4, 6, 8), "deep_supervision": 1, "patch_size": (16, 12, 9)}),
        (Classify3D, {"arch": "slices", "encoder": "mobilenetv3_small_050", "image_size": (32, 32, 5)}),
        (MultiTask2D, {"encoder": SMALL, "image_size": (64, 64), "warmup_epochs": 1, "head_epochs": 1}),
    ],
    ids=str,
)
def test_batches_that_can_be_trained_on_pass_and_draw_nothing(task, fields):
    config, before = task.create(overrides=fields), torch.get_rng_state()
    try_batch(config, 2, False, size_of(config), 2)
    assert torch.equal(torch.get_rng_state(), before)


class Halves(nn.Module):
    """Halves an image and enlarges it again: odd sizes come out one pixel too small."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 1, 2, stride=2), nn.ConvTranspose2d(1, 1, 2, stride=2)

    def forward(self, image):
        return image + self.up(self.down(image))


def own(answer):
    class Own(Segment2D):
        def build_model(self, classes, exclusive):
            return answer

    return Own.create(overrides={"image_size": (33, 33)})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Halves(), r"size 33x33 cannot be trained on .*test_dry_run.py:\d+\): set image_size = \(64, 64\)"),
        (torch.zeros(2), "build_model gives a Tensor: return a torch.nn.Module"),
        (nn.Conv2d(1, 3, 1), r"build_model gives 'mask' of shape \(2, 3, 33, 33\): it must be \(2, 1, 33, 33\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(33 * 33, 1)), r"'mask' of shape \(2, 1\)"),
    ],
    ids=["odd", "tensor", "channels", "label"],
)
def test_networks_of_the_user_are_refused_by_what_is_wrong(answer, words):
    with pytest.raises(UserError, match=words):
        try_batch(own(answer), 1, False, (33, 33), 2)


class Answers(nn.Module):
    """What a function makes of a map of logits."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Conv2d(1, 1, 1)

    def forward(self, image):
        return self.function(self.layer(image))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda _: [], "build_model gives an empty list: return the logits"),
        (lambda logits: {"out": logits}, "build_model gives the outputs 'out': call the logits 'mask'"),
        (lambda _: None, "build_model gives 'mask' as NoneType: it must be a tensor of shape"),
        (lambda logits: [logits, logits[..., ::2]], "build_model gives 'aux' of shape .*: it must be"),
        (lambda logits: logits.detach(), "the loss depends on no parameter of the network"),
        (lambda logits: logits * float("nan"), "the loss of a random batch is nan: fix build_model or build_loss"),
    ],
)
def test_outputs_of_the_user_are_refused_by_what_is_wrong_and_no_size_is_advised(function, words):
    with pytest.raises(UserError, match=words) as caught:
        try_batch(own(Answers(function)), 1, False, (33, 33), 2)
    assert "image_size" not in str(caught.value)


@pytest.mark.parametrize("function", [lambda y: [y, y], lambda y: (y,), lambda y: {"mask": y}, lambda y: y.half()])
def test_every_kind_of_output_that_is_promised_passes(function):
    try_batch(own(Answers(function)), 1, False, (33, 33), 2)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda logits, target: (logits - target).abs(), r"build_loss gives a tensor of shape \(2, 1, 33, 33\)"),
        (lambda *_: torch.tensor(1.0), "the loss depends on no parameter"),
        (lambda *_: "loss", "change the network or the loss"),
    ],
)
def test_losses_of_the_user_are_refused_by_what_is_wrong(loss, words):
    class Own(Segment2D):
        def build_model(self, classes, exclusive):
            return nn.Conv2d(1, 1, 1)

        def build_loss(self, exclusive, positive_weight=None):
            return loss

    with pytest.raises(UserError, match=words):
        try_batch(Own.create(overrides={"image_size": (33, 33)}), 1, False, (33, 33), 2)


@pytest.mark.parametrize(
    ("task", "encoder", "meant"),
    [
        (Segment2D, "resnet10t", "tu-resnet10t"),
        (Segment2D, "tu-resnet10x", "tu-resnet10t"),
        (Segment2D, "resnet81", "resnet18"),
        (Classify2D, "tu-resnet18", "resnet18"),
    ],
)
def test_encoders_of_the_other_spelling_are_named(task, encoder, meant):
    with pytest.raises(UserError, match=f"encoder = '{encoder}' does not exist: did you mean '{meant}'"):
        task.create(overrides={"encoder": encoder}).build_model(1, False)
