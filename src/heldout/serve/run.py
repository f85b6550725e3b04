"""The web process: an HTTP server around the application, until it is told to end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from types import FrameType

import uvicorn

from heldout.blend.decision import load_decision
from heldout.deliver.kernel.bundle import check_trust, is_bundle, read_bundle
from heldout.errors import UserError
from heldout.serve.app import make_app
from heldout.serve.protocol import timed
from heldout.serve.registry import resolve_all
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import remove_leftovers


class _Server(uvicorn.Server):
    """A server for which being told to stop is no failure."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what uvicorn calls
        """Answer what has begun, then end; end at once where Ctrl-C is pressed again."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run(settings: ServeSettings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        UserError: a decision does not exist or is not what was validated, or the port is taken.
    """
    # what is misspelled or not trusted is said before a port is bound
    targets = resolve_all(settings.decision, settings.registry)
    for name in (target.decision for target in targets if target.bundle is None):
        if not is_bundle(name):
            if "/" in name and Path(name).is_dir():
                raise UserError(f"{name} holds no bundle: write one with `python run.py bundle NAME`")
            load_decision(name)
        elif len(settings.decision) > 1:
            raise UserError(f"{name} is a bundle, and a service holds one of them alone: start another service for it")
        else:
            check_trust(read_bundle(Path(name).resolve()), accept=settings.trust)
    remove_leftovers()
    listener = _bind(settings)
    server: uvicorn.Server | None = None

    def stop() -> None:
        if server is not None:
            server.should_exit = True

    app = make_app(settings, stop)
    config = uvicorn.Config(
        app,
        http=timed(settings.header_seconds),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=1 << 16,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    address, port = listener.getsockname()[:2]
    print(
        f"Serving {', '.join(settings.decision)} at http://{address}:{port}; the API is described at /docs", flush=True
    )
    print("The decisions are verified and their networks loaded first: /readyz answers 200 then.", flush=True)
    server.run(sockets=[listener])
    stopped = app.app.state.service.engine.stopped
    if stopped is not None:
        raise UserError(stopped)
    print("Stopped.", flush=True)


def _bind(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small packets at once only from sockets whose protocol is named
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"{settings.host}:{settings.port} cannot be bound ({error.strerror}): choose another --port or --host"
        ) from None
    return listener
