"""Weights on disk: the same network comes back, and another one does not slip in."""

from __future__ import annotations

import pytest
import torch

from heldout import files
from heldout.errors import UserError
from heldout.predict.models import load_model, save_model
from heldout.tasks import Segment3D

CONFIG = Segment3D.create(overrides={"filters": (4, 6, 8)})


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = CONFIG.build_model(1, False).eval().to(memory_format=torch.channels_last_3d)
    path = tmp_path / "weights.safetensors"
    assert save_model(model, path) == files.sha256_file(path)
    return model, path


def test_round_trip_leaves_the_global_random_numbers_alone(weights):
    model, path = weights
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    again = load_model(CONFIG, path, ("lump",), True)
    assert torch.equal(torch.rand(1), expected)
    assert not again.training
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_nothing_is_drawn_for_weights_that_are_loaded(weights, monkeypatch):
    from heldout.tasks import Segment2D

    config = Segment2D.create(overrides={"encoder": "tu-resnet10t"})
    torch.manual_seed(0)
    model, path = config.build_model(2, False), weights[1].with_name("other.safetensors")
    save_model(model, path)
    before, draws = torch.get_rng_state(), []
    build = type(config).build_model

    def watched(*arguments):
        start = torch.get_rng_state()
        built = build(*arguments)
        draws.append(torch.equal(start, torch.get_rng_state()))
        return built

    monkeypatch.setattr(type(config), "build_model", watched)
    again = load_model(config, path, 2, False)
    assert draws == [True]
    assert torch.equal(before, torch.get_rng_state())
    for key, value in [*model.state_dict().items(), *model.named_buffers()]:
        assert torch.equal(dict([*again.state_dict().items(), *again.named_buffers()])[key], value)


def test_the_weights_of_another_network_are_refused(weights):
    with pytest.raises(UserError, match=r"weights.safetensors does not fit .* is \(1,\) in the file and \(3,\)"):
        load_model(CONFIG, weights[1], 2, True)


def test_a_truncated_file_is_named(weights):
    path = weights[1]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"weights.safetensors is damaged"):
        load_model(CONFIG, path, 1, True)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.safetensors does not exist"):
        load_model(CONFIG, tmp_path / "none.safetensors", 1, True)
