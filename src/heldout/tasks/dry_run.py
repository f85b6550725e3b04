"""One random batch through an experiment's network and loss, which finds what would fail at the first batch."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from heldout.errors import UserError
from heldout.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor, nn


def try_batch(config: Task, classes: int, exclusive: bool, size: Sequence[int], samples: int) -> None:
    """Train a fresh network on one random batch; leaves the global random numbers as they were.

    Args:
        config: The experiment.
        classes: Number K of the dataset's classes.
        exclusive: The classes exclude each other.
        size: Spatial shape of the batch.
        samples: Samples B of the batch; 1 is what normalization layers fail on.

    Raises:
        UserError: the network, its pretrained weights or the loss do not fit, with a change of a field that was tried.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    answered = False  # by the network: what fails afterwards is not fixed by another size

    def attempt(one: Task, size: Sequence[int], samples: int, train: bool) -> None:
        nonlocal answered
        model = one.build_model(classes, exclusive)
        if not isinstance(model, torch.nn.Module):
            raise UserError(f"build_model gives a {type(model).__name__}: return a torch.nn.Module")
        if train:
            one.load_pretrained(model)
        one.start_epoch(model.to(device), 0)
        if one.devices > 1:
            _refuse_separate_statistics(one, model)
        image, batch = random_batch(one, classes, exclusive, size, samples)
        batch = {key: value.to(device) for key, value in batch.items()}
        with torch.set_grad_enabled(train):
            outputs = check_outputs(one, model, image.to(device), classes, exclusive)
            if train:
                answered = True
                _check_loss(one.task_loss(exclusive)(outputs, batch)).backward()

    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(0)
        try:
            attempt(config, size, samples, True)
        except UserError:
            raise
        except Exception as error:

            def works(changed: Task, larger: Sequence[int], more: int) -> bool:
                try:
                    attempt(changed, larger, more, False)
                except Exception:
                    return False
                return True

            changes = () if answered else _remedies(config, size, samples)
            remedies = (words for words, one, larger, more in changes if works(one, larger, more))
            raise UserError(
                f"a batch of {samples} of size {'x'.join(map(str, size))} cannot be trained on ({_reason(error)}): "
                f"{next(remedies, 'change the network or the loss')}"
            ) from error


def _refuse_separate_statistics(config: Task, model: nn.Module) -> None:
    """Refuse batch normalization by the statistics of one device's part of a batch.

    Raises:
        UserError: there is any; names it.
    """
    import torch

    for name, module in model.named_modules():
        kind = torch.nn.modules.batchnorm._BatchNorm
        apart = isinstance(module, kind) and not isinstance(module, torch.nn.SyncBatchNorm)
        if apart and module.training:
            raise UserError(
                f"{config.spec} has devices = {config.devices} and batch normalization ({name}), whose statistics are "
                "those of one device's part of a batch: set devices = 1, or convert the network in build_model with "
                "torch.nn.SyncBatchNorm.convert_sync_batchnorm"
            )


def _check_loss(loss: Any) -> Tensor:
    """The loss of a random batch, if it can be trained on.

    Raises:
        UserError: it is not a number, not finite, or depends on no parameter.
    """
    import torch

    if not isinstance(loss, torch.Tensor) or loss.ndim:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise UserError(f"build_loss gives {found}: return a tensor of one number, such as the mean")
    if not torch.isfinite(loss):
        raise UserError(f"the loss of a random batch is {float(loss)}: fix build_model or build_loss")
    if not loss.requires_grad:
        raise UserError(
            "the loss depends on no parameter of the network: let build_model return a network with parameters, and "
            "detach or round nothing"
        )
    return loss


def check_outputs(config: Task, model: nn.Module, image: Tensor, classes: int, exclusive: bool) -> dict[str, Any]:
    """What a network in training makes of a batch of images.

    Raises:
        UserError: an output is missing or has a wrong shape.
    """
    answer = model(image)
    if isinstance(answer, list | tuple) and not answer:
        raise UserError(f"build_model gives an empty {type(answer).__name__}: return the logits")
    outputs = config.as_outputs(answer)
    expected = {config.output: (len(image), classes)}
    if config.kind == "segmentation":
        expected = {"mask": (len(image), config.mask_channels(classes, exclusive), *image.shape[2:])}
    if config.two_heads:
        expected["label"] = (len(image), classes)
    for key, shape in expected.items():
        logits = outputs.get(key)
        if logits is None and config.two_heads and outputs:
            continue  # of a phase that does not train this head
        if logits is None and isinstance(answer, dict):
            raise UserError(f"build_model gives the outputs {', '.join(map(repr, outputs))}: call the logits {key!r}")
        _check_shape(key, logits, shape)
    for extra in outputs.get("aux", []):
        _check_shape("aux", extra, expected[config.output])
    return outputs


def _check_shape(key: str, logits: Any, shape: tuple[int, ...]) -> None:
    import torch

    if not isinstance(logits, torch.Tensor):
        raise UserError(f"build_model gives {key!r} as {type(logits).__name__}: it must be a tensor of shape {shape}")
    if tuple(logits.shape) != shape:
        raise UserError(f"build_model gives {key!r} of shape {tuple(logits.shape)}: it must be {shape}")


def random_batch(
    config: Task, classes: int, exclusive: bool, size: Sequence[int], samples: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Random image (B, C, *S), and a batch of it with labels (B, K) and, for segmentation, masks (B, M, *S)."""
    import torch

    image = torch.rand(samples, config.channels, *size)
    label = torch.nn.functional.one_hot(torch.arange(samples) % classes, classes).float()
    if config.kind != "segmentation":
        return image, {"image": image, "label": label}
    label_map = classes == 1 or exclusive
    mask = torch.randint(classes + 1 if label_map else 2, (samples, 1 if label_map else classes, *size))
    return image, {"image": image, "label": label, "mask": mask.to(torch.uint8)}


def _reason(error: Exception) -> str:
    """The error in a line, and where it happened."""
    text = (str(error).strip().splitlines() or [""])[0]
    if text.startswith("Expected more than 1 value per channel"):
        return "batch normalization has one value per channel, and needs two"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text}, {'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}"


def _remedies(config: Task, size: Sequence[int], samples: int) -> Iterator[tuple[str, Task, tuple[int, ...], int]]:
    """Changes of fields that may help: in words, the experiment with them, and the size and samples of its batch."""
    field = "patch_size" if config.patch_size is not None else "image_size"
    step = 32 if config.dimensions == 2 else 16
    sizes = [tuple(size), *(tuple(-(-length * factor // step) * step for length in size) for factor in (1, 2, 3, 4))]
    sized = config.patch_size is not None or config.image_size is not None
    for more in (samples, 2) if samples == 1 else (samples,):
        for larger in dict.fromkeys(sizes):
            words = [f"batch_size = {more} or more"] if more > samples else []
            if larger != tuple(size) or (words and not sized):
                words.append(f"{field} = {larger}")
            if words:
                yield f"set {' and '.join(words)}", config.model_copy(update={field: larger}), larger, more
