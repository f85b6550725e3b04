"""The endpoints."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from heldout import __version__
from heldout.serve import answers, uploads
from heldout.serve.answers import ModelInfo, Options, request_docs
from heldout.serve.corrections import CorrectionRecord
from heldout.serve.fitting import fits, is_volume, labels_of
from heldout.serve.messages import Found, Kind, as_text
from heldout.serve.service import Service, binary_of, files_of
from heldout.serve.uploads import Refused

_CLASSIFIED, _SEGMENTED = 100, 50  # most files of a batch
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Problem, "description": text}
    for status, text in {
        401: "a token is needed",
        409: "another endpoint or decision fits",
        413: "too large",
        415: "not an image",
        422: "the input does not fit",
        503: "busy, or not ready",
    }.items()
}


def info(service: Service) -> APIRouter:
    """What the service is, and whether it is well."""
    router = APIRouter(tags=["service"])

    @router.get("/healthz")
    @router.get("/health", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        """The web process lives."""
        return {"status": "ok", "version": __version__}

    @router.get("/readyz", responses={503: _PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """The decisions are verified and their networks loaded."""
        if service.engine.ready:
            return JSONResponse({"status": "ready", "models": [one.name for one in service.engine.models]})
        return JSONResponse({"detail": service.engine.stopped or "the networks are being loaded"}, status_code=503)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in Prometheus' format."""
        return Response(service.monitor.text(), media_type="text/plain; version=0.0.4")

    @router.get("/model/info", responses={404: {"model": answers.Problem}, 503: _PROBLEMS[503]})
    async def model_info(model: str | None = None) -> answers.Information:
        """What is served: seal, members, classes, thresholds, score with its interval, what goes in, model card."""
        chosen = service.choose(Options(model=model), "any", None)
        limits = answers.Limits(
            upload_mb=service.settings.max_upload_mb, classify_batch=_CLASSIFIED, segment_batch=_SEGMENTED
        )
        names = [one.name for one in service.engine.models]
        return answers.Information(**chosen.model_dump(), version=__version__, models=names, limits=limits)

    @router.get("/v1/models")
    async def models() -> list[ModelInfo]:
        """All decisions that are served, without their cards."""
        return [one.model_copy(update={"card": None}) for one in service.engine.models]

    @router.get("/v1/drift", responses={404: {"model": answers.Problem}, 503: _PROBLEMS[503]})
    async def drift(model: str | None = None) -> answers.Drift:
        """The last inputs of a decision beside its training images."""
        chosen = service.choose(Options(model=model), "any", None)
        inputs, unusual, medians = service.monitor.recent.summary(chosen.name)
        known = chosen.fingerprint
        measures = {
            name: (medians.get(name), known.lowest[name], known.middle[name], known.highest[name])
            for name in known.lowest
        }
        return answers.Drift(decision=chosen.name, inputs=inputs, unusual=unusual, measures=measures)

    return router


