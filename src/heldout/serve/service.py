"""What the routes share: the networks, the uploads of a request, the choice of the decision, and how answers look."""

from __future__ import annotations

import asyncio
import io
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from heldout import __version__
from heldout.serve.answers import ModelInfo
from heldout.serve.audit import AuditLog
from heldout.serve.engine import NetworkPool
from heldout.serve.fitting import does, endpoint_of, fits, labels_of, misfit
from heldout.serve.intake import StoredUploads, store
from heldout.serve.jobs import Jobs
from heldout.serve.messages import Ask, Found, Kind, as_text
from heldout.serve.monitor import Monitor
from heldout.serve.options import Options
from heldout.serve.registry import resolve_all, split
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import PrivateFolder, Refused


class Service:
    """What the routes share.

    Attributes:
        settings: As the service was started.
        engine: The network processes.
        monitor: Metrics.
        audit: Who asked what.
        jobs: Requests that are answered later.
        root: Folder of the uploads of this process.
    """

    def __init__(self, settings: ServeSettings, on_stop: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.audit = AuditLog(settings.audit_log)
        self._spoken: list[dict[str, Any]] = []  # decisions that were served last
        self.engine = NetworkPool(settings, resolve_all(settings.decision, settings.registry), on_stop)
        self.engine.on_served = self._note_switch
        self.monitor = Monitor(self.engine)
        self.jobs = Jobs(settings.job_keep_minutes * 60, settings.queue, int(settings.job_keep_mb * 1e6))
        self._private = PrivateFolder()
        self.root = self._private.path

    @property
    def inflated(self) -> int:
        """Largest content of an archive, in bytes."""
        return int(self.settings.max_inflated_mb * 1e6)

    def close(self) -> None:
        """End the processes and remove what is left of uploads."""
        self.engine.close()
        self._private.remove()

    def _note_switch(self, models: Sequence[ModelInfo]) -> None:
        """Write into the audit log which decisions answer from here on, where they are others than before."""
        spoken = [{"decision": one.name, "seal": one.seal, "served_as": one.served_as} for one in models]
        if spoken != self._spoken:
            self._spoken = spoken
            self.audit.write("served", decisions=spoken)

    async def follow(self) -> None:
        """Switch to what the registry has in production, for ever; to be cancelled."""
        while any(split(name) for name in self.settings.decision):
            await asyncio.sleep(self.settings.registry_seconds)
            try:
                targets = await asyncio.to_thread(resolve_all, self.settings.decision, self.settings.registry)
            except Exception as error:  # of any storage's own kind: the next look may find it well again
                print(f"the decisions served so far stay: {error}", file=sys.stderr, flush=True)
                continue
            if not self.engine.wants(targets):
                self.engine.switch(targets)

    def choose(self, request: Request, options: Options, endpoint: str, volume: bool | None) -> ModelInfo:
        """The decision that answers a request.

        Args:
            request: The request; its line in the log names the decision.
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
            models = [one for one in models if options.model in (one.name, *one.served_as)]
            if not models:
                names = ", ".join(name for one in self.engine.models for name in one.served_as)
                raise Refused(404, f"there is no decision of that name here: ask one of {names}")
        fitting = [one for one in models if fits(one, endpoint)]
        if not fitting:
            raise Refused(409, f"{models[0].name} {does(models[0])}: ask {endpoint_of(models[0])}")
        right = [one for one in fitting if volume is None or (one.dimensions == 3) == volume]
        if not right:
            raise misfit(fitting[0])
        request.state.decision, request.state.seal = right[0].name, right[0].seal
        return right[0]

    async def store(self, request: Request, folder: Path, most: int, *, apart: bool = False) -> StoredUploads:
        """Store the files of a request in its folder; see :func:`heldout.serve.intake.store`.

        Raises:
            Refused: the body is not an upload, or a part is not an image.
        """
        return await store(request, folder, most, self.inflated, apart=apart)

    def ask_of(self, request: Request, kind: Kind, model: ModelInfo, folder: Path, options: Options) -> Ask:
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
            model.seal,
            request.state.request_id,
            folder,
            threshold=threshold,
            n_samples=options.n_samples,
            tta=tta,
            target=target,
            files=options.files or options.return_binary,
            maps=options.maps or options.what == "probability",
            dicomseg=options.format == "dicomseg",
            preview=options.preview,
            thumbnail=options.thumbnail,
            pixel_mm=options.pixel_mm,
            slice_mm=options.slice_mm,
        )

    async def answer(
        self,
        request: Request,
        kind: Kind,
        model: ModelInfo,
        folder: Path,
        options: Options,
        *,
        counted: bool = True,
        told: Callable[[float], None] | None = None,
    ) -> list[Found]:
        """Have the networks answer, and count it.

        Args:
            request: The request.
            kind: What is wanted.
            model: The decision.
            folder: Where the uploads are.
            options: Of the request.
            counted: Whether its cases count as inputs of the decision; they do not where they were sent before.
            told: Called with the share that is done; such a request waits where the queue is full.
        """
        ask = self.ask_of(request, kind, model, folder, options)
        reply = await self.engine.ask(ask, patient=told is not None, told=told)
        assert isinstance(reply.found, list), "failures are raised"
        self.monitor.batches.observe(reply.batch)
        if counted:
            labels = [labels_of(model, one).get("prediction") for one in reply.found]
            self.monitor.answered(model.name, model.seal, reply.found, labels)
        return reply.found

    def origin(self, request: Request, model: ModelInfo) -> dict[str, Any]:
        """What every answer says of its origin."""
        return {
            "decision": model.name,
            "seal": model.seal,
            "sealed": model.sealed,
            "version": __version__,
            "request_id": request.state.request_id,
        }

    def head(self, request: Request, model: ModelInfo, found: Found) -> dict[str, Any]:
        """What every answer says of its origin, and of whether it may be relied on."""
        abstains = found.abstain is not None
        return (
            self.origin(request, model)
            | {
                "took_ms": _passed(request),
                "warnings": [*found.unusual, *found.warnings],
                "in_distribution": not found.unusual if found.measures else None,
                "abstain": bool(found.abstain) if abstains else None,
                "research_use_only": True,
            }
            | ({"abstain_reason": found.abstain or None} if abstains else {})
        )

    def shown(self, request: Request, model: ModelInfo, found: Found) -> dict[str, Any]:
        """An answer in JSON."""
        named = self.head(request, model, found) | labels_of(model, found)
        if found.areas is not None:
            named |= {
                "shape": list(found.shape),
                "spacing_mm": found.spacing_mm,
                "threshold": found.threshold,
                "areas": found.areas,
                "volumes_ml": found.volumes_ml,
                "detections": found.detections,
            }
        return named | files_of(found) | found.numbers

    def together(self, request: Request, model: ModelInfo, results: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer to a batch."""
        failed = sum("error" in result for result in results)
        known = [usual for one in results if (usual := one.get("in_distribution")) is not None]
        return self.origin(request, model) | {
            "took_ms": _passed(request),
            "warnings": [f"{failed} of {len(results)} files have no answer"] if failed else [],
            "in_distribution": all(known) if known else None,
            "count": len(results),
            "failed": failed,
            "results": results,
            "research_use_only": True,
        }


def _passed(request: Request) -> float:
    """Milliseconds since a request came."""
    return round((time.perf_counter() - request.state.started) * 1000, 2)


def files_of(found: Found) -> dict[str, Any]:
    """The files of an answer and what is for the screen, in JSON."""
    shown = {"preview": found.preview, "thumbnail": found.thumbnail}
    named: dict[str, Any] = {name: as_text(content) for name, content in shown.items() if content is not None}
    if found.areas is not None or found.files:
        named["files"] = {name: as_text(content) for name, content in found.files.items()}
    return named


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
