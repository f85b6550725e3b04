"""Fields of the training loop: what they change, and that their defaults change nothing."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.tasks import Classify2D, Classify3D, MultiTask2D, Segment2D, Segment3D
from heldout.tasks.augment.mix import mix
from heldout.tasks.losses import build
from heldout.tasks.nets.encoder import encoder_of
from heldout.tasks.nets.recompute import checkpoint_blocks
from heldout.tasks.optim import build_optimizer, build_schedule
from heldout.tasks.regress import Regress2D
from heldout.train.average import ModelEma
from heldout.train.convolutions import Float32Convolutions
from heldout.train.loader import EpochSampler
from heldout.train.state import resized


def batch_of(samples: int = 4, masks: bool = False) -> dict[str, torch.Tensor]:
    """Sample i is filled with i, and shows class i % 2."""
    image = torch.arange(samples).float().view(-1, 1, 1, 1).expand(-1, 1, 20, 20).clone()
    batch = {"image": image, "label": nn.functional.one_hot(torch.arange(samples) % 2, 2).float()}
    return batch | ({"mask": (image.to(torch.uint8) % 2 + 1)} if masks else {})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixup_adds_images_and_keeps_both_labels():
    batch = batch_of()
    mixed = mix(batch, generator(), 0.4, 0.0, True)
    share, other = mixed["share"], mixed["other"]["label"].argmax(dim=1)
    assert 0 <= share <= 1
    values = mixed["image"][:, 0, 0, 0]
    partner = (values - share * torch.arange(4.0)) / (1 - share)
    torch.testing.assert_close(partner.round() % 2, other.float())
    assert torch.equal(mix(batch, generator(), 0.4, 0.0, True)["image"], mixed["image"])
    assert torch.equal(batch["image"], batch_of()["image"])


def test_cutmix_of_labels_shares_them_by_area():
    mixed = mix(batch_of(), generator(1), 0.0, 1.0, True)
    kept = [float((mixed["image"][i] == i).float().mean()) for i in range(4)]
    moved = [share for share in kept if share < 1]  # a sample may be mixed with itself
    assert moved
    assert moved == pytest.approx([mixed["share"]] * len(moved), abs=1e-6)


def test_cutmix_of_masks_moves_them_with_the_image_and_labels_follow():
    mixed = mix(batch_of(masks=True), generator(1), 0.0, 1.0, True)
    assert "other" not in mixed
    assert torch.equal(mixed["mask"], mixed["image"].to(torch.uint8) % 2 + 1)
    shown = torch.stack([(mixed["mask"] == value).flatten(1).any(dim=1) for value in (1, 2)], dim=1)
    assert torch.equal(mixed["label"], shown.float())


@pytest.mark.parametrize("task", [Classify2D, Classify3D, Segment2D, Segment3D, MultiTask2D])
def test_a_batch_is_left_alone_by_default(task):
    batch = batch_of()
    assert task.create().transform_batch(batch, generator(), True) is batch


@pytest.mark.parametrize(
    ("task", "encoder"), [(Classify2D, "resnet10t"), (Segment2D, "tu-resnet10t"), (Segment2D, "resnet18")]
)
def test_layers_of_the_encoder_learn_the_slower_the_lower_they_are(task, encoder):
    config = task.create(overrides={"encoder": encoder, "layer_decay": 0.5, "lr": 1.0})
    network = config.build_model(1, False)
    optimizer = build_optimizer(config, network, "32-true")
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    parameters = list(network.parameters())
    assert len(rate) == len(parameters)
    encoder_rates = [rate[id(p)] for p in encoder_of(network).parameters()]
    assert encoder_rates[0] < 0.1
    assert rate[id(parameters[-1])] == 1.0
    schedule = build_schedule(config, optimizer, 10)
    for _ in range(12):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] / optimizer.param_groups[-1]["lr"] == pytest.approx(encoder_rates[0])


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (Classify2D, {"encoder": "resnet10t"}),
        (Regress2D, {"encoder": "resnet10t"}),
        (Segment2D, {"encoder": "tu-resnet10t"}),
        (MultiTask2D, {"encoder": "tu-resnet10t", "warmup_epochs": 1, "head_epochs": 1}),
        (Classify3D, {"encoder": "resnet10", "stem": "small", "width": 0.25}),
        (Classify3D, {"arch": "slices", "encoder": "resnet10t"}),
    ],
    ids=str,
)
def test_a_frozen_encoder_keeps_weights_and_statistics_and_is_released(task, fields):
    config = task.create(overrides={**fields, "frozen_epochs": 1, "epochs": 4})
    network = config.build_model(1, False)
    before = {name: value.clone() for name, value in encoder_of(network).state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def changed(epoch: int) -> set[str]:
        config.start_epoch(network, epoch)
        outputs = config.as_outputs(network(torch.rand(2, 1, *[32] * config.dimensions)))
        sum(value.float().square().mean() for value in outputs.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        now = encoder_of(network).state_dict()
        return {name for name in before if not torch.equal(now[name], before[name])}

    assert {name.split(".")[0] for name in changed(0)} <= {"fc", "head"}
    assert len(changed(3)) > 10


def test_freezing_a_network_without_a_known_encoder_is_refused():
    config = Classify2D.create(overrides={"frozen_epochs": 1})
    with pytest.raises(UserError, match="frozen_epochs needs a network with an encoder"):
        config.start_epoch(nn.Linear(2, 2), 0)


def test_weights_of_the_last_steps_count_alike_with_swa():
    network = nn.Linear(1, 1, bias=False)
    average = ModelEma(network, 0.9, even_from=3)
    seen = []
    for value in (5.0, 7.0, 9.0, 1.0, 2.0, 6.0):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update()
        seen.append(float(average.module.weight.detach()))
    assert seen[3:] == pytest.approx([1.0, 1.5, 3.0])
    again = ModelEma(network, None, even_from=3)
    again.load_state_dict(average.state_dict())
    assert torch.equal(again.module.weight, average.module.weight)


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (Classify2D, {"encoder": "resnet10t", "dropout": 0.3}),
        (Segment2D, {"encoder": "tu-tf_efficientnet_lite0"}),
        (Segment3D, {"filters": (4, 6, 8), "deep_supervision": 1, "dropout": 0.2}),
    ],
    ids=["classify", "segment", "volume"],
)
@pytest.mark.parametrize("half", [False, True])
def test_gradient_checkpointing_changes_no_bit(task, fields, half):
    guard = Float32Convolutions if half else nullcontext

    def trained(recompute: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        config = task.create(overrides=fields)
        network = config.build_model(1, False).train()
        if recompute:
            checkpoint_blocks(network, guard)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half), guard():
            outputs = config.as_outputs(network(torch.rand(2, 1, *[32] * config.dimensions)))
        outputs[config.output].square().mean().backward()
        return network.state_dict(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    (state, gradients), (other, same) = trained(False), trained(True)
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert gradients.keys() == same.keys()
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)


def test_sizes_grow_over_the_epochs_and_masks_go_along():
    config = Segment2D.create(overrides={"progressive_sizes": (0.5, 0.75, 1.0), "epochs": 7})
    assert [config.size_in(epoch) for epoch in range(7)] == [0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    batch = {"image": torch.rand(2, 1, 40, 20), "mask": torch.full((2, 1, 40, 20), 3, dtype=torch.uint8)}
    small = resized(batch, 0.5)
    assert small["image"].shape == small["mask"].shape == (2, 1, 20, 10)
    assert small["mask"].dtype == torch.uint8
    assert small["mask"].unique().tolist() == [3]


def test_an_own_drawing_of_cases_is_checked():
    def sampler(draw) -> EpochSampler:
        return EpochSampler(np.array([True, False, True]), 4, None, 0.0, (0, 0), draw)

    assert [place.case for place in sampler(lambda *_: np.array([2, 2, 0, 1]))] == [2, 2, 0, 1]
    plain = [place.case for place in sampler(lambda *_: None)]
    assert sorted(plain)[:3] == [0, 1, 2] or len(set(plain)) == 3
    for wrong in (np.array([0, 1]), np.array([0, 1, 2, 3]), np.array([0.0, 1, 2, 2])):
        with pytest.raises(UserError, match=r"draw_epoch gives .*: return 4 positions of the 3 training cases"):
            list(sampler(lambda *_, wrong=wrong: wrong))


def test_class_weights_by_effective_number_are_milder():
    labels = np.zeros((100, 1))
    labels[:5] = 1
    weight = {
        name: float(Classify2D.create(overrides={"class_weighting": name}).positive_weight(labels, False))
        for name in ("balanced", "effective")
    }
    assert weight["balanced"] == pytest.approx(19)
    assert 10 < weight["effective"] < 19


def test_the_asymmetric_loss_forgets_easy_negatives():
    loss = build("asymmetric", 2, False, masks=False)
    assert float(loss(torch.full((1, 2), -5.0), torch.zeros(1, 2))) == 0
    assert float(loss(torch.zeros(1, 2), torch.ones(1, 2))) == pytest.approx(0.6931, abs=1e-3)
    with pytest.raises(UserError, match="loss = 'asymmetric' does not fit exclusive classes: set loss = 'ce'"):
        build("asymmetric", 2, True, masks=False)


def test_the_focal_tversky_loss_dwells_on_what_is_found_in_part():
    mask = (torch.arange(16).view(1, 1, 4, 4) < 8).float()
    half = 6 * (2 * mask - 1) * (torch.arange(16).view(1, 1, 4, 4) % 2 * 2 - 1).float().abs()
    plain, focal = (build(name, 1, False, masks=True) for name in ("tversky", "focal_tversky"))
    for logits in (half, -half, 0 * half):
        assert float(focal(logits, mask)) == pytest.approx(float(plain(logits, mask)) ** 0.75, abs=1e-3)
    exact = (40 * mask - 20).requires_grad_()
    focal(exact, mask).backward()
    assert torch.isfinite(exact.grad).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"schedule": "plateau", "validate_every": 1},
            "looks at the fold's own score: mark that with checkpoint = 'best'",
        ),
        ({"progressive_sizes": (0.5, 2.0)}, "progressive_sizes = .* must grow, from above 0 to 1 at most"),
        ({"progressive_sizes": (1.0, 0.5)}, "progressive_sizes = .* must grow, from above 0 to 1 at most"),
        ({"tta_scales": (1.0, 9.0)}, "tta_scales = .* must lie between 0 and 4"),
        ({"frozen_epochs": 20}, "frozen_epochs = 20 leaves none of 20 epochs"),
        ({"loss": "focal", "label_smoothing": 0.1}, "label_smoothing has no part in loss = 'focal'"),
        ({"tta": "rr"}, "tta = 'rr' may hold each of 'vhr' once"),
    ],
    ids=str,
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Classify2D.create(overrides=fields)


def test_volumes_have_no_rows_and_columns_to_exchange():
    with pytest.raises(UserError, match="tta = 'r' may hold each of 'xyz' once"):
        Segment3D.create(overrides={"tta": "r"})
