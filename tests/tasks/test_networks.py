"""Networks: the right outputs for every task, any image size, and pretrained weights from a local file."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file

from heldout.errors import UserError
from heldout.tasks import Classify2D, Classify3D, Segment2D, Segment3D
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.plan import plan
from heldout.tasks.nets.weights import weights_file
from heldout.tasks.segment import UNETS

SMALL = {"filters": (4, 6, 8)}


@pytest.mark.parametrize(
    ("task", "fields", "size"),
    [
        (Classify2D, {"channels": 3}, (33, 47)),
        (Classify2D, {"encoder": "mobilenetv3_small_050", "dropout": 0.2}, (40, 40)),
        (Classify3D, {"encoder": "resnet10", "stem": "small", "width": 0.25, "dropout": 0.1}, (13, 12, 11)),
        (Classify3D, {"encoder": "resnet10", "width": 0.25}, (32, 33, 34)),
    ],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_classifiers_give_one_logit_per_class(task, fields, size, classes):
    config = task.create(overrides=fields)
    logits = config.build_model(classes, True)(torch.rand(2, config.channels, *size))
    assert logits.shape == (2, classes)
    probability = config.activate({"label": logits}, True)
    assert bool(((probability >= 0) & (probability <= 1)).all())
    assert torch.allclose(probability.sum(1), torch.ones(2)) == (classes > 1)


@pytest.mark.parametrize(
    ("task", "fields", "size"),
    [
        (Segment2D, {}, (50, 33)),
        (Segment2D, {"arch": "UnetPlusPlus", "channels": 4}, (32, 40)),
        (Segment2D, {"arch": "FPN", "channels": 3}, (33, 32)),
        (Segment2D, {"arch": "DeepLabV3Plus"}, (40, 40)),
        (Segment2D, {"arch": "UPerNet", "encoder": "tu-mobilenetv3_small_050"}, (40, 40)),
        (Segment3D, SMALL, (13, 8, 11)),
        (Segment3D, SMALL | {"arch": "unet", "dropout": 0.1}, (13, 8, 11)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("classes", "exclusive", "channels"), [(1, True, 1), (2, True, 3), (2, False, 2)])
def test_segmenters_keep_the_size_of_the_image(task, fields, size, classes, exclusive, channels):
    config = task.create(overrides=fields)
    logits = config.build_model(classes, exclusive)(torch.rand(2, config.channels, *size))
    assert logits.shape == (2, channels, *size)
    probability = config.activate({"mask": logits}, exclusive)
    assert probability.shape == (2, classes, *size)
    assert bool(((probability >= 0) & (probability <= 1)).all())


def test_intensities_are_standardized_once_and_z_scores_pass_through():
    image = torch.full((1, 1, 4, 4), 0.75)
    assert Network(torch.nn.Identity(), standardize=True)(image).unique().tolist() == [1.0]
    assert Network(torch.nn.Identity(), standardize=False)(image).unique().tolist() == [0.75]
    config = Segment2D.create(overrides={"normalize": "zscore"})
    assert not config.build_model(1, False).standardize


def test_padding_is_cut_off_where_it_was_added():
    body = torch.nn.Conv2d(1, 1, 1)
    padded = Network(body, standardize=False, multiple=(8, 8))
    image = torch.rand(1, 1, 9, 13)
    torch.testing.assert_close(padded(image), body(image))


def test_deep_supervision_adds_outputs_in_training_only_and_the_network_can_be_copied():
    config = Segment3D.create(overrides={"filters": (4, 6, 8, 8), "deep_supervision": 2})
    model = config.build_model(2, True)
    image = torch.rand(1, 1, 16, 17, 18)
    outputs = model.train()(image)
    assert [tuple(extra.shape) for extra in outputs] == [(1, 3, 16, 17, 18)] * 3
    assert copy.deepcopy(model) is not None
    assert model.eval()(image).shape == (1, 3, 16, 17, 18)


def test_plan_halves_thick_slices_later():
    kernels, strides = plan(4, (64, 64, 16), (1.0, 1.0, 5.0))
    assert strides == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)]
    assert kernels == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]
    assert plan(3, None, None) == ([(3, 3, 3)] * 3, [(1, 1, 1), (2, 2, 2), (2, 2, 2)])


def test_a_patch_too_small_for_its_levels_is_refused():
    config = Segment3D.create(overrides={"filters": (4, 4, 4, 4, 4), "patch_size": (16, 16, 8)})
    with pytest.raises(UserError, match=r"filters has 5 levels.*patch_size"):
        config.build_model(1, False)


@pytest.mark.parametrize("task", [Classify2D, Segment2D])
def test_a_misspelt_encoder_is_named_with_the_nearest(task):
    with pytest.raises(UserError, match="encoder = 'resnet81' does not exist: did you mean 'resnet18'"):
        task.create(overrides={"encoder": "resnet81"}).build_model(1, False)


def test_an_unknown_tag_of_an_encoder_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"encoder = 'resnet10t\.c3' does not exist: did you mean 'resnet10t\.c3_in1k'"):
        Classify2D.create(overrides={"encoder": "resnet10t.c3"}).build_model(1, False)


def test_an_encoder_of_timm_for_masks_is_named_with_its_prefix():
    with pytest.raises(UserError, match="encoder = 'resnet10t' does not exist: did you mean 'tu-resnet10t'"):
        Segment2D.create(overrides={"encoder": "resnet10t"}).build_model(1, False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("task", [Classify2D, Segment2D])
def test_pretrained_weights_come_from_a_local_file(task, channels, tmp_path):
    import timm

    donor = timm.create_model("resnet18", num_classes=7)
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    config = task.create(overrides={"encoder_weights": str(tmp_path / "weights.safetensors"), "channels": channels})
    model = config.build_model(2, False)
    config.load_pretrained(model)
    encoder = model.body if task is Classify2D else model.body.encoder
    torch.testing.assert_close(encoder.layer4[0].conv1.weight, donor.layer4[0].conv1.weight)
    assert encoder.conv1.weight.shape[1] == channels
    if channels == 3:
        torch.testing.assert_close(encoder.conv1.weight, donor.conv1.weight)


@pytest.mark.parametrize("task", [Classify2D, Segment2D])
def test_weights_of_another_network_are_refused(task, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"stem.weight": torch.zeros(3)}, path)
    config = task.create(overrides={"encoder_weights": str(path)})
    with pytest.raises(UserError, match=r"weights.safetensors does not hold weights of resnet18"):
        config.load_pretrained(config.build_model(1, False))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"hello", "header"), ("resnet34", r"layer1\.2|size mismatch|Unexpected key")], ids=str
)
def test_a_damaged_file_and_one_of_another_encoder_are_named_in_one_line(content, reason, tmp_path):
    import timm

    path = tmp_path / "weights.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file(timm.create_model(content, num_classes=7).state_dict(), path)
    config = Classify2D.create(overrides={"encoder": "resnet50", "encoder_weights": str(path)})
    message = rf"weights.safetensors does not hold .* \(.*{reason}.*\): name another file"
    with pytest.raises(UserError, match=message) as told:
        config.load_pretrained(config.build_model(1, False))
    assert "Error(s)" not in str(told.value)
    assert "\n" not in str(told.value)


def test_weights_of_a_run_are_no_pretraining(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    path = tmp_path / "working" / "runs" / "exp001" / "seed0" / "fold1" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    config = Classify2D.create(overrides={"encoder_weights": str(path)})
    with pytest.raises(UserError, match=r"are of a run, which may have seen .* name its experiment as warm_start"):
        config.load_pretrained(config.build_model(1, False))


def test_missing_weights_are_named(tmp_path):
    config = Classify2D.create(overrides={"encoder_weights": str(tmp_path / "none.safetensors")})
    with pytest.raises(UserError, match=r"none.safetensors does not exist"):
        config.load_pretrained(config.build_model(1, False))


def test_weights_are_found_by_name_in_the_folders_of_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELDOUT_WEIGHTS", raising=False)
    with pytest.raises(UserError, match=r"'some.safetensors' is not in .*input/weights: .*HELDOUT_WEIGHTS"):
        weights_file("some.safetensors")
    own = tmp_path / "home" / "input" / "weights" / "some.safetensors"
    own.parent.mkdir(parents=True)
    own.touch()
    assert weights_file("some.safetensors") == own
    shared = tmp_path / "weights" / "some.safetensors"
    shared.parent.mkdir()
    shared.touch()
    monkeypatch.setenv("HELDOUT_WEIGHTS", str(shared.parent))
    assert weights_file("some.safetensors") == shared


@pytest.mark.parametrize(
    ("task", "fields"), [(Classify2D, {}), (Classify3D, {"arch": "slices"})], ids=["images", "slices"]
)
def test_the_last_layer_of_a_pretrained_classifier_starts_near_zero(task, fields, tmp_path):
    import timm

    save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), tmp_path / "weights.safetensors")
    fields = {**fields, "encoder": "tf_efficientnet_lite0", "encoder_weights": str(tmp_path / "weights.safetensors")}
    config = task.create(overrides=fields)
    torch.manual_seed(0)
    model = config.build_model(1, False)
    last = model.body.classifier if task is Classify2D else model.body.head.last
    config.load_pretrained(model)
    assert 0.009 < float(last.weight.detach().std()) < 0.011
    assert not last.bias.detach().any()


@pytest.mark.parametrize("arch", UNETS)
def test_decoder_channels_are_those_of_the_decoder(arch):
    config = Segment2D.create(overrides={"arch": arch, "decoder_channels": (40, 32, 24, 16, 8)})
    model = config.build_model(1, False).eval()
    assert model.body.segmentation_head[0].in_channels == 8
    assert model(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_channels": (8, 4)}, "needs 5 positive numbers"),
        ({"decoder_channels": (64, 48, 32, 16, 8), "arch": "FPN"}, "decoder_channels is for arch = Unet"),
        ({"dice_positives": True}, "set batch_dice = False"),
    ],
)
def test_contradictory_fields_of_segmentation_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Segment2D.create(overrides=fields)
