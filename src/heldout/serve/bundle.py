"""A decision in one folder, as `run.py bundle` writes it: what `serve` needs without run folders and dataset.

It is a kernel's bundle with the reference predictions, the images of their cases, and what the service says of the
decision.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.blend.apply import OpenDecision, predict_case
from heldout.blend.decision import Decision
from heldout.blend.members import load_member
from heldout.blend.records import ReferenceCase
from heldout.blend.reference import check_kept, compare_kept
from heldout.blend.session import Session
from heldout.blend.verify import refuse_changes
from heldout.data.first_stage import FirstStageMap, first_stage_map
from heldout.data.image import Image
from heldout.data.sources import source_class
from heldout.deliver.kernel.bundle import is_bundle, write_bundle
from heldout.deliver.kernel.runtime import open_bundle
from heldout.errors import UserError
from heldout.predict.prediction import Prediction
from heldout.serve.drift import fingerprint
from heldout.serve.reliability import reliability
from heldout.tasks.base import load_task
from heldout.train.runs import fit_folder

_IMAGES = "reference_images.npz"
_BESIDE = (".json", ".npz", ".yaml")  # files of the decision's folder; its tables name training cases


def write(opened: OpenDecision, folder: Path) -> Decision:
    """Write the bundle of a verified decision; an earlier bundle in the folder is replaced when all is written.

    Raises:
        UserError: the folder holds something else, a member was imported, or the training images cannot be read.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_bundle(str(folder))):
        raise UserError(f"{folder} is not a bundle and not empty: name another folder with --output")
    decision = opened.decision
    fingerprint(opened)  # both are written into the decision's folder
    reliability(decision)
    with files.new_folder(folder) as draft:
        place = draft / decision.folder.relative_to(files.home())
        place.mkdir(parents=True)
        for path in decision.folder.iterdir():
            if path.suffix in _BESIDE and path.name != "decision.json":  # it is in the manifest
                shutil.copyfile(path, place / path.name)
        if decision.reference is not None:
            files.write_bytes(place / _IMAGES, _images(opened))
        write_bundle(opened, draft, wheels=None)
    return decision


def _images(opened: OpenDecision) -> bytes:
    """Images of the reference cases, and the maps of first stages that never saw them, as an npz file."""
    assert opened.decision.reference is not None, "a sealed decision"
    arrays: dict[str, Any] = {}
    numbers = _numbers(opened.decision)
    for case_id, number in numbers.items():
        image = opened.dataset.read_image(case_id)
        arrays[f"{number}.image"] = image.array
        if image.affine is not None:
            arrays[f"{number}.affine"] = image.affine
        if image.lost is not None:
            arrays[f"{number}.lost"] = np.array(image.lost)
    for one in opened.decision.reference.cases:
        stage = load_member(one.member, opened.session).first_stage
        if (found := first_stage_map(stage, one.case_id)) is not None:
            arrays[f"{one.member}.{numbers[one.case_id]}.first"] = found.map
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _numbers(decision: Decision) -> dict[str, int]:
    """Number of every reference case."""
    assert decision.reference is not None, "a sealed decision"
    return {name: n for n, name in enumerate(dict.fromkeys(one.case_id for one in decision.reference.cases))}


def open_bundled(folder: Path, session: Session) -> OpenDecision:
    """Open a bundle whose code is trusted, and predict its reference cases again; this process then works in it.

    Raises:
        UserError: it was changed, or does not predict what was validated.
    """
    decision = open_bundle(folder.resolve()).decision
    if decision.reference is not None:
        refuse_changes(decision, check_kept(decision) or _check_reference(decision, session))
    return OpenDecision(decision, session)


def _check_reference(decision: Decision, session: Session) -> list[str]:
    path = decision.folder / _IMAGES
    if not path.is_file():
        return [f"{path} is missing, as in a kernel's bundle (write one with `python run.py bundle {decision.name}`)"]
    members, numbers = {member.name: member for member in decision.members}, _numbers(decision)
    with np.load(path) as arrays:

        def predict(one: ReferenceCase) -> Prediction:
            member, number = members[one.member], numbers[one.case_id]
            config = load_task(member.spec).model_copy(update={"predict_precision": member.predict_precision})
            weights = fit_folder(member.spec, one.seed, one.fold) / "weights.safetensors"
            lost = arrays.get(f"{number}.lost")
            image = Image(
                arrays[f"{number}.image"],
                arrays.get(f"{number}.affine"),
                None if lost is None else tuple((int(before), int(after)) for before, after in lost),
            )
            found = arrays.get(f"{one.member}.{number}.first")
            first = None if found is None else FirstStageMap(found, config.first_stage_use, config.first_stage_fraction)
            model = session.network(config, weights, decision)
            return predict_case(
                config, [model], one.case_id, image, exclusive=decision.exclusive, tta=member.tta, first_map=first
            )[0]

        config = load_task(decision.members[0].spec)
        source = source_class(config.source)(decision.folder, **config.source_options)
        two_heads = {member.name for member in decision.members if member.two_heads}
        return compare_kept(decision, predict, two_heads, config, source)[0]
