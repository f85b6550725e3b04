"""Probes: the encoder stays as it was, each image passes it once, and what would break that is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.tasks import Classify2D
from heldout.tasks.nets.encoder import encoder_of
from heldout.tasks.regress import Regress2D

FIELDS = {"encoder": "resnet10t", "encoder_weights": "any.safetensors", "probe": True, "augment": "none"}


@pytest.mark.parametrize("task", [Classify2D, Regress2D])
def test_the_last_layer_alone_learns_and_an_image_passes_the_encoder_once(task):
    config = task.create(overrides={**FIELDS, "epochs": 4})
    network = config.build_model(2, False)
    config.start_epoch(network, 3)
    encoder = encoder_of(network)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    passes = []
    encoder.register_forward_hook(lambda *_: passes.append(1))
    images = torch.rand(3, 1, 32, 32)
    optimizer = torch.optim.SGD((one for one in network.parameters() if one.requires_grad), lr=0.1)
    first = None
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        logits = next(iter(config.as_outputs(network(images[order])).values()))
        first = logits.detach().clone() if first is None else first
        logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert len(passes) == 3
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not torch.equal(first, logits)


def test_features_do_not_depend_on_the_other_images_of_a_batch():
    network = Classify2D.create(overrides=FIELDS).build_model(1, False)
    Classify2D.create(overrides=FIELDS).start_epoch(network, 0)
    images = torch.rand(4, 1, 32, 32)
    network(images)
    together = dict(network.body.kept)
    network.body.kept.clear()
    network(images[[3, 1]])
    assert len(together) == 4
    assert all(torch.equal(value, together[key]) for key, value in network.body.kept.items())


def test_a_probe_starts_from_the_file_of_weights(tmp_path):
    from safetensors.torch import save_file

    donor = Classify2D.create(overrides={"encoder": "resnet10t"}).build_model(5, False).body
    with torch.no_grad():
        donor.conv1[0].weight.fill_(0.25)
    file = tmp_path / "weights.safetensors"
    save_file(donor.state_dict(), file)
    config = Classify2D.create(overrides={**FIELDS, "encoder_weights": str(file), "channels": 1})
    network = config.build_model(2, False)
    config.load_pretrained(network)
    assert bool((network.body.encoder.conv1[0].weight == 0.25).all())
    assert isinstance(network.body.get_classifier(), nn.Linear)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoder_weights": None}, "set encoder_weights"),
        ({"augment": "light"}, "set augment = 'none'"),
        ({"mixup": 0.2}, "set mixup = 0.0"),
        ({"progressive_sizes": (0.5, 1.0)}, r"set progressive_sizes = \(\)"),
        ({"layer_decay": 0.8}, "set layer_decay = None"),
        ({"frozen_epochs": 1}, "set frozen_epochs = 0"),
    ],
    ids=str,
)
def test_what_would_give_an_image_other_features_is_refused(changed, words):
    with pytest.raises(UserError, match=words):
        Classify2D.create(overrides={**FIELDS, **changed})
