"""Weights that timm or segmentation_models.pytorch name: which there are, and where their file is found or fetched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import get_session
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from heldout.config.texts import nearest
from heldout.errors import UserError
from heldout.records import read_json

Library = Literal["timm", "smp"]
Statistics = tuple[Sequence[float], Sequence[float]]  # mean and deviation of each channel

CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
REACH_SECONDS = 2.0


@dataclass(frozen=True)
class HubWeights:
    """Weights of an encoder on a model hub.

    Attributes:
        name: Encoder and tag: ``resnet18.a1_in1k``.
        short: The encoder alone where the tag is its default, else ``name``.
        repository: Of the hub: ``timm/resnet18.a1_in1k``.
        revision: Of the repository; None is the newest.
        file: Its name in the repository, where it has one of its own.
        statistics: Mean and deviation that the library knows; None where they lie beside the file.
    """

    name: str
    short: str
    repository: str
    revision: str | None
    file: str | None
    statistics: Statistics | None


def find_weights(encoder: str, tag: str | Literal[True], library: Library) -> HubWeights:
    """The weights that a library names.

    Args:
        encoder: Name of the encoder in that library, which for timm may end in a tag.
        tag: Which of its weights; True is the default.
        library: Whose encoder it is.

    Raises:
        UserError: the library has no such weights.
    """
    return _of_timm(encoder.removeprefix("tu-"), tag) if library == "timm" else _of_smp(encoder, tag)


def _of_timm(encoder: str, tag: str | Literal[True]) -> HubWeights:
    known = timm.list_pretrained(f"{encoder.partition('.')[0]}.*") or timm.list_pretrained(encoder)
    arch, _, own = encoder.partition(".")
    default = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    wanted = own if tag is True else tag
    name = f"{arch}.{wanted}" if wanted else arch
    found = timm.get_pretrained_cfg(name, allow_unregistered=True) if not wanted or name in known else None
    if found is None or not (found.hf_hub_id or found.url):
        raise _unknown(encoder, tag, [one.partition(".")[2] for one in known])
    if not found.hf_hub_id:
        raise UserError(
            f"the weights of {name} are on no model hub: download {found.url}, and name the file as encoder_weights"
        )
    full = f"{arch}.{found.tag}" if found.tag else arch
    short = arch if default is not None and default.tag == found.tag else full
    repository = found.hf_hub_id + full if found.hf_hub_id.endswith("/") else found.hf_hub_id
    return HubWeights(full, short, repository, None, found.hf_hub_filename, (found.mean, found.std))


def _of_smp(encoder: str, tag: str | Literal[True]) -> HubWeights:
    from segmentation_models_pytorch.encoders import encoders

    known: dict[str, Any] = encoders.get(encoder, {}).get("pretrained_settings") or {}
    default = "imagenet" if "imagenet" in known else next(iter(known), "")
    wanted = default if tag is True else tag
    if wanted not in known:
        raise _unknown(encoder, tag, list(known))
    name = f"{encoder}.{wanted}"
    place = known[wanted]
    short = encoder if wanted == default else name
    return HubWeights(name, short, place["repo_id"], place.get("revision"), None, None)


def _unknown(encoder: str, tag: str | Literal[True], known: list[str]) -> UserError:
    if not known:
        return UserError(
            f"encoder_weights = {tag!r}: there are no pretrained weights of {encoder}: name a file, or set "
            "encoder_weights = None"
        )
    return UserError(
        f"encoder_weights = {tag!r} are no weights of {encoder}: choose one of {', '.join(known)}"
        f"{nearest(str(tag), known)}"
    )


def find_file(weights: HubWeights, folders: Sequence[Path]) -> Path:
    """The file of weights: in one of the folders, in the hub's cache, or fetched from the hub.

    Args:
        weights: The weights.
        folders: Where ``<name>.safetensors`` or ``<name>/model.safetensors`` may lie.

    Raises:
        UserError: it is in none of them, and the hub cannot be reached or does not have it.
    """
    for folder in folders:
        for name in dict.fromkeys((weights.name, weights.short)):
            for place in (folder / f"{name}.safetensors", *(folder / name / file for file in _files(weights))):
                if place.is_file():
                    return place
    for file in _files(weights):
        cached = try_to_load_from_cache(weights.repository, file, revision=weights.revision)
        if isinstance(cached, str):
            return Path(cached)
    return _fetch(weights, folders)


def statistics_of(weights: HubWeights, file: Path) -> Statistics:
    """Mean and deviation, in 0 ... 1, of the images that the weights were trained on.

    Raises:
        UserError: the file of settings beside the weights is damaged.
    """
    if weights.statistics is not None:
        return weights.statistics
    beside = file.with_name(CONFIG)
    if not beside.is_file():
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    remedy = "download the weights again"
    settings = read_json(beside, remedy)
    try:
        largest = max(settings.get("input_range") or (0, 1))
        mean, deviation = ([value / largest for value in settings[name]] for name in ("mean", "std"))
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise UserError(f"{beside} does not say mean and std of the images: {remedy}") from None
    return mean, deviation


def _files(weights: HubWeights) -> tuple[str, ...]:
    return FILES if weights.file is None else (weights.file,)


def _fetch(weights: HubWeights, folders: Sequence[Path]) -> Path:
    file = _files(weights)[0]
    target = folders[-1] / weights.name
    shown = target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target
    command = f"hf download {weights.repository} {file} --local-dir {shown}"
    if weights.revision is not None:
        command += f" --revision {weights.revision}"
    remedy = f"run `{command}` where there is a network, or set encoder_weights = None"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"the weights {weights.name} are not on this machine, and HF_HUB_OFFLINE is set: {remedy}")
    if not _reachable(hf_hub_url(weights.repository, file, revision=weights.revision)):
        raise UserError(
            f"the weights {weights.name} are not on this machine, and {constants.ENDPOINT} cannot be reached: {remedy}"
        )
    try:
        if weights.statistics is None:
            hf_hub_download(weights.repository, CONFIG, revision=weights.revision)
        for name in _files(weights):
            try:
                return Path(hf_hub_download(weights.repository, name, revision=weights.revision))
            except EntryNotFoundError:
                continue
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the weights {weights.name} cannot be fetched ({reason}): {remedy}") from None
    raise UserError(f"{weights.repository} has no file {' or '.join(_files(weights))}: name a file as encoder_weights")


def _reachable(url: str) -> bool:
    """Whether a server answers soon; errors in its answer are reported by the library that downloads."""
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(url, timeout=REACH_SECONDS)
        except Exception:  # of whichever library the hub's client uses
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)  # finding a name may take longer than any timeout
    asking.start()
    asking.join(REACH_SECONDS)
    return answered.is_set()
