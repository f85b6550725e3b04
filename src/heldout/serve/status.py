"""The endpoints that say what the service is, and whether it is well."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from heldout import __version__, files
from heldout.serve import answers
from heldout.serve.answers import PROBLEMS, ModelInfo
from heldout.serve.options import MOST_CLASSIFIED, MOST_SEGMENTED, Options
from heldout.serve.service import Service
from heldout.serve.uploads import Refused


def info(service: Service) -> APIRouter:
    """What the service is, and whether it is well."""
    router = APIRouter(tags=["service"])

    @router.get("/healthz")
    @router.head("/healthz", include_in_schema=False)
    @router.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz() -> dict[str, str]:
        """The web process lives."""
        return {"status": "ok", "version": __version__}

    @router.get("/readyz", responses={503: PROBLEMS[503]})
    @router.head("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        """The decisions are verified and their networks loaded."""
        if service.engine.ready:
            return JSONResponse({"status": "ready", "models": [one.name for one in service.engine.models]})
        return JSONResponse({"detail": service.engine.stopped or "the networks are being loaded"}, status_code=503)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Metrics in Prometheus' format."""
        return Response(service.monitor.text(), media_type="text/plain; version=0.0.4")

    @router.get("/model/info", responses={404: {"model": answers.Problem}, 503: PROBLEMS[503]})
    async def model_info(request: Request, model: str | None = None) -> answers.Information:
        """What is served: seal, members, classes, thresholds, score with its interval, what goes in, model card."""
        chosen = service.choose(request, Options(model=model), "any", None)
        limits = answers.Limits(
            upload_mb=service.settings.max_upload_mb, classify_batch=MOST_CLASSIFIED, segment_batch=MOST_SEGMENTED
        )
        names = [one.name for one in service.engine.models]
        return answers.Information(
            **chosen.model_dump(), version=__version__, models=names, limits=limits, leaderboard=_board().is_file()
        )

    @router.get("/v1/models")
    async def models() -> list[ModelInfo]:
        """All decisions that are served, without their cards."""
        return [one.model_copy(update={"card": None}) for one in service.engine.models]

    @router.get("/leaderboard", response_class=HTMLResponse, responses={404: {"model": answers.Problem}})
    async def leaderboard() -> Response:
        """The leaderboard of this home, as it was last written."""
        if not _board().is_file():
            raise Refused(404, "there is no leaderboard here: `python run.py leaderboard` writes it")
        return HTMLResponse(_board().read_text())

    @router.get("/v1/drift", responses={404: {"model": answers.Problem}, 503: PROBLEMS[503]})
    async def drift(request: Request, model: str | None = None) -> answers.Drift:
        """The last inputs of a decision beside its training images."""
        chosen = service.choose(request, Options(model=model), "any", None)
        inputs, unusual, medians = service.monitor.recent.summary(chosen.seal)
        known = chosen.fingerprint
        measures = {
            name: (medians.get(name), known.lowest[name], known.middle[name], known.highest[name])
            for name in known.lowest
        }
        return answers.Drift(decision=chosen.name, inputs=inputs, unusual=unusual, measures=measures)

    return router


def _board() -> Path:
    return files.home() / "working" / "leaderboard.html"
