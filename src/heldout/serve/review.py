"""What a reviewer says of a prediction: the form, checked against the image, the prediction and the classes.

Any prediction can be accepted or rejected. Masks are kept and corrected where each voxel has one label; of DICOM files,
which name the patient, neither image nor mask is kept.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from pathlib import Path

from fastapi import Request
from starlette.datastructures import UploadFile

from heldout import files
from heldout.data import readers
from heldout.errors import UserError
from heldout.serve.answers import ModelInfo
from heldout.serve.corrections import VERDICTS, CorrectionRecord
from heldout.serve.corrections import save as save_correction
from heldout.serve.fitting import does
from heldout.serve.intake import VOLUMES, options_of, save
from heldout.serve.messages import Found
from heldout.serve.service import Service
from heldout.serve.sizes import shapes
from heldout.serve.uploads import Refused

_DICOM = frozenset({"zip", "dicom", "series"})


async def review(service: Service, request: Request, folder: Path) -> CorrectionRecord:
    """Save what a reviewer says of a prediction.

    Raises:
        Refused: the verdict, the mask or the image does not fit.
    """
    limit = service.inflated
    async with request.form(max_files=2, max_fields=10, max_part_size=1 << 16) as form:
        image, mask = form.get("file"), form.get("mask")
        verdict, comment = str(form.get("verdict") or ""), str(form.get("comment") or "")
        if verdict not in VERDICTS:
            raise Refused(422, f"verdict is one of {', '.join(VERDICTS)}, not {verdict[:40]!r}")
        if not isinstance(image, UploadFile):
            raise Refused(422, "the form has no image: send the reviewed file in the field `file`")
        if (verdict == "corrected") != isinstance(mask, UploadFile):
            raise Refused(422, "a mask is sent in the field `mask` where the verdict is corrected, and only there")
        kind = await asyncio.to_thread(save, image, limit, folder / "image0000", "file")
        options = options_of({"model": form.get("model")})
        model = service.choose(request, options, "any" if mask is None else "segment", kind in VOLUMES)
        if form.get("seal") not in (None, model.seal):
            raise Refused(409, "another decision took over since this case was predicted: predict and review it again")
        [found] = await service.answer(request, "predict", model, folder, options, counted=False)
        label = None
        if isinstance(mask, UploadFile):
            _check_correctable(model, kind)
            label = await asyncio.to_thread(_drawn, mask, limit, folder, model, found)
        elif verdict == "accepted" and kind not in _DICOM and _has_labels(model):
            label = next(((name, one) for name, one in found.files.items() if name.startswith("mask")), None)
    [upload] = (path for path in folder.iterdir() if path.name.startswith("image0000"))
    saved = await asyncio.to_thread(
        partial(
            save_correction,
            await asyncio.to_thread(_digest, upload),
            None if kind in _DICOM else upload,
            label,
            decision=model.name,
            seal=model.seal,
            reviewer=request.state.reviewer,
            verdict=verdict,
            comment=comment[:2000],
            prediction=found.scores,
        )
    )
    request.state.review = {"verdict": saved.verdict, "case": saved.case, "review_version": saved.version}
    return saved


def _digest(upload: Path) -> str:
    """SHA-256 of an upload; of the files of a series in any order and under any names."""
    if upload.is_file():
        return files.sha256_file(upload)
    return files.sha256_json(sorted(map(files.sha256_file, upload.iterdir())))


def _has_labels(model: ModelInfo) -> bool:
    """Whether its masks give each voxel one label."""
    return model.segments and not model.objects and (model.exclusive or len(model.classes) == 1)


def _check_correctable(model: ModelInfo, kind: str) -> None:
    """Refuse a mask that could not be kept."""
    if kind in _DICOM:
        raise Refused(415, "DICOM files name the patient, so no mask of them is kept: convert to NIfTI or PNG")
    if model.objects:
        raise Refused(409, f"{model.name} {does(model)}, and corrections are masks: accept or reject it")
    if not _has_labels(model):
        raise Refused(
            409, f"the classes of {model.name} overlap, and masks have one label a voxel: accept or reject it"
        )


def _drawn(mask: UploadFile, limit: int, folder: Path, model: ModelInfo, found: Found) -> tuple[str, bytes]:
    """The reviewer's mask, checked against the image and the classes; its size before its values are read."""
    (folder / "label").mkdir()
    kind = save(mask, limit, folder / "label" / "mask", "mask")
    if kind in _DICOM:
        raise Refused(415, "the mask is not a PNG, a TIFF or a NIfTI file: send one of these")
    [path] = (folder / "label").iterdir()
    try:
        [stored] = shapes(path)
        if math.prod(map(int, stored)) <= math.prod(found.shape):
            labels = readers.open_mask(path, dimensions=model.dimensions, binary=len(model.classes) == 1)
            stored = labels.shape[1:]
    except UserError as error:
        raise Refused(422, str(error).replace(f"{path.parent}/", "")) from None
    if tuple(stored) != found.shape:
        raise Refused(422, f"the mask has shape {tuple(stored)}, the image {found.shape}: draw on the image")
    if labels.max() > len(model.classes):
        raise Refused(422, f"the mask holds {labels.max()}: its values are 0 ... {len(model.classes)}")
    return ("mask.nii.gz" if kind == "nifti" else f"mask.{kind}"), path.read_bytes()
