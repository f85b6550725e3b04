"""The service as an ASGI application: routes, errors, documentation and guard around one engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from heldout import __version__
from heldout.files import FULL
from heldout.serve import routes, status
from heldout.serve.guard import OPEN, Guard
from heldout.serve.intake import sentence_of
from heldout.serve.log import FAILED
from heldout.serve.service import Service
from heldout.serve.settings import ServeSettings, read_tokens
from heldout.serve.uploads import Refused

PAGE = Path(__file__).parent / "page" / "dist"


def make_app(settings: ServeSettings, on_stop: Callable[[], None] = lambda: None) -> Guard:
    """The application.

    Args:
        settings: Its settings.
        on_stop: Called where the decisions cannot be served.

    Raises:
        UserError: the tokens cannot be read, or the service would be open to other machines without any.
    """
    tokens = read_tokens(settings)
    service = Service(settings, on_stop)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        tasks = [asyncio.create_task(act()) for act in (service.jobs.sweep, service.follow, service.engine.watch)]
        yield
        for task in tasks:
            task.cancel()
        service.close()

    app = FastAPIOffline(
        title="heldout",
        version=__version__,
        description="Sealed decisions over HTTP. Research use only: not a medical device.",
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(status.info(service))
    app.include_router(routes.images(service))
    app.include_router(routes.volumes(service))
    _page(app)
    _errors(app)
    if tokens:
        _document_tokens(app)
    if settings.allow_origins:
        from starlette.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.allow_origins), allow_methods=["*"], allow_headers=["*"]
        )
    return Guard(app, settings, tokens, service.monitor.seen, service.audit)


def _page(app: FastAPI) -> None:
    """The review page, where it was built."""
    built = (PAGE / "index.html").is_file()
    if built:
        app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> HTMLResponse:
        if built:
            return HTMLResponse((PAGE / "index.html").read_text())
        text = "The review page was not built: run `make page`. The API is described at <a href='/docs'>/docs</a>."
        return HTMLResponse(f"<!doctype html><html lang='en'><title>heldout</title><p>{text}</p>")


def _errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused), "registered for it"
        headers = {"retry-after": "1"} if error.status == 503 else {}
        return JSONResponse({"detail": error.detail}, status_code=error.status, headers=headers)

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException), "registered for it"
        status = 422 if error.status_code == 400 else error.status_code
        return JSONResponse({"detail": str(error.detail)}, status_code=status, headers=error.headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError), "registered for it"
        return JSONResponse({"detail": sentence_of(error.errors())}, status_code=422)

    async def full(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, OSError) and error.errno in FULL:
            detail = "the disk for uploads is full: tell whoever runs this service"
            return JSONResponse({"detail": detail}, status_code=507)
        raise error

    async def failed(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - the guard logs it
        return JSONResponse({"detail": FAILED}, status_code=500)

    app.add_exception_handler(OSError, full)
    app.add_exception_handler(Exception, failed)
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _document_tokens(app: FastAPI) -> None:
    """Say in the API's description that requests carry a bearer token."""
    schema = app.openapi()  # kept by the application
    schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}]
    for path in OPEN & schema["paths"].keys():
        for operation in schema["paths"][path].values():
            operation["security"] = []
