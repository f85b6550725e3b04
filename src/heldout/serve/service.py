"""What the routes share: the networks, the uploads of a request, the choice of the decision, and how answers look."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from heldout import __version__
from heldout.data import readers
from heldout.errors import UserError
from heldout.serve import uploads
from heldout.serve.answers import ModelInfo, Options
from heldout.serve.corrections import VERDICTS, CorrectionRecord
from heldout.serve.corrections import save as save_correction
from heldout.serve.engine import NetworkPool
from heldout.serve.fitting import does, endpoint_of, fits, is_volume, labels_of
from heldout.serve.jobs import Jobs
from heldout.serve.messages import Ask, Found, Kind, as_text
from heldout.serve.monitor import Monitor
from heldout.serve.registry import resolve_all, split
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import Refused


@dataclass
class StoredUploads:
    """The uploads of a request.

    Attributes:
        options: What it asks for.
        folders: Where every file is.
        kinds: Formats of the files.
        failed: Folders of files that are not images, and why.
    """

    options: Options
    folders: list[Path] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    failed: dict[Path, Refused] = field(default_factory=dict)


class Service:
    """What the routes share.

    Attributes:
        settings: As the service was started.
        engine: The network processes.
        monitor: Metrics.
        jobs: Requests that are answered later.
        root: Folder of the uploads of this process.
    """

    def __init__(self, settings: ServeSettings, on_stop: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.engine = NetworkPool(settings, resolve_all(settings.decision, settings.registry), on_stop)
        self.monitor = Monitor(self.engine)
        self.jobs = Jobs(settings.job_keep_minutes * 60)
        self.root = Path(tempfile.mkdtemp(prefix=f"heldout-serve-{os.getpid()}-"))

    def close(self) -> None:
        """End the processes and remove what is left of uploads."""
        self.engine.close()
        shutil.rmtree(self.root, ignore_errors=True)

    async def follow(self) -> None:
        """Switch to what the registry has in production, for ever; to be cancelled."""
        while any(split(name) for name in self.settings.decision):
            await asyncio.sleep(self.settings.registry_seconds)
            try:
                names = await asyncio.to_thread(resolve_all, self.settings.decision, self.settings.registry)
            except UserError as error:
                print(f"the decisions served so far stay: {error}", file=sys.stderr, flush=True)
                continue
            if names not in (self.engine.names, self.engine.refused):
                self.engine.switch(names)

    def choose(self, options: Options, endpoint: str, volume: bool | None) -> ModelInfo:
        """The decision that answers a request.

        Args:
            options: Of the request.
            endpoint: As for :func:`fits`.
            volume: Whether the upload is a volume; None where either may be.

        Raises:
            Refused: 503 while none is ready, 404 without such a decision, 409 where it does not fit.
        """
        models = self.engine.models
        if not self.engine.ready:
            raise Refused(503, self.engine.stopped or "the networks are being loaded: try again in a moment")
        if options.model is not None:
            models = [one for one in models if options.model in (one.name, one.served_as)]
            if not models:
                names = ", ".join(one.served_as for one in self.engine.models)
                raise Refused(404, f"there is no decision of that name here: ask one of {names}")
        fitting = [one for one in models if fits(one, endpoint)]
        if not fitting:
            raise Refused(409, f"{models[0].name} {does(models[0])}: ask {endpoint_of(models[0])}")
        if volume is None:
            return fitting[0]
        right = [one for one in fitting if (one.dimensions == 3) == volume]
        if not right:
            wanted = "a volume (NIfTI or a zip of DICOM files)" if not volume else "images (PNG, JPEG or TIFF)"
            raise Refused(409, f"{fitting[0].name} reads {wanted}: send one, or ask another decision")
        return right[0]

    async def store(self, request: Request, folder: Path, most: int, apart: bool = False) -> StoredUploads:
        """Store the files of a request in its folder.

        Args:
            request: The request.
            folder: Its folder.
            most: Files allowed.
            apart: Every file gets a folder of its own, and one that is not an image does not fail the others.

        Raises:
            Refused: the body is not an upload, or a part is not an image.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        given: dict[str, Any] = dict(request.query_params)
        stored = StoredUploads(options=Options())

        async def keep(number: int, count: int, name: str, act: Callable[[Path, str], str]) -> None:
            place = folder / str(number) if apart else folder
            place.mkdir(exist_ok=True)
            stored.folders.append(place)
            part = name if count == 1 else f"{name}s[{number}]"
            try:
                stored.kinds.add(await asyncio.to_thread(act, place / f"image{number:04d}", part))
            except Refused as error:
                if not apart:
                    raise
                stored.failed[place] = error

        if kind == "application/json":
            body = await asyncio.to_thread(uploads.parse_json, await request.body())
            pixels = body.pop("images", None) or [body.pop("image", None)]
            if not isinstance(pixels, list) or pixels == [None]:
                raise Refused(422, 'the body has no pixels: send {"image": [[...]]}')
            _count(len(pixels), most)
            stored.options = _options(given | body)
            for number, one in enumerate(pixels):
                await keep(number, len(pixels), "image", partial(uploads.store_pixels, one))
            return stored
        if kind != "multipart/form-data":
            raise Refused(415, "send the file as multipart/form-data in the field `file`")
        async with request.form(max_files=most, max_fields=30, max_part_size=1 << 16) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            given |= {name: value for name, value in form.multi_items() if isinstance(value, str)}
            if not files:
                raise Refused(422, "the form has no file: send it in the field `file`, or several in `files`")
            _count(len(files), most)
            stored.options = _options(given)
            for number, one in enumerate(files):
                await keep(number, len(files), "file", partial(self._save, one))
        return stored

    def _save(self, upload: UploadFile, place: Path, part: str) -> str:
        upload.file.seek(0)
        with open(place, "wb") as target:
            shutil.copyfileobj(upload.file, target, 1 << 20)
        if not place.stat().st_size:
            raise Refused(422, f"{part} is empty: send the content of an image")
        return uploads.name_by_content(place, part, int(self.settings.max_inflated_mb * 1e6))

    def ask_of(self, kind: Kind, model: ModelInfo, folder: Path, options: Options) -> Ask:
        """The request to a network process.

        Raises:
            Refused: an option does not fit the decision.
        """
        threshold = options.threshold
        if threshold is None and model.has_threshold:
            threshold = self.settings.default_threshold
        axes = "hv" if model.dimensions == 2 else "xyz"
        tta = axes if options.use_tta else options.tta
        if not set(tta) <= set(axes) or len(set(tta)) != len(tta):
            raise Refused(422, f"tta = {tta!r} may hold each of {axes!r} once")
        target = None
        if options.target is not None:
            if options.target not in model.classes:
                raise Refused(422, f"there is no class {options.target!r}: target is one of {', '.join(model.classes)}")
            target = model.classes.index(options.target)
        return Ask(
            kind,
            model.name,
            folder,
            threshold=threshold,
            n_samples=options.n_samples,
            tta=tta,
            target=target,
            files=options.files,
            maps=options.maps or options.what == "probability",
            dicomseg=options.format == "dicomseg",
            preview=options.preview,
            pixel_mm=options.pixel_mm,
            slice_mm=options.slice_mm,
        )

    async def correction(self, request: Request, folder: Path) -> CorrectionRecord:
        """Save what a reviewer says of a prediction.

        Raises:
            Refused: the verdict, the mask or the image does not fit.
        """
        async with request.form(max_files=2, max_fields=10, max_part_size=1 << 16) as form:
            image, mask = form.get("file"), form.get("mask")
            verdict, comment = str(form.get("verdict") or ""), str(form.get("comment") or "")
            if verdict not in VERDICTS:
                raise Refused(422, f"verdict is one of {', '.join(VERDICTS)}, not {verdict[:40]!r}")
            if not isinstance(image, UploadFile):
                raise Refused(422, "the form has no image: send the reviewed file in the field `file`")
            if (verdict == "corrected") != isinstance(mask, UploadFile):
                raise Refused(422, "a mask is sent in the field `mask` where the verdict is corrected, and only there")
            kind = await asyncio.to_thread(self._save, image, folder / "image0000", "file")
            if kind in ("zip", "dicom"):
                raise Refused(415, "corrections of DICOM series cannot be kept: convert the series to NIfTI")
            options = _options({"model": form.get("model")})
            model = self.choose(options, "segment", is_volume({kind}))
            if model.objects:
                raise Refused(409, f"{model.name} {does(model)}: corrections are masks")
            if not model.exclusive and len(model.classes) > 1:
                raise Refused(409, f"the classes of {model.name} overlap: corrections need one label a voxel")
            [found] = await self.answer("predict", model, folder, options)
            label = next(((name, one) for name, one in found.files.items() if name.startswith("mask")), None)
            if isinstance(mask, UploadFile):
                label = await asyncio.to_thread(self._drawn, mask, folder, model, found)
        return await asyncio.to_thread(
            partial(
                save_correction,
                next(path for path in folder.iterdir() if path.name.startswith("image0000")),
                None if verdict == "rejected" else label,
                decision=model.name,
                seal=model.seal,
                reviewer=request.state.reviewer,
                verdict=verdict,
                comment=comment[:2000],
                prediction=found.scores,
            )
        )

    def _drawn(self, mask: UploadFile, folder: Path, model: ModelInfo, found: Found) -> tuple[str, bytes]:
        """The reviewer's mask, checked against the image and the classes."""
        (folder / "label").mkdir()
        kind = self._save(mask, folder / "label" / "mask", "mask")
        if kind in ("zip", "dicom"):
            raise Refused(415, "the mask is not a PNG, a TIFF or a NIfTI file: send one of these")
        [path] = (folder / "label").iterdir()
        try:
            labels = readers.open_mask(path, dimensions=model.dimensions, binary=len(model.classes) == 1)
        except UserError as error:
            raise Refused(422, str(error).replace(f"{path.parent}/", "")) from None
        if labels.shape[1:] != found.shape:
            raise Refused(422, f"the mask has shape {labels.shape[1:]}, the image {found.shape}: draw on the image")
        if labels.max() > len(model.classes):
            raise Refused(422, f"the mask holds {labels.max()}: its values are 0 ... {len(model.classes)}")
        return ("mask.nii.gz" if kind == "nifti" else f"mask.{kind}"), path.read_bytes()

    async def answer(self, kind: Kind, model: ModelInfo, folder: Path, options: Options) -> list[Found]:
        """Have the networks answer, and count it."""
        reply = await self.engine.ask(self.ask_of(kind, model, folder, options))
        assert isinstance(reply.found, list), "failures are raised"
        labels = [labels_of(model, one).get("prediction") for one in reply.found]
        self.monitor.answered(model.name, reply.found, reply.batch, labels)
        return reply.found

    def head(self, request: Request, model: ModelInfo, found: Found) -> dict[str, Any]:
        """What every answer says of its origin, and of whether it may be relied on."""
        abstains = found.abstain is not None
        return {
            "decision": model.name,
            "seal": model.seal,
            "sealed": model.sealed,
            "version": __version__,
            "request_id": request.state.request_id,
            "took_ms": round((time.perf_counter() - request.state.started) * 1000, 2),
            "warnings": [*found.unusual, *found.warnings],
            "in_distribution": not found.unusual if found.measures else None,
            "abstain": bool(found.abstain) if abstains else None,
            "research_use_only": True,
        } | ({"abstain_reason": found.abstain or None} if abstains else {})

    def shown(self, request: Request, model: ModelInfo, found: Found) -> dict[str, Any]:
        """An answer in JSON."""
        named = self.head(request, model, found) | labels_of(model, found)
        if found.areas is not None:
            named |= {
                "shape": list(found.shape),
                "spacing_mm": found.spacing_mm,
                "areas": found.areas,
                "volumes_ml": found.volumes_ml,
                "detections": found.detections,
            }
        return named | files_of(found) | found.numbers


