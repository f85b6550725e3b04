"""Two heads on one encoder, the phases that train them, and the losses that ask whether a class is there at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.config import difference, load
from heldout.errors import UserError
from heldout.predict.prediction import presence
from heldout.tasks import MultiTask2D, Segment2D, Segment3D
from heldout.tasks.losses.presence import class_logits, presence_target, top_mean


@st.composite
def maps(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(3, 4), (1, 1), (50, 61), (5, 6, 7), (120, 130)]))
    size = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *shape)
    return torch.from_numpy(random.choice(random.normal(0, 4, 40), size).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(maps())
def test_a_map_is_pooled_over_the_voxels_that_its_presence_score_is_made_of(logits):
    for sample, found in zip(logits.numpy(), top_mean(logits).numpy(), strict=True):
        for channel, value in zip(sample, found, strict=True):
            count = min(channel.size, max(10, round(channel.size / 1000)))
            np.testing.assert_allclose(value, np.sort(channel.ravel())[-count:].mean(), rtol=1e-5, atol=1e-5)
            # so many sure voxels, and not one less, are what a presence score of one takes
            sure = np.arange(channel.size).reshape(channel.shape)
            assert presence(np.uint8(255) * (sure < count)[None]) == 1
            assert presence(np.uint8(255) * (sure < count - 1)[None]) < 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_a_patch_shows_what_its_mask_holds(classes, exclusive, seed):
    random = np.random.default_rng(seed)
    label_map = exclusive and classes > 1
    mask = random.integers(0, classes + 1 if label_map else 2, (4, 1 if label_map else classes, 3, 5))
    mask[random.random(mask.shape) < 0.8] = 0
    batch = {"mask": torch.from_numpy(mask.astype(np.uint8)), "label": torch.full((4, classes), 0.5)}
    expected = [[(m[0] == k + 1).any() if label_map else m[k].any() for k in range(classes)] for m in mask]
    np.testing.assert_array_equal(presence_target(batch, classes, exclusive, True), np.array(expected, float))
    np.testing.assert_array_equal(presence_target(batch, classes, exclusive, False), batch["label"])


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_log_odds_of_exclusive_classes_are_those_of_their_probabilities(classes, seed):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 5, (2, classes + 1, 3, 2)))
    probability = torch.softmax(logits, dim=1)[:, 1:]
    torch.testing.assert_close(torch.sigmoid(class_logits(logits, True)), probability)
    assert class_logits(logits, False) is logits


@pytest.mark.parametrize(("classes", "exclusive"), [(1, False), (2, True), (2, False)])
@pytest.mark.parametrize(("task", "fields"), [(Segment2D, {}), (Segment3D, {"filters": (4, 6, 8)})])
def test_the_presence_loss_is_small_where_the_map_agrees_with_the_label(task, fields, classes, exclusive):
    config = task.create(overrides=fields | {"presence_weight": 2.0})
    space, channels = (12,) * config.dimensions, config.mask_channels(classes, exclusive)
    label_map = exclusive and classes > 1
    mask = torch.zeros(2, 1 if label_map else classes, *space, dtype=torch.uint8)
    logits = torch.full((2, channels, *space), -6.0)
    if label_map:
        logits[:, 0] = 6.0
    seen = logits.clone()
    seen[0, -1] = 20.0
    batch = {"mask": mask, "label": torch.zeros(2, classes)}
    batch["label"][0, -1] = 1
    plain = task.create(overrides=fields).build_loss(exclusive)
    loss = config.build_loss(exclusive)
    added = [float(loss({"mask": one}, batch) - plain({"mask": one}, batch)) for one in (logits, seen)]
    assert added[0] > 1
    assert added[1] < 0.05


@pytest.mark.parametrize(("classes", "exclusive", "channels"), [(1, False, 1), (2, True, 3), (2, False, 2)])
@pytest.mark.parametrize("arch", ["Unet", "FPN", "DeepLabV3Plus"])
def test_one_forward_pass_gives_masks_and_labels(arch, classes, exclusive, channels):
    config = MultiTask2D.create(overrides={"arch": arch, "head_pooling": "max", "channels": 2})
    model = config.build_model(classes, exclusive).eval()
    image = torch.rand(2, 2, 50, 33)
    with torch.inference_mode():
        outputs = model(image)
        features = model.encode(image)
        classified, decoded = model.classify(features), model.decode(features, image)
    assert outputs["mask"].shape == (2, channels, 50, 33)
    assert config.classify_head(outputs).shape == (2, classes)
    torch.testing.assert_close(classified, outputs["label"])
    torch.testing.assert_close(decoded, outputs["mask"])


def train_step(config, model, optimizer, epoch):
    config.start_epoch(model, epoch)
    generator = torch.Generator().manual_seed(epoch)
    image = torch.rand(4, 1, 32, 32, generator=generator)
    mask = (image > 0.9).to(torch.uint8) * torch.tensor([0, 1, 0, 1], dtype=torch.uint8).view(4, 1, 1, 1)
    outputs = model(image)
    config.build_loss(False)(outputs, {"mask": mask, "label": torch.tensor([[0.0], [1], [0], [1]])}).backward()
    optimizer.step()
    optimizer.zero_grad()
    return outputs


def test_each_phase_trains_its_own_part_and_touches_nothing_else():
    config = MultiTask2D.create(
        overrides={"warmup_epochs": 1, "head_epochs": 2, "epochs": 4, "encoder": "tu-mobilenetv3_small_050"}
    )
    torch.manual_seed(0)
    model = config.build_model(1, False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    trained, given_out = [], []
    for epoch in range(4):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        given_out.append(set(train_step(config, model, optimizer, epoch)))
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        trained.append({"head" if key.startswith("body.classification_head") else "rest" for key in changed})
    assert trained == [{"rest"}, {"head"}, {"head"}, {"rest", "head"}]
    assert given_out == [{"mask"}, {"label"}, {"label"}, {"mask", "label"}]
    assert [config.phase(epoch) for epoch in range(4)] == ["mask", "head", "head", "joint"]
    config.start_epoch(model, 1)
    assert set(model.eval()(torch.rand(1, 1, 32, 32))) == {"mask", "label"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 5, "warmup_epochs": 3, "head_epochs": 2}, "warmup_epochs = 3 and head_epochs = 2 leave none of 5"),
        ({"skip_mask_below": 1.0}, "skip_mask_below"),
        ({"presence_weight": -1.0}, "presence_weight"),
    ],
    ids=str,
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        MultiTask2D.create(overrides=fields)


@pytest.mark.parametrize(("child", "parent"), [("exp045", "exp040"), ("exp026", "exp025")])
def test_a_two_headed_child_is_its_parent_but_for_the_second_head(child, parent):
    one, two = load(child), load(parent)
    assert one.parent_name() == parent
    assert one.identity()["task"] == "MultiTask2D"
    changed = {line.partition(":")[0] for line in difference(two.identity(), one.identity())}
    assert {"task", "label_weight"} <= changed
    assert changed <= {"task"} | (set(MultiTask2D.model_fields) - set(Segment2D.model_fields))
    for budget in one.budgets:
        shared = set(Segment2D.model_fields) - {"budgets"}
        assert load(child, budget).model_dump(include=shared) == load(parent, budget).model_dump(include=shared)
