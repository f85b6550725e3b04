"""Where a classifier looks: Grad-CAM, the channels of the last feature map weighed by the gradient of a class's logit.

Selvaraju et al. 2017 (https://arxiv.org/abs/1610.02391), as MONAI computes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from heldout.data.normalize import to_float
from heldout.errors import UserError
from heldout.predict.run import Case, padded
from heldout.tasks import Task


class _Logits(nn.Module):
    """The label logits of a network, as MONAI wants them: a tensor and no dictionary."""

    def __init__(self, config: Task, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.config.as_outputs(self.network(image))["label"]


def grad_cam(config: Task, network: nn.Module, case: Case, target: int) -> np.ndarray:
    """Heat map of one class for one case.

    Args:
        config: The experiment: a classification, or a segmentation with a second head.
        network: One of its networks; it is put into evaluation mode.
        case: Case id, prepared image (C, *S) and geometry.
        target: Index of the class.

    Returns:
        (*S) float32 on the prepared grid: 0 where nothing speaks for the class, 1 where most does; all 0 where
        nothing does anywhere.

    Raises:
        UserError: the network has no label head, or no feature map to look at.
    """
    from monai.visualize import GradCAM

    if config.output != "label" and not config.two_heads:
        raise UserError(f"{config.spec} has no label head to explain: see its maps with `overlay {config.spec}`")
    network.eval()
    whole = padded(config, case)
    device = next(network.parameters()).device
    image = torch.from_numpy(to_float(whole.image)[None]).to(device)
    layer = last_feature_map(config, network, image)
    explain = GradCAM(_Logits(config, network), target_layers=f"network.{layer}", postprocessing=_identity)
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        heat = explain(image.requires_grad_(True), class_idx=target)
    values = np.maximum(heat.detach().float().cpu().numpy()[0, 0], 0)[whole.inside]
    top = values.max()
    return (values / top if top > 0 else values).astype(np.float32)


def last_feature_map(config: Task, network: nn.Module, image: Tensor) -> str:
    """Name of the last module that gives a feature map of more than one position in each axis, before the label.

    Raises:
        UserError: there is none, as the images are too small for the network.
    """
    found: list[str] = []
    encoder = dict(network.named_modules()).get("body.encoder") if config.two_heads else None
    inside = {id(module) for module in (encoder or network).modules()}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, given: object, output: object) -> None:  # noqa: ARG001 - torch's signature
            if not isinstance(output, Tensor) or output.ndim != image.ndim or len(output) != 1:
                return
            if min(output.shape[2:]) > 1 and output.requires_grad:
                found.append(name)

        return hook

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in network.named_modules()
        if name and id(module) in inside and module is not encoder
    ]
    try:
        with torch.enable_grad():
            network(image.detach().requires_grad_(True))
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError(
            f"{config.spec} has no feature map of the whole case (images too small for its network, or crops or slices "
            "of them): explain an experiment on larger, whole images"
        )
    return found[-1]


def _identity(values: object) -> object:
    return values
