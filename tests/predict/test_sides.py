"""Left and right: a mirrored case shows the other side's classes, in training and under flips at test time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from heldout.data.image import Image
from heldout.data.sides import mirror_order, sided_pairs
from heldout.data.sources.phantom_aneurysm import PhantomAneurysm
from heldout.data.sources.rsna_aneurysm import LOCATIONS, RsnaAneurysm
from heldout.data.transform import prepare_image
from heldout.predict.run import predict_cases
from heldout.tasks import Classify3D, Segment3D
from heldout.tasks.augment.sides import swap_sides
from heldout.tasks.augment.volume import VolumeAugment
from heldout.train.state import TrainState
from tests.predict.test_run import grid

LEFT, RIGHT, MIDDLE = 0, 1, 6  # infraclinoid carotid arteries, anterior communicating artery
SIDED = {"source": "phantom_aneurysm", "normalize": "zscore"}


class Sides(nn.Module):
    """Finds LEFT in the first half of x, RIGHT in the second, MIDDLE anywhere, and is better on one side."""

    def __init__(self, classes: int = 14, key: str = "label") -> None:
        super().__init__()
        self.classes, self.key = classes, key
        self.gain = nn.Parameter(torch.tensor([1.0, 3.0]))

    def forward(self, image):
        half = image.shape[2] // 2
        logits = image.new_zeros(len(image), self.classes, *image.shape[2:])
        logits[:, LEFT, :half] = self.gain[0] * image[:, 0, :half]
        logits[:, RIGHT, half:] = self.gain[1] * image[:, 0, half:]
        logits[:, MIDDLE] = image[:, 0]
        return {self.key: logits if self.key == "mask" else logits.sum(dim=(2, 3, 4))}


def predict(config, model, image, tta):
    geometry = None if config.kind == "classification" else grid(image.shape[1:])
    return next(predict_cases(config, [model], [("case", image, geometry)], exclusive=False, tta=tta))[0]


def test_the_aneurysm_locations_are_paired_by_side():
    named = {(LOCATIONS[left], LOCATIONS[right]) for left, right in RsnaAneurysm.swaps}
    assert len(named) == 5
    assert all(left.replace("Left", "Right") == right for left, right in named)
    assert sided_pairs(["left", "leftover", "right", "Right_a", "Left_a"]) == ((0, 2), (4, 3))


def test_classes_have_sides_in_volumes_of_a_sided_source_only():
    assert mirror_order(Classify3D.create(overrides=SIDED), 14)[:5] == [1, 0, 3, 2, 5]
    assert mirror_order(Classify3D.create(overrides={"source": "medmnist3d"}), 1) is None
    assert mirror_order(Classify3D.create(), 1) is None


def test_flips_along_x_give_the_mean_of_the_case_and_its_swapped_mirror_image():
    config, model = Classify3D.create(overrides=SIDED), Sides()
    image = np.random.default_rng(0).normal(0, 0.1, (1, 8, 6, 4)).astype(np.float16)
    order = mirror_order(config, 14)
    plain = predict(config, model, image, "").scores
    mirrored = predict(config, model, np.ascontiguousarray(image[:, ::-1]), "").scores[order]
    assert np.abs(plain - mirrored).max() > 0.01
    np.testing.assert_allclose(predict(config, model, image, "x").scores, (plain + mirrored) / 2, atol=1e-6)
    # along y nothing changes places
    np.testing.assert_allclose(predict(config, model, image, "y").scores, plain, atol=1e-6)


def test_a_mirrored_case_gets_the_swapped_prediction_under_flips():
    config, model = Classify3D.create(overrides=SIDED), Sides()
    image = np.zeros((1, 8, 6, 4), np.float16)
    image[0, 1, 2, 2] = 2  # on the left
    found = predict(config, model, image, "x").scores
    mirrored = predict(config, model, np.ascontiguousarray(image[:, ::-1]), "x").scores
    assert found[LEFT] > 0.9 > 0.6 > found[RIGHT]
    np.testing.assert_allclose(mirrored, found[mirror_order(config, 14)], atol=1e-6)


def test_maps_change_places_too():
    config, model = Segment3D.create(overrides=SIDED), Sides(key="mask")
    image = np.full((1, 8, 6, 4), 0.5, np.float16)
    found = predict(config, model, image, "x").map
    half = np.rint(255 * (1 / (1 + np.exp(-0.5)) + 1 / (1 + np.exp(-1.5))) / 2)
    assert found[LEFT, :4].min() == found[LEFT, :4].max() == half
    assert found[RIGHT, 4:].min() == found[RIGHT, 4:].max() == half


@pytest.mark.parametrize("flips", ["x", "yz", "xyz"])
def test_training_swaps_the_labels_of_exactly_the_samples_flipped_along_x(flips):
    image = torch.zeros(64, 1, 8, 6, 4)
    image[:, :, :4] = 1.0  # everything on the left
    label = torch.zeros(64, 14)
    label[:, [LEFT, MIDDLE]] = 1
    augment = VolumeAugment(flips, probability=0.0)
    parts = SimpleNamespace(
        size=1.0,
        fabric=SimpleNamespace(to_device=lambda batch: batch),
        augment=augment,
        sides=mirror_order(Classify3D.create(overrides=SIDED), 14),
        memory_format=torch.channels_last_3d,
    )
    batch = TrainState.to_device(parts, {"image": image, "label": label}, seed=3)
    on_the_right = batch["image"][:, 0, 6].amax(dim=(1, 2)) > 0.5
    assert bool(on_the_right.any()) == ("x" in flips)
    assert torch.equal(batch["label"][:, RIGHT] == 1, on_the_right)
    assert torch.equal(batch["label"][:, LEFT] == 1, ~on_the_right)
    assert bool((batch["label"][:, MIDDLE] == 1).all())


@pytest.mark.parametrize("channels", [1, 3])
def test_masks_of_flipped_samples_take_the_other_side(channels):
    order, mirrored = [1, 0, 2], torch.tensor([True, False])
    values = torch.tensor([0, 1, 2, 3], dtype=torch.uint8).view(1, 1, 4, 1, 1).repeat(2, 1, 1, 1, 1)
    mask = values if channels == 1 else torch.cat([(values == n).to(torch.uint8) for n in (1, 2, 3)], dim=1)
    swapped = swap_sides({"label": torch.eye(3)[:2], "mask": mask}, mirrored, order)
    assert swapped["label"].tolist() == [[0, 1, 0], [0, 1, 0]]
    found = swapped["mask"] if channels == 1 else (swapped["mask"] * torch.tensor([1, 2, 3]).view(1, 3, 1, 1, 1)).sum(1)
    assert found[0].flatten().tolist() == [0, 2, 1, 3]
    assert found[1].flatten().tolist() == [0, 1, 2, 3]


def test_the_phantom_lies_the_way_its_classes_say(tmp_path, monkeypatch):
    """Of a case with more aneurysms on one side, the brighter half of the prepared volume is that side."""
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    options = {"patients": 10, "inspect": False}
    source = PhantomAneurysm(PhantomAneurysm.locate("heads", options), **options)
    config = Classify3D.create(overrides={"normalize": "unit", "image_size": (32, 32, 32)})
    seen = 0
    for row in source.index().to_dict("records"):
        left, right = (sum(row[f"y_{source.classes[pair[side]]}"] for pair in source.swaps) for side in (0, 1))
        if left == right:
            continue
        image = source.read_image(row)
        aneurysms = Image((image.array > 250).astype(np.uint8) * 255, image.affine)
        bright = prepare_image(aneurysms, config)[0][0] > 0.5
        # RAS+: the patient's right has the higher x
        assert np.sign(bright[16:].sum() - bright[:16].sum()) == np.sign(right - left)
        seen += 1
    assert seen >= 3
