"""A user's own network and loss: a plain module and a plain loss are all that an experiment has to return."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heldout.errors import UserError
from heldout.predict.run import predict_cases
from heldout.tasks import Classify2D, Classify3D, MultiTask2D, Segment2D, Segment3D
from tests.predict.test_run import grid

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
LOSSES = {
    "module": nn.BCEWithLogitsLoss(),
    "function": lambda guess, truth: ((guess.sigmoid() - truth) ** 2).mean(),
    "outputs": lambda outputs, batch: next(iter(outputs.values())).mean() + batch["label"].mean(),
}


class Pooled(nn.Module):
    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, image):
        return self.convolution(image).flatten(2).mean(dim=2)


class Two(Pooled):
    def forward(self, image):
        mask = self.convolution(image)
        return {"mask": mask, "label": mask.flatten(2).mean(dim=2)}


def own(task, loss):
    def build_model(self, classes, exclusive):
        convolution = CONVOLUTION[self.dimensions](self.channels, classes, 3, padding=1)
        if self.two_heads:
            return Two(convolution)
        return convolution if self.kind == "segmentation" else Pooled(convolution)

    def build_loss(self, exclusive, positive_weight=None):
        return LOSSES[loss]

    members = {"build_model": build_model, "build_loss": build_loss, "__module__": __name__}
    return type(task)("Own", (task,), members).create()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("task", [Classify2D, Classify3D, Segment2D, Segment3D, MultiTask2D])
def test_a_plain_module_and_loss_train_and_predict(task, loss):
    config, size = own(task, loss), (8,) * task.dimensions
    torch.manual_seed(0)
    model = config.build_model(2, False)
    image = torch.rand(3, 1, *size)
    batch = {"label": torch.tensor([[0.0, 1], [1, 0], [1, 1]]), "mask": torch.randint(2, (3, 2, *size))}
    outputs = config.as_outputs(model(image))
    value = config.task_loss(False)(outputs, batch)
    value.backward()
    assert value.ndim == 0
    assert all(parameter.grad is not None for parameter in model.parameters())
    if loss == "module":
        expected = LOSSES["module"](outputs[config.output], batch[config.output].float())
        if config.two_heads:  # the head is trained too
            expected = expected + config.label_weight * LOSSES["module"](outputs["label"], batch["label"])
        assert value.item() == pytest.approx(expected.item())
    (answer,) = next(iter(predict_cases(config, [model], [("one", image[0].numpy(), grid(size))], exclusive=False)))
    expected = outputs[config.output][0].detach().sigmoid().numpy()
    found = answer.scores if config.kind == "classification" else answer.map / np.float32(255)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    if config.two_heads:
        np.testing.assert_allclose(answer.scores, outputs["label"][0].detach().sigmoid().numpy(), atol=1e-5)


def test_a_list_of_logits_is_the_logits_and_auxiliary_ones():
    config = Segment2D.create()
    first, second = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert config.as_outputs([first, second]) == {"mask": first, "aux": [second]}
    assert config.as_outputs([first]) == {"mask": first}


def test_two_heads_may_be_a_pair_of_tensors_and_no_single_one():
    mask, label = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1)
    assert MultiTask2D.create().as_outputs((mask, label)) == {"mask": mask, "label": label}
    with pytest.raises(UserError, match="return the logits of the mask and those of the label"):
        MultiTask2D.create().as_outputs(mask)


def test_stages_need_a_network_that_has_them():
    with pytest.raises(UserError, match=r"warmup_epochs and head_epochs .* set them to 0"):
        MultiTask2D.create(overrides={"warmup_epochs": 1}).start_epoch(Pooled(nn.Identity()), 0)
