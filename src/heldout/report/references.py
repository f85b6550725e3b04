"""Works that an article cites: the libraries and methods that its experiments use; see ``templates/references.bib``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heldout.evaluate.held_out import HeldOut

Used = Callable[[HeldOut, dict[str, Any]], bool]  # of a run or blend, and the fields of one of its experiments


def _has(field: str, *words: str) -> Used:
    """Whether a field names one of some words."""
    return lambda _, fields: any(word in str(fields.get(field) or "").lower() for word in words)


def _always(*_: object) -> bool:
    return True


def _augments_images(_: HeldOut, fields: dict[str, Any]) -> bool:
    return "2d" in fields["task"].lower() and fields.get("augment") != "none"


def _calibrated(subject: HeldOut, _: dict[str, Any]) -> bool:
    used = subject.decision.calibration if subject.is_blend else None
    return used is not None and used.method != "none"


USED: dict[str, Used] = {  # by key of references.bib
    "paszke2019": _always,
    "pedregosa2011": _always,
    "wightman2019": _has("task", "classify2d", "multitask2d"),
    "iakubovskii2019": _has("task", "segment2d", "multitask2d"),
    "cardoso2022": _has("task", "3d"),
    "buslaev2020": _augments_images,
    "akiba2019": lambda subject, _: subject.is_blend,
    "ronneberger2015": _has("arch", "unet"),
    "he2016": _has("encoder", "resnet"),
    "tan2019": _has("encoder", "efficientnet"),
    "milletari2016": _has("loss", "dice"),
    "salehi2017": _has("loss", "tversky"),
    "lin2017": _has("loss", "focal"),
    "loshchilov2019": _has("optimizer", "adamw"),
    "guo2017": _calibrated,
    "abedeen2023": _has("source", "fracatlas"),
    "antonelli2022": _has("source", "msd"),
}


def cited_works(subjects: Sequence[HeldOut]) -> list[str]:
    """Keys of the works that runs and blends use, in the order of the list."""
    found = [
        (subject, {**member.config.model_dump(mode="json"), "task": member.config.task_name()})
        for subject in subjects
        for member in subject.shipped
    ]
    return [key for key, used in USED.items() if any(used(subject, fields) for subject, fields in found)]


def bibliography(keys: Sequence[str]) -> str:
    """The entries of some works as BibTeX."""
    text = Path(__file__).with_name("templates").joinpath("references.bib").read_text(encoding="utf-8")
    entries = {one.partition("{")[2].partition(",")[0]: one.strip() for one in text.split("\n\n")}
    return "\n\n".join(entries[key] for key in keys) + "\n"