def images(service: Service) -> APIRouter:
    """Classification and segmentation, of one file or of several."""
    router = APIRouter()

    def one(path: str, kind: Kind, need: str, model: Any, tag: str, summary: str) -> None:
        async def endpoint(request: Request) -> JSONResponse:
            with uploads.request_folder(service.root) as folder:
                stored = await service.store(request, folder, 1)
                chosen = service.choose(stored.options, need, is_volume(stored.kinds))
                [found] = await service.answer(kind, chosen, folder, stored.options)
                named = service.shown(request, chosen, found)
            if kind == "gradcam":
                named |= {"heatmap": as_text(next(iter(found.files.values())))}
                named.pop("files", None)
            return JSONResponse(named)

        router.post(
            path, response_model=model, responses=_PROBLEMS, tags=[tag], summary=summary, openapi_extra=request_docs(1)
        )(endpoint)

    def several(path: str, need: str, most: int, tag: str, summary: str) -> None:
        async def endpoint(request: Request) -> JSONResponse:
            with uploads.request_folder(service.root) as folder:
                stored = await service.store(request, folder, most, apart=True)
                chosen = service.choose(stored.options, need, is_volume(stored.kinds))
                room = asyncio.Semaphore(max(1, service.settings.queue // 2))  # the rest is for other requests

                async def answer(place: Path) -> dict[str, Any]:
                    try:
                        if place in stored.failed:
                            raise stored.failed[place]
                        async with room:
                            [found] = await service.answer("predict", chosen, place, stored.options)
                    except Refused as error:
                        return {"error": error.detail, "status": error.status}
                    return service.shown(request, chosen, found)

                results = await asyncio.gather(*map(answer, stored.folders))
            failed = sum("error" in result for result in results)
            return JSONResponse({"count": len(results), "failed": failed, "results": results})

        router.post(
            path,
            response_model=answers.Batch,
            responses=_PROBLEMS,
            tags=[tag],
            summary=summary,
            openapi_extra=request_docs(most),
        )(endpoint)

    one(
        "/classify",
        "predict",
        "classify",
        answers.Classification | answers.Numbers,
        "classification",
        "Classify an image or a volume; a regression answers its numbers, grades have one more field",
    )
    one(
        "/classify/gradcam",
        "gradcam",
        "explain",
        answers.GradCam,
        "classification",
        "Classify and explain by Grad-CAM",
    )
    several("/classify/batch", "classify", _CLASSIFIED, "classification", f"Classify up to {_CLASSIFIED} images")
    one("/segment", "predict", "segment", answers.Segmentation, "segmentation", "Segment an image or a volume")
    one(
        "/segment/uncertainty",
        "uncertainty",
        "segment",
        answers.Uncertain,
        "segmentation",
        "Segment, and say how far dropout, flips and networks agree",
    )
    several("/segment/batch", "segment", _SEGMENTED, "segmentation", f"Segment up to {_SEGMENTED} images")
    one("/multitask", "predict", "multitask", answers.Segmentation, "both", "Both heads of a network of two heads")
    return router


def volumes(service: Service) -> APIRouter:
    """Patients, files as they are, and jobs."""
    router = APIRouter()

    @router.post(
        "/patient/analyze_stack",
        response_model=answers.Stack,
        responses=_PROBLEMS,
        tags=["patients"],
        summary="A patient: slices, a NIfTI volume, or a zip of DICOM files",
        openapi_extra=request_docs(1000),
    )
    async def analyze_stack(request: Request) -> JSONResponse:
        with uploads.request_folder(service.root) as folder:
            stored = await service.store(request, folder, 1000)
            chosen = service.choose(stored.options, "stack", None)
            fitting = [one for one in service.engine.models if fits(one, "stack")]
            right = [one for one in fitting if (one.dimensions == 3) == is_volume(stored.kinds)]
            if stored.options.model is None and right:
                chosen = right[0]
            [found] = await service.answer("stack", chosen, folder, stored.options)
        named = service.head(request, chosen, found) | labels_of(chosen, found) | {"volumes_ml": found.volumes_ml}
        numbers = dict(found.numbers)
        named["slice_probabilities"] = numbers.pop("probabilities", None)
        if stored.options.preview:
            named |= files_of(found)
        return JSONResponse(named | numbers)

    async def predicted(request: Request, folder: Path) -> tuple[ModelInfo, Options, Found]:
        stored = await service.store(request, folder, 1)
        chosen = service.choose(stored.options, "any", is_volume(stored.kinds))
        [found] = await service.answer("predict", chosen, folder, stored.options)
        return chosen, stored.options, found

    @router.post(
        "/v1/predict",
        response_model=answers.Segmentation | answers.Classification | answers.Numbers,
        responses=_PROBLEMS,
        tags=["any decision"],
        summary="What `predict` says of a file; with return_binary=true the mask on the input's own grid",
        openapi_extra=request_docs(1),
    )
    async def predict(request: Request) -> Response:
        with uploads.request_folder(service.root) as folder:
            chosen, options, found = await predicted(request, folder)
        if options.return_binary:
            return binary_of(chosen, options, found)
        return JSONResponse(service.shown(request, chosen, found))

    @router.post("/v1/jobs", status_code=202, responses=_PROBLEMS, tags=["jobs"], openapi_extra=request_docs(1))
    async def start_job(request: Request) -> dict[str, Any]:
        """Take a file and answer later: the same options as `/v1/predict`."""
        folder = Path(tempfile.mkdtemp(dir=service.root))
        try:
            stored = await service.store(request, folder, 1)
            options = stored.options
            chosen = service.choose(options, "any", is_volume(stored.kinds))
            service.ask_of("predict", chosen, folder, options)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

        async def work() -> tuple[dict[str, Any], Response | None]:
            try:
                [found] = await service.answer("predict", chosen, folder, options)
                binary = binary_of(chosen, options, found) if options.return_binary else None
                return service.shown(request, chosen, found), binary
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        return service.jobs.start(work)

    @router.post("/v1/corrections", status_code=201, responses=_PROBLEMS, tags=["review"])
    async def correct(request: Request) -> CorrectionRecord:
        """Keep a review: fields `file`, `model`, `verdict` (accepted, corrected, rejected), `mask` and `comment`."""
        with uploads.request_folder(service.root) as folder:
            return await service.correction(request, folder)

    @router.get("/v1/jobs/{job}", tags=["jobs"], responses={404: {"model": answers.Problem}})
    async def job_state(job: str) -> dict[str, Any]:
        """How far a job is."""
        return service.jobs.state(job)

    @router.get("/v1/jobs/{job}/events", tags=["jobs"], responses={404: {"model": answers.Problem}})
    async def job_events(job: str) -> Response:
        """Server-sent events: one line of state whenever it changes, the last when it ended."""
        service.jobs.state(job)
        return StreamingResponse(service.jobs.events(job), media_type="text/event-stream")

    @router.get("/v1/jobs/{job}/result", tags=["jobs"], responses={404: {"model": answers.Problem}, **_PROBLEMS})
    async def job_result(job: str) -> Response:
        """The answer, as `/v1/predict` gives it."""
        shown, binary = service.jobs.result(job)
        return binary or JSONResponse(shown)

    @router.delete("/v1/jobs/{job}", status_code=204, tags=["jobs"], responses={404: {"model": answers.Problem}})
    async def end_job(job: str) -> Response:
        """Stop a job and forget its answer."""
        service.jobs.end(job)
        return Response(status_code=204)

    return router
