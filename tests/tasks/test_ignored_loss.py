"""Ignored voxels have no loss, whichever loss it is, a user's too, in 2D and 3D, with one class and several."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heldout.tasks import MultiTask2D, Segment2D, Segment3D
from heldout.tasks.augment.image import augment_sample
from heldout.tasks.augment.sides import swap_sides

ONE_CLASS = ("auto", "bce", "focal", "dice", "dice_bce", "tversky")
SEVERAL = ("auto", "ce", "focal", "dice", "dice_ce", "tversky")
POINTWISE = ("bce", "ce", "focal")


def case(task, classes: int, exclusive: bool):
    """Logits and a mask of (2, ...) of which the last third of the first axis is ignored."""
    shape = (2, classes + (exclusive and classes > 1), 6, *([4] * (2 if task is Segment3D else 1)))
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=random, requires_grad=True)
    channels, top = (1, classes + 1) if exclusive or classes == 1 else (classes, 2)
    mask = torch.randint(0, top, (2, channels, *shape[2:]), generator=random, dtype=torch.uint8)
    mask[:, :, 4:] = 255
    return logits, mask


@pytest.mark.parametrize(
    ("task", "classes", "exclusive", "loss", "fields"),
    [
        *((Segment2D, 1, True, loss, {}) for loss in ONE_CLASS),
        *((Segment2D, 2, True, loss, {}) for loss in SEVERAL),
        *((Segment3D, 2, False, loss, {}) for loss in ONE_CLASS),
        (Segment2D, 2, True, "ce", {"class_weights": (3.0, 1.0), "label_smoothing": 0.1}),
        (Segment2D, 1, True, "bce", {"label_smoothing": 0.1}),
        (Segment2D, 2, False, "focal", {"class_weights": (3.0, 1.0)}),
        (Segment2D, 1, True, "dice", {"batch_dice": False, "dice_positives": True}),
        (Segment2D, 2, True, "auto", {"presence_weight": 1.0}),
    ],
)
def test_no_gradient_and_no_value_comes_from_ignored_voxels(task, classes, exclusive, loss, fields):
    config = task.create(overrides={"loss": loss, **fields})
    logits, mask = case(task, classes, exclusive)
    batch = {"mask": mask, "label": torch.ones(2, classes)}
    value = config.task_loss(exclusive)({"mask": logits}, batch)
    value.backward()
    assert not logits.grad[:, :, 4:].any()
    assert logits.grad[:, :, :4].any()
    with torch.no_grad():
        other = logits.detach().clone()
        other[:, :, 4:] = 7.0
        assert torch.equal(config.task_loss(exclusive)({"mask": other}, batch), value)
        if "presence_weight" not in fields:  # of the voxels that are left alone it is the same number
            cut = {"mask": mask[:, :, :4], "label": batch["label"]}
            assert torch.allclose(config.task_loss(exclusive)({"mask": logits[:, :, :4]}, cut), value, atol=1e-6)


def test_losses_of_users_get_background_without_gradient_or_which_voxels_count():
    seen = {}

    def plain(logits, target):
        seen["plain"] = target
        return ((torch.sigmoid(logits) - target) ** 2).sum()

    def knowing(logits, target, known):
        seen["known"] = known
        return (known * (logits - target) ** 2).sum() / known.sum()

    for loss in (plain, knowing):

        class Own(Segment2D):
            def build_loss(self, exclusive, positive_weight=None, loss=loss):
                return loss

        logits, mask = case(Segment2D, 1, True)
        Own.create().task_loss(True)({"mask": logits}, {"mask": mask}).backward()
        assert not logits.grad[:, :, 4:].any()
        assert logits.grad[:, :, :4].any()
    assert not seen["plain"][:, :, 4:].any()
    assert seen["known"].tolist() == (mask != 255).float().tolist()


def test_the_head_of_a_patch_with_ignored_voxels_alone_learns_that_no_class_is_there():
    config = MultiTask2D.create(overrides={"patch_size": (8, 8), "image_size": None})
    outputs = {"mask": torch.zeros(1, 1, 8, 8), "label": torch.zeros(1, 1, requires_grad=True)}
    batch = {"mask": torch.full((1, 1, 8, 8), 255, dtype=torch.uint8), "label": torch.ones(1, 1)}
    config.task_loss(True)(outputs, batch).backward()
    assert outputs["label"].grad.item() > 0  # towards absent


def test_augmentation_keeps_ignored_voxels_beside_labels():
    mask = np.zeros((1, 48, 48), np.uint8)
    mask[0, 8:24, 8:24], mask[0, 24:40, 24:40] = 1, 255
    image = np.where(mask == 255, 200, 50 * mask).astype(np.uint8)
    transform = Segment2D.create(overrides={"augment": "strong"}).build_augment()
    for seed in range(8):
        turned = augment_sample(transform, image, mask, seed)[1]
        assert set(np.unique(turned)) <= {0, 1, 255}
        assert (turned == 255).any()
    volume = torch.zeros(2, 1, 16, 16, 16, dtype=torch.uint8)
    volume[:, :, 2:8], volume[:, :, 8:14, 4:12] = 1, 255
    augment = Segment3D.create(overrides={"augment": "strong"}).build_augment()
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        turned = augment(torch.rand(2, 1, 16, 16, 16), volume, generator)[1]
        assert set(turned.unique().tolist()) <= {0, 1, 255}
        assert (turned == 255).any()


def test_classes_with_a_side_change_places_and_ignored_voxels_stay():
    mask = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(1, 1, 4, 1, 1)
    batch = {"label": torch.tensor([[1.0, 0.0]]), "mask": mask}
    turned = swap_sides(batch, torch.tensor([True]), [1, 0])
    assert turned["mask"].flatten().tolist() == [0, 2, 1, 255]
    channels = {"label": batch["label"], "mask": torch.tensor([[1, 255], [0, 255]]).view(1, 2, 2, 1, 1)}
    assert swap_sides(channels, torch.tensor([True]), [1, 0])["mask"].flatten().tolist() == [0, 255, 1, 255]
