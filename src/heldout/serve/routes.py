"""The endpoints that predict."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from heldout.serve import answers, examples, uploads
from heldout.serve.answers import PROBLEMS, ModelInfo
from heldout.serve.corrections import CorrectionRecord
from heldout.serve.fitting import fits, labels_of, misfit
from heldout.serve.log import FAILED, log_failure
from heldout.serve.messages import Found, Kind, as_text
from heldout.serve.options import MOST_CLASSIFIED, MOST_SEGMENTED, Options, request_docs
from heldout.serve.review import review
from heldout.serve.service import Service, binary_of, files_of
from heldout.serve.uploads import Refused

_LOST: dict[int | str, dict[str, Any]] = {
    404: {"model": answers.Problem, "description": "there is no such job"},
    410: {"model": answers.Problem, "description": "the service was started again since"},
}


def images(service: Service) -> APIRouter:
    """Classification and segmentation, of one file or of several."""
    router = APIRouter()

    def one(path: str, kind: Kind, need: str, model: Any, example: Any, tag: str, summary: str) -> None:
        async def endpoint(request: Request) -> JSONResponse:
            with uploads.request_folder(service.root) as folder:
                stored = await service.store(request, folder, 1)
                chosen = service.choose(request, stored.options, need, stored.volume)
                # an uncertainty, and what explains a further class, are of an image that was sent before
                fresh = kind != "uncertainty" and stored.options.target is None
                [found] = await service.answer(request, kind, chosen, folder, stored.options, counted=fresh)
                named = service.shown(request, chosen, found)
            if kind == "gradcam":
                named |= {"heatmap": as_text(next(iter(found.files.values())))}
                named.pop("files", None)
            return JSONResponse(named)

        router.post(
            path,
            response_model=model,
            responses=PROBLEMS | examples.shown(example),
            tags=[tag],
            summary=summary,
            openapi_extra=request_docs(1),
        )(endpoint)

    def several(path: str, need: str, most: int, tag: str, summary: str) -> None:
        async def endpoint(request: Request) -> JSONResponse:
            with uploads.request_folder(service.root) as folder:
                stored = await service.store(request, folder, most, apart=True)
                chosen = service.choose(request, stored.options, need, stored.volume)
                room = asyncio.Semaphore(max(1, service.settings.queue // 2))  # the rest is for other requests

                async def answer(place: Path) -> dict[str, Any]:
                    try:
                        if place in stored.failed:
                            raise stored.failed[place]
                        if stored.is_volume(place) != (chosen.dimensions == 3):
                            raise misfit(chosen)
                        async with room:
                            [found] = await service.answer(request, "predict", chosen, place, stored.options)
                    except Refused as error:
                        return service.origin(request, chosen) | {"error": error.detail, "status": error.status}
                    except Exception as error:  # ours, and no reason to lose the others
                        log_failure(request.state.request_id, error)
                        return service.origin(request, chosen) | {"error": FAILED, "status": 500}
                    return service.shown(request, chosen, found)

                results = await asyncio.gather(*map(answer, stored.folders))
            return JSONResponse(service.together(request, chosen, results))

        router.post(
            path,
            response_model=answers.Batch,
            responses=PROBLEMS | examples.shown(examples.BATCH),
            tags=[tag],
            summary=summary,
            openapi_extra=request_docs(most),
        )(endpoint)

    one(
        "/classify",
        "predict",
        "classify",
        answers.Classification | answers.Numbers,
        examples.CLASSIFICATION,
        "classification",
        "Classify an image or a volume; a regression answers its numbers, grades have one more field",
    )
    one(
        "/classify/gradcam",
        "gradcam",
        "explain",
        answers.GradCam,
        examples.GRAD_CAM,
        "classification",
        "Classify and explain by Grad-CAM",
    )
    several(
        "/classify/batch", "classify", MOST_CLASSIFIED, "classification", f"Classify up to {MOST_CLASSIFIED} images"
    )
    one(
        "/segment",
        "predict",
        "segment",
        answers.Segmentation,
        examples.SEGMENTATION,
        "segmentation",
        "Segment an image or a volume",
    )
    one(
        "/segment/uncertainty",
        "uncertainty",
        "segment",
        answers.Uncertain,
        examples.UNCERTAIN,
        "segmentation",
        "Segment, and say how far dropout, flips and networks agree",
    )
    several("/segment/batch", "segment", MOST_SEGMENTED, "segmentation", f"Segment up to {MOST_SEGMENTED} images")
    one(
        "/multitask",
        "predict",
        "multitask",
        answers.Segmentation,
        examples.SEGMENTATION,
        "both",
        "Both heads of a network of two heads",
    )
    return router


def volumes(service: Service) -> APIRouter:
    """Patients, files as they are, and jobs."""
    router = APIRouter()

    def answer_of(request: Request, chosen: ModelInfo, options: Options, found: Found) -> Response:
        if options.return_binary:
            return binary_of(chosen, options, found)
        return JSONResponse(service.shown(request, chosen, found))

    @router.post(
        "/patient/analyze_stack",
        response_model=answers.Stack,
        responses=PROBLEMS | examples.shown(examples.STACK),
        tags=["patients"],
        summary="A patient: slices, a NIfTI volume, or a zip of DICOM files",
        openapi_extra=request_docs(1000),
    )
    async def analyze_stack(request: Request) -> JSONResponse:
        with uploads.request_folder(service.root) as folder:
            stored = await service.store(request, folder, 1000)
            fitting = [one for one in service.engine.models if fits(one, "stack")]
            right = any((one.dimensions == 3) == stored.volume for one in fitting)  # else a volume is cut into slices
            named_or_cut = stored.options.model is not None or not right
            chosen = service.choose(request, stored.options, "stack", None if named_or_cut else stored.volume)
            [found] = await service.answer(request, "stack", chosen, folder, stored.options)
        named = service.head(request, chosen, found) | labels_of(chosen, found) | {"volumes_ml": found.volumes_ml}
        numbers = dict(found.numbers)
        named["slice_probabilities"] = numbers.pop("probabilities", None)
        if stored.options.preview:
            named |= files_of(found)
        return JSONResponse(named | numbers)

    @router.post(
        "/v1/predict",
        response_model=answers.Segmentation | answers.Classification | answers.Numbers,
        responses=PROBLEMS | examples.shown(examples.SEGMENTATION),
        tags=["any decision"],
        summary="What `predict` says of a file; with return_binary=true the mask on the input's own grid",
        openapi_extra=request_docs(1),
    )
    async def predict(request: Request) -> Response:
        with uploads.request_folder(service.root) as folder:
            stored = await service.store(request, folder, 1)
            chosen = service.choose(request, stored.options, "any", stored.volume)
            [found] = await service.answer(request, "predict", chosen, folder, stored.options)
        return answer_of(request, chosen, stored.options, found)

    @router.post(
        "/v1/jobs",
        status_code=202,
        response_model=answers.JobState,
        response_model_exclude_none=True,
        responses=PROBLEMS,
        tags=["jobs"],
        openapi_extra=request_docs(1),
    )
    async def start_job(request: Request) -> dict[str, Any]:
        """Take a file and answer later: the same options as `/v1/predict`."""
        folder = Path(tempfile.mkdtemp(dir=service.root))
        files = folder / "files"
        files.mkdir()
        try:
            stored = await service.store(request, files, 1)
            options = stored.options
            chosen = service.choose(request, options, "any", stored.volume)
            service.ask_of(request, "predict", chosen, files, options)

            async def work(told: Callable[[float], None]) -> Response:
                [found] = await service.answer(request, "predict", chosen, files, options, told=told)
                return answer_of(request, chosen, options, found)

            return service.jobs.start(work, folder, service.origin(request, chosen))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @router.post("/v1/corrections", status_code=201, responses=PROBLEMS, tags=["review"])
    async def correct(request: Request) -> CorrectionRecord:
        """Keep a review: fields `file`, `model`, `verdict` (accepted, corrected, rejected), `mask` and `comment`.

        Any prediction can be accepted or rejected; `mask` belongs to `corrected`, where each voxel has one label.
        `seal` is that of the prediction that was reviewed: where another decision took over since, nothing is kept.
        """
        with uploads.request_folder(service.root) as folder:
            return await review(service, request, folder)

    @router.get(
        "/v1/jobs/{job}",
        response_model=answers.JobState,
        response_model_exclude_none=True,
        tags=["jobs"],
        responses=_LOST | examples.shown(examples.JOB),
    )
    async def job_state(job: str) -> dict[str, Any]:
        """How far a job is."""
        return service.jobs.state(job)

    @router.get("/v1/jobs/{job}/events", tags=["jobs"], responses=_LOST)
    async def job_events(job: str) -> Response:
        """Server-sent events: one line of state whenever it changes, the last when it ended."""
        service.jobs.state(job)
        return StreamingResponse(service.jobs.events(job), media_type="text/event-stream")

    @router.get("/v1/jobs/{job}/result", tags=["jobs"], responses=_LOST | PROBLEMS)
    async def job_result(job: str) -> Response:
        """The answer, as `/v1/predict` gives it."""
        return await service.jobs.result(job)

    @router.delete("/v1/jobs/{job}", status_code=204, tags=["jobs"], responses=_LOST)
    async def end_job(job: str) -> Response:
        """Stop a job and forget its answer."""
        service.jobs.end(job)
        return Response(status_code=204)

    return router