def files_of(found: Found) -> dict[str, Any]:
    """The files of an answer and what is for the screen, in JSON."""
    named: dict[str, Any] = {} if found.preview is None else {"preview": as_text(found.preview)}
    if found.areas is not None:
        named["files"] = {name: as_text(content) for name, content in found.files.items()}
    return named


def _options(given: Mapping[str, Any]) -> Options:
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        raise Refused(422, sentence_of(error.errors())) from None


def sentence_of(errors: Any) -> str:
    """The first of pydantic's errors in one sentence."""
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"]) or "the request"
    return f"{name} does not fit: {first['msg'].lower()}"


def _count(count: int, most: int) -> None:
    if count > most:
        files = "one file is" if most == 1 else f"{most} files are"
        raise Refused(413, f"{count} files were sent, {files} allowed: send fewer")


def binary_of(model: ModelInfo, options: Options, found: Found) -> Response:
    """The files of an answer as they are: one by itself, several in a zip archive."""
    if found.areas is None:
        raise Refused(409, f"{model.name} {does(model)}: leave return_binary out")
    format_ = "png" if model.dimensions == 2 else "nifti"
    if options.format not in (None, format_, "dicomseg"):
        raise Refused(422, f"format = {options.format}: the input gives {format_} files")
    files = {name: content for name, content in found.files.items() if name.startswith(options.what)}
    headers = {"x-heldout-seal": model.seal, "x-heldout-decision": model.name}
    if len(files) == 1:
        [(name, content)] = files.items()
        kind = {"png": "image/png", "dcm": "application/dicom"}.get(name.rpartition(".")[2], "application/octet-stream")
    else:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        name, content, kind = f"{options.what}.zip", packed.getvalue(), "application/zip"
    headers["content-disposition"] = f'attachment; filename="{_ascii(name)}"'
    return Response(content, media_type=kind, headers=headers)


def _ascii(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
