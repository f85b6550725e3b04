"""Losses against formulas written out by hand, and on the inputs that break careless losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heldout.errors import UserError
from heldout.tasks import Classify2D, Segment2D, Segment3D

RANDOM = np.random.default_rng(0)


def loss_of(task, logits, target, exclusive, positive_weight=None, **fields):
    config = task.create(overrides=fields)
    key = config.output
    weight = None if positive_weight is None else torch.tensor(positive_weight)
    loss = config.build_loss(exclusive, weight)
    return float(loss({key: torch.from_numpy(logits)}, {key: torch.from_numpy(target)}))


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def softmax(x):
    powers = np.exp(x.astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


LOGITS = RANDOM.standard_normal((4, 3)).astype(np.float32)
LABELS = (RANDOM.random((4, 3)) < 0.4).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[[0, 2, 2, 1]]
MAPS = RANDOM.standard_normal((2, 3, 5, 4)).astype(np.float32)
LABEL_MAP = RANDOM.integers(0, 3, (2, 1, 5, 4)).astype(np.uint8)
CHANNELS = (np.arange(3).reshape(1, 3, 1, 1) == LABEL_MAP).astype(np.float64)
OVERLAPPING = (RANDOM.random((2, 3, 5, 4)) < 0.3).astype(np.uint8)


def test_bce_weighs_positives_and_classes_and_smooths():
    p, positive, of_class, s = sigmoid(LOGITS), np.array([2.0, 5.0, 1.0]), np.array([1.0, 2.0, 3.0]), 0.1
    target = LABELS * (1 - s) + s / 2
    each = -(positive * target * np.log(p) + (1 - target) * np.log(1 - p)) * of_class / 2
    found = loss_of(
        Classify2D, LOGITS, LABELS, False, [2.0, 5.0, 1.0], loss="bce", class_weights=(1.0, 2.0, 3.0), label_smoothing=s
    )
    assert found == pytest.approx(each.mean(), rel=1e-5)


def test_ce_is_the_weighted_mean_over_the_true_classes():
    p, weight = softmax(LOGITS), np.array([1.0, 2.0, 5.0])
    picked = ONE_HOT @ weight
    expected = -(picked * np.log((p * ONE_HOT).sum(1))).sum() / picked.sum()
    found = loss_of(Classify2D, LOGITS, ONE_HOT, True, loss="ce", class_weights=(1.0, 2.0, 5.0))
    assert found == pytest.approx(expected, rel=1e-5)


def test_ce_is_not_made_larger_by_weighing_all_classes_alike():
    plain = loss_of(Classify2D, LOGITS, ONE_HOT, True)
    assert loss_of(Classify2D, LOGITS, ONE_HOT, True, class_weights=(7.0, 7.0, 7.0)) == pytest.approx(plain, rel=1e-5)


def test_ce_of_masks_keeps_the_background_at_weight_one():
    p, weight = softmax(MAPS), np.array([1.0, 2.0, 5.0]).reshape(1, 3, 1, 1)
    expected = -(weight * CHANNELS * np.log(p)).sum() / (weight * CHANNELS).sum()
    found = loss_of(Segment2D, MAPS, LABEL_MAP, True, loss="ce", class_weights=(2.0, 5.0))
    assert found == pytest.approx(expected, rel=1e-5)


def test_focal_with_sigmoid():
    p, of_class, positive = sigmoid(LOGITS), np.array([1.0, 2.0, 3.0]), np.array([2.0, 5.0, 1.0])
    truth = np.where(LABELS > 0, p, 1 - p)
    each = -((1 - truth) ** 1.5) * np.log(truth) * of_class / 2 * np.where(LABELS > 0, positive, 1)
    found = loss_of(
        Classify2D,
        LOGITS,
        LABELS,
        False,
        [2.0, 5.0, 1.0],
        loss="focal",
        focal_gamma=1.5,
        class_weights=(1.0, 2.0, 3.0),
    )
    assert found == pytest.approx(each.mean(), rel=1e-5)


def test_focal_with_softmax():
    p, weight = (softmax(LOGITS) * ONE_HOT).sum(1), ONE_HOT @ np.array([1.0, 2.0, 5.0])
    expected = -(weight * (1 - p) ** 2 * np.log(p)).sum() / weight.sum()
    found = loss_of(Classify2D, LOGITS, ONE_HOT, True, loss="focal", class_weights=(1.0, 2.0, 5.0))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("target", "exclusive"), [(LABELS, False), (ONE_HOT, True)])
def test_focal_with_gamma_zero_is_cross_entropy(target, exclusive):
    focal = loss_of(Classify2D, LOGITS, target, exclusive, loss="focal", focal_gamma=0.0)
    assert focal == pytest.approx(loss_of(Classify2D, LOGITS, target, exclusive), rel=1e-5)


@pytest.mark.parametrize("batch", [True, False])
def test_dice_with_softmax_leaves_the_background_out(batch):
    p, axes = softmax(MAPS)[:, 1:], (0, 2, 3) if batch else (2, 3)
    target = CHANNELS[:, 1:]
    each = 1 - (2 * (p * target).sum(axes) + 1) / (p.sum(axes) + target.sum(axes) + 1)
    expected = (each * np.array([2.0, 6.0]) / 4).mean()
    found = loss_of(Segment2D, MAPS, LABEL_MAP, True, loss="dice", batch_dice=batch, class_weights=(2.0, 6.0))
    assert found == pytest.approx(expected, rel=1e-5)


def test_dice_with_sigmoid_counts_overlapping_classes_alike():
    p = sigmoid(MAPS)
    each = 1 - (2 * (p * OVERLAPPING).sum((0, 2, 3)) + 1) / (p.sum((0, 2, 3)) + OVERLAPPING.sum((0, 2, 3)) + 1)
    assert loss_of(Segment2D, MAPS, OVERLAPPING, False, loss="dice") == pytest.approx(each.mean(), rel=1e-5)


@pytest.mark.parametrize("batch", [True, False])
def test_tversky_weighs_false_negatives_apart(batch):
    p, axes = sigmoid(MAPS), (0, 2, 3) if batch else (2, 3)
    tp, fp, fn = ((a * b).sum(axes) for a, b in ((p, OVERLAPPING), (p, 1 - OVERLAPPING), (1 - p, OVERLAPPING)))
    each = 1 - (tp + 1) / (tp + 0.2 * fp + 0.8 * fn + 1)
    expected = (each * np.array([1.0, 2.0, 3.0]) / 2).mean()
    fields = {"tversky_alpha": 0.2, "tversky_beta": 0.8, "batch_dice": batch, "class_weights": (1.0, 2.0, 3.0)}
    assert loss_of(Segment2D, MAPS, OVERLAPPING, False, loss="tversky", **fields) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("exclusive", "target", "parts"), [(True, LABEL_MAP, "ce"), (False, OVERLAPPING, "bce")])
def test_auto_is_the_mean_of_dice_and_cross_entropy(exclusive, target, parts):
    dice, entropy = (loss_of(Segment2D, MAPS, target, exclusive, loss=name) for name in ("dice", parts))
    assert loss_of(Segment2D, MAPS, target, exclusive) == pytest.approx((dice + entropy) / 2, rel=1e-5)
    weighted = loss_of(Segment2D, MAPS, target, exclusive, dice_weight=3.0)
    assert weighted == pytest.approx((3 * dice + entropy) / 4, rel=1e-5)


@pytest.mark.parametrize("name", ["auto", "bce", "focal", "dice", "tversky"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_empty_masks_give_finite_loss_and_gradients_in_half_precision(name, dtype):
    config = Segment3D.create(overrides={"loss": name})
    logits = (20 * torch.randn(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = config.build_loss(True)({"mask": logits}, {"mask": torch.zeros(2, 1, 6, 6, 6, dtype=torch.uint8)})
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad > 0).any(), "false positives on an empty mask must be pushed down"


def test_deep_supervision_halves_the_weight_of_each_coarser_level():
    config = Segment2D.create()
    loss = config.build_loss(True)
    maps = [torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    batch = {"mask": torch.from_numpy(LABEL_MAP)}
    single = [float(loss({"mask": logits}, batch)) for logits in maps]
    together = float(loss({"mask": maps[0], "aux": maps[1:]}, batch))
    assert together == pytest.approx((single[0] + single[1] / 2 + single[2] / 4) / 1.75, rel=1e-5)


def test_one_class_is_sigmoid_even_where_the_source_says_exclusive():
    logits, target = LOGITS[:, :1], LABELS[:, :1]
    assert loss_of(Classify2D, logits, target, True) == loss_of(Classify2D, logits, target, False)


@pytest.mark.parametrize(
    ("name", "exclusive", "remedy"), [("bce", True, "'ce'"), ("ce", False, "'bce'")], ids=["bce", "ce"]
)
def test_a_loss_that_does_not_fit_the_classes_is_refused(name, exclusive, remedy):
    with pytest.raises(UserError, match=rf"loss = '{name}'.*{remedy}"):
        loss_of(Classify2D, LOGITS, ONE_HOT, exclusive, loss=name)


def test_weights_for_another_number_of_classes_are_refused():
    with pytest.raises(UserError, match=r"class_weights .* 3 classes"):
        loss_of(Classify2D, LOGITS, ONE_HOT, True, class_weights=(1.0, 2.0))


def test_balanced_weights_make_both_sides_count_alike():
    labels = np.array([[1], [0], [0], [0]], np.float32)
    config = Classify2D.create(overrides={"class_weighting": "balanced"})
    assert config.positive_weight(labels, False).tolist() == [3.0]
    assert Classify2D.create().positive_weight(labels, False) is None
    one_hot = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    assert config.positive_weight(one_hot, True).tolist() == pytest.approx([4 / 6, 2.0])


@pytest.mark.parametrize("exclusive", [False, True])
def test_dice_of_positives_averages_over_masks_that_are_not_empty(exclusive):
    random = np.random.default_rng(1)
    logits = random.standard_normal((4, 3, 6, 5)).astype(np.float32)
    if exclusive:
        mask = random.integers(0, 3, (4, 1, 6, 5)).astype(np.uint8)
        mask[1] = 0
        mask[2][mask[2] == 2] = 0
        truth = [(mask[:, 0] == value).astype(np.float64) for value in (1, 2)]
        p = [softmax(logits)[:, value] for value in (1, 2)]
    else:
        mask = (random.random((4, 3, 6, 5)) < 0.3).astype(np.uint8)
        mask[1] = 0
        mask[2, 1] = 0
        truth = [mask[:, k].astype(np.float64) for k in range(3)]
        p = [sigmoid(logits)[:, k] for k in range(3)]
    each = []
    for sample in range(4):
        for of_class, target in zip(p, truth, strict=True):
            if target[sample].any():
                shared = (of_class[sample] * target[sample]).sum()
                each.append(1 - (2 * shared + 1) / (of_class[sample].sum() + target[sample].sum() + 1))
    found = loss_of(Segment2D, logits, mask, exclusive, loss="dice", batch_dice=False, dice_positives=True)
    assert found == pytest.approx(np.mean(each), rel=1e-5)


def test_dice_of_positives_weighs_classes_and_leaves_empty_batches_to_the_cross_entropy():
    random = np.random.default_rng(2)
    logits = random.standard_normal((2, 2, 6, 5)).astype(np.float32)
    mask = np.zeros((2, 2, 6, 5), np.uint8)
    fields = {"batch_dice": False, "dice_positives": True, "class_weights": (1.0, 3.0)}
    assert loss_of(Segment2D, logits, mask, False, loss="dice", **fields) == 0
    mask[0, 0, :3], mask[1, 1, 2:] = 1, 1
    p = sigmoid(logits)
    first, second = (
        1 - (2 * (p[n, n] * mask[n, n]).sum() + 1) / (p[n, n].sum() + mask[n, n].sum() + 1.0) for n in range(2)
    )
    found = loss_of(Segment2D, logits, mask, False, loss="dice", **fields)
    assert found == pytest.approx((first + 3 * second) / 4, rel=1e-5)


def test_dice_weight_of_seven_thirds_is_three_parts_of_cross_entropy_and_seven_of_dice():
    random = np.random.default_rng(3)
    logits = random.standard_normal((2, 1, 6, 5)).astype(np.float32)
    mask = (random.random((2, 1, 6, 5)) < 0.3).astype(np.uint8)
    fields = {"batch_dice": False, "dice_positives": True}
    bce, dice = (loss_of(Segment2D, logits, mask, False, loss=name, **fields) for name in ("bce", "dice"))
    both = loss_of(Segment2D, logits, mask, False, dice_weight=7 / 3, **fields)
    assert both == pytest.approx(0.3 * bce + 0.7 * dice, rel=1e-5)
