"""Local files of pretrained weights, and error messages for unknown encoders and files."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from heldout.errors import UserError, note
from heldout.files import dataset_root, home

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".npz")
MIN_FILLED = 0.5  # share of a 3D network's weights that a file must hold


def weights_file(name: str) -> Path:
    """Path of the file that ``encoder_weights`` names.

    Args:
        name: A bare file name, looked up in ``$HELDOUT_WEIGHTS`` and in ``input/weights/``; a path below the folder of
            datasets; or an absolute path.

    Raises:
        UserError: there is no such file, or it is a run's, which has seen patients that other folds hold out.
    """
    path = Path(name)
    if path.name == name:
        path = _in_weight_folders(name)
    elif not path.is_absolute():
        folder, *rest = path.parts
        path = dataset_root(folder).joinpath(*rest)
    if not path.is_file():
        raise UserError(
            f"encoder_weights = {name!r}: {path} does not exist; download it, or set encoder_weights = None"
        )
    if path.resolve().is_relative_to((home() / "working").resolve()):
        raise UserError(
            f"encoder_weights = {name!r} are of a run, which may have seen the patients held out here: name its "
            "experiment as warm_start, which takes the same fold and seed"
        )
    return path


def is_file_name(value: str) -> bool:
    """Whether a value of ``encoder_weights`` names a file, not a tag of the encoder's weights.

    Example:
        >>> is_file_name("tf_efficientnet_lite0.safetensors"), is_file_name("a1_in1k")
        (True, False)
    """
    if Path(value).name != value or Path(value).suffix.lower() in SUFFIXES:
        return True
    return any((folder / value).is_file() for folder in weight_folders())


def weight_folders() -> list[Path]:
    """Folders of weights: ``$HELDOUT_WEIGHTS``, where it is set, and ``input/weights/``."""
    own = [Path(os.environ["HELDOUT_WEIGHTS"]).resolve()] if "HELDOUT_WEIGHTS" in os.environ else []
    return [*own, home() / "input" / "weights"]


def _in_weight_folders(name: str) -> Path:
    """The first folder of weights that holds the file.

    Raises:
        UserError: none does.
    """
    folders = weight_folders()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"encoder_weights = {name!r} is not in {' or '.join(map(str, folders))}: put the file there, set "
        "HELDOUT_WEIGHTS to the folder that holds it, or set encoder_weights = None"
    )


def copy_pretrained(module: nn.Module, path: Path, encoder: str, create: Callable[..., nn.Module]) -> None:
    """Fill an encoder from a file that the library of the encoder reads, made for any number of channels.

    Args:
        module: The encoder, and perhaps a last layer, which is left alone.
        path: The file.
        encoder: Name of the encoder.
        create: Makes the encoder: at random, or with ``pretrained=True, pretrained_cfg_overlay={"file": path}`` filled
            from the file, as timm does.

    Raises:
        UserError: the file does not belong to the encoder.
    """
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # the classifier of the file has no use here
    start = torch.random.get_rng_state()
    random = create().state_dict()
    torch.random.set_rng_state(start)
    reason = ""
    try:
        filled = create(pretrained=True, pretrained_cfg_overlay={"file": str(path)}).state_dict()
        # timm renames and adapts keys as it loads, and passes over those that a file lacks: these stay as drawn
        missing = [key for key, value in filled.items() if value.ndim > 1 and torch.equal(value, random[key])]
        reason = f"{missing[0]} is not in it" if missing else ""
    except Exception as error:  # torch, safetensors and timm report a damaged or another file in a dozen ways
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[len(lines) > 1].strip().partition(": copying")[0]  # torch begins with a heading
    if reason:
        raise UserError(f"{path} does not hold weights of {encoder} ({reason}): name another file")
    module.load_state_dict(filled, strict=False)


def copy_matching(module: nn.Module, path: Path) -> None:
    """Fill a network from any local file of tensors, by name and shape, and tell what was filled.

    Prefixes that all names of a part share, such as ``module.`` or ``backbone.``, are left out where more fits then.

    Args:
        module: The network.
        path: A file of safetensors, or of :func:`torch.save` that loads without running code.

    Raises:
        UserError: the file cannot be read, or fewer than half of the network's weights are in it.
    """
    stored, own = _read_tensors(path), module.state_dict()
    fitting = max(
        (
            {
                name: stored[theirs + name.removeprefix(ours)]
                for name, value in own.items()
                if name.startswith(ours) and _same_shape(stored.get(theirs + name.removeprefix(ours)), value)
            }
            for ours in _prefixes(own)
            for theirs in _prefixes(stored)
        ),
        key=len,
    )
    absent = [name for name in own if name not in fitting]
    shown = f", not {', '.join(absent[:3])}{' and others' if len(absent) > 3 else ''}" if absent else ""
    report = f"{path.name} fills {len(fitting)} of the network's {len(own)} tensors{shown}; it holds {len(stored)}"
    filled = sum(value.numel() for value in fitting.values())
    if filled < MIN_FILLED * sum(value.numel() for value in own.values()):
        raise UserError(f"encoder_weights: {report}, such as {', '.join(list(stored)[:3])}: name another file")
    note(report)
    module.load_state_dict(fitting, strict=False)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file by name; of a checkpoint those of its largest part."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        parts: list[Any] = [torch.load(path, map_location="cpu", weights_only=True)]
    except Exception as error:  # torch reports a damaged file in a dozen ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read ({reason}): name a file of tensors as encoder_weights") from None
    found: dict[str, torch.Tensor] = {}
    for part in parts:  # which grows on the way
        if isinstance(part, dict):
            parts += part.values()
            tensors = {str(name): value for name, value in part.items() if isinstance(value, torch.Tensor)}
            found = max(found, tensors, key=len)
    return found


def _prefixes(names: Iterable[str]) -> list[str]:
    """Beginnings of dotted names, of up to three parts, the empty one first."""
    found = {"": None}
    for name in names:
        parts = name.split(".")[:-1]
        found |= dict.fromkeys(".".join(parts[:count]) + "." for count in range(1, min(len(parts), 3) + 1))
    return list(found)


def _same_shape(stored: torch.Tensor | None, own: torch.Tensor) -> bool:
    return stored is not None and stored.shape == own.shape


def unknown_encoder(encoder: str, known: Iterable[str]) -> UserError:
    """The complaint about an encoder that the library does not have, with the nearest name, with or without ``tu-``."""
    names, name = list(known), encoder.partition(".")[0]
    other = {name.removeprefix("tu-"), f"tu-{name}"}.intersection(names)
    close = sorted(other) or difflib.get_close_matches(encoder, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "see the library's list of models"
    return UserError(f"encoder = {encoder!r} does not exist: {hint}")
