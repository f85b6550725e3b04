"""Networks that read a volume in parts: pooling against its formulas, crops that cover, stacks of the right slices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from heldout.errors import UserError
from heldout.tasks import Classify3D
from heldout.tasks.nets.crops import CropBag, grid
from heldout.tasks.nets.pooling import BagHead, GatedAttention, noisy_or
from heldout.tasks.nets.slices import SliceStacks

CROPS = {"encoder": "resnet10", "stem": "small", "width": 0.1, "crop_size": (8, 8, 8), "crops": 3}
SLICES = {"arch": "slices", "encoder": "resnet10t", "slice_step": 2}


@given(st.lists(st.floats(-12, 12), min_size=1, max_size=6))
def test_noisy_or_is_one_minus_the_product(values):
    logits = torch.tensor(values, dtype=torch.float32).view(1, -1, 1)
    expected = 1 - np.prod(1 - 1 / (1 + np.exp(-np.array(values, np.float32).astype(float))))
    assert torch.sigmoid(noisy_or(logits)).item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_noisy_or_stays_finite_where_all_or_nothing_is_certain():
    logits = torch.tensor([-200.0, 200.0]).view(2, 1, 1).repeat(1, 4, 1).requires_grad_()
    answer = noisy_or(logits)
    answer.sum().backward()
    assert bool(torch.isfinite(answer).all())
    assert float(answer[1].detach()) > 100
    assert float(answer[0].detach()) < -40
    assert bool(torch.isfinite(logits.grad).all())


def test_noisy_or_does_not_rise_with_the_number_of_crops():
    logits = torch.full((1, 4, 1), -2.0)
    torch.testing.assert_close(noisy_or(logits), noisy_or(logits.repeat(1, 5, 1), parts=4))


def test_attention_weighs_and_equal_parts_are_their_mean():
    torch.manual_seed(0)
    attention = GatedAttention(5)
    features = torch.randn(2, 7, 5)
    weights = attention.weights(features)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert float((weights.max() - weights.min()).detach()) > 1e-3
    torch.testing.assert_close(attention(features[:, :1].expand(-1, 7, -1)), features[:, 0])


@pytest.mark.parametrize("pooling", ["mean", "noisy_or", "attention"])
def test_the_order_of_the_parts_does_not_matter(pooling):
    torch.manual_seed(0)
    head = BagHead(6, 2, pooling, parts=4).eval()
    features = torch.randn(3, 4, 6)
    torch.testing.assert_close(head(features), head(features[:, [2, 0, 3, 1]]))


@settings(deadline=None)
@given(st.data())
def test_grid_covers_every_voxel_with_the_overlap_asked_for(data):
    shape = data.draw(st.tuples(*[st.integers(1, 24)] * 3))
    size = tuple(data.draw(st.integers(1, length)) for length in shape)
    overlap = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.9]))
    starts = grid(shape, size, overlap)
    assert len(set(starts)) == len(starts)
    for axis in range(3):
        places = sorted({start[axis] for start in starts})
        assert (places[0], places[-1]) == (0, shape[axis] - size[axis])
        assert all(after - before <= max(1, size[axis] * (1 - overlap)) + 1 for before, after in pairwise(places))
    covered = np.zeros(shape, bool)
    for start in starts:
        covered[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = True
    assert covered.all()


def test_crops_are_drawn_anew_in_training_by_the_seed_and_fixed_in_prediction():
    model = Classify3D.create(overrides=CROPS | {"pooling": "attention"}).build_model(2, False)
    volume = torch.rand(2, 1, 12, 11, 10)

    def answers(*seeds: int) -> list[torch.Tensor]:
        found = []
        for seed in seeds:
            torch.manual_seed(seed)
            found.append(model(volume).detach())
        return found

    first, again, other = answers(1, 1, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    model.eval()
    first, other = answers(1, 2)
    assert torch.equal(first, other)
    torch.testing.assert_close(model(volume[1:]), first[1:])


def test_a_volume_smaller_than_the_crop_is_read_whole():
    seen = []
    encoder = torch.nn.Module()
    encoder.forward = lambda crops: seen.append(tuple(crops.shape)) or crops.mean(dim=(2, 3, 4))
    CropBag(encoder, BagHead(1, 1, "mean"), (8, 8, 8), 2, 0.5)(torch.rand(3, 1, 4, 9, 5))
    assert seen == [(6, 1, 4, 8, 5)]


@pytest.mark.parametrize(("slices", "step", "depth"), [(3, 1, 5), (3, 3, 7), (5, 2, 6), (1, 2, 4)])
def test_stacks_hold_a_slice_and_its_neighbors(slices, step, depth):
    volume = torch.arange(depth, dtype=torch.float32).expand(1, 2, 3, 4, depth) + torch.tensor([0, 100]).view(
        1, 2, 1, 1, 1
    )
    stacks = SliceStacks(torch.nn.Identity(), torch.nn.Identity(), slices, step).stack(volume)
    count = -(-depth // step)
    assert stacks.shape == (1, count, 2 * slices, 3, 4)
    numbers = stacks[0, :, :, 0, 0].view(count, 2, slices)
    middles = numbers[:, 0, slices // 2]
    assert middles.diff().tolist() == [step] * (count - 1)
    reach = torch.arange(slices) - slices // 2
    torch.testing.assert_close(numbers[:, 0], (middles[:, None] + reach).clamp(0, depth - 1))
    torch.testing.assert_close(numbers[:, 1], numbers[:, 0] + 100)


@pytest.mark.parametrize("fields", [CROPS, CROPS | {"pooling": "noisy_or"}, SLICES | {"pooling": "attention"}], ids=str)
def test_bags_give_one_logit_per_class_and_can_lie_channels_last(fields):
    model = Classify3D.create(overrides=fields).build_model(3, False).to(memory_format=torch.channels_last_3d).eval()
    volume = torch.rand(2, 1, 33, 34, 9)
    answer = model(volume)
    assert answer.shape == (2, 3)
    together = model(volume.contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(answer, together, rtol=1e-4, atol=1e-4)


def test_a_2d_encoder_takes_pretrained_weights_for_its_stacks(tmp_path):
    import timm

    donor = timm.create_model("resnet10t", num_classes=7)
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    config = Classify3D.create(overrides=SLICES | {"encoder_weights": str(tmp_path / "weights.safetensors")})
    model = config.build_model(2, False)
    config.load_pretrained(model)
    torch.testing.assert_close(model.body.encoder.layer4[0].conv1.weight, donor.layer4[0].conv1.weight)
    torch.testing.assert_close(model.body.encoder.conv1[0].weight, donor.conv1[0].weight)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "attention"}, "pooling = 'attention' needs crop_size"),
        ({"encoder": "resnet10t"}, "encoder = 'resnet10t' is not a 3D network: choose one of resnet10"),
        ({"slices": 2}, "slices = 2 must be odd"),
        ({"arch": "slices", "crop_size": (4, 4, 4)}, "crop_size is for arch = 'resnet'"),
        ({"encoder_weights": True}, "encoder_weights = True is for arch = 'slices'"),
        ({"crop_size": (4, 0, 4)}, "crop_size = .* needs positive numbers"),
    ],
    ids=str,
)
def test_contradictory_fields_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Classify3D.create(overrides=fields)


def test_noisy_or_of_exclusive_classes_is_refused():
    config = Classify3D.create(overrides=CROPS | {"pooling": "noisy_or"})
    config.build_model(1, True)
    with pytest.raises(UserError, match="pooling = 'noisy_or' asks of each class"):
        config.build_model(3, True)
