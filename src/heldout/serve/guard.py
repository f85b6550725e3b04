"""What every request passes: its id, the token, limits of its body, security headers, a line of the log."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from heldout.serve.audit import AuditLog
from heldout.serve.log import FAILED, log, log_failure
from heldout.serve.settings import ServeSettings
from heldout.serve.uploads import Refused

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]

OPEN = frozenset({"/healthz", "/health", "/readyz"})  # asked by those that watch the service, without a token
_DOCS = ("/docs", "/redoc", "/static-offline-docs", "/openapi.json")
_READS = ("GET", "HEAD", "OPTIONS")
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "worker-src 'self' blob:; connect-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_DOCS_POLICY = _POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
_BOARD_POLICY = (  # one page of ours with its own script, which loads nothing
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application around another.

    Args:
        app: The application.
        settings: Limits.
        tokens: Name by token of those who may ask; empty where anybody may.
        seen: Called with path template, status and seconds of every request.
        audit: Gets a line for every request but those of pages and of what watches the service.
    """

    def __init__(
        self,
        app: Any,
        settings: ServeSettings,
        tokens: Mapping[str, str],
        seen: Callable[[str, int, float], None],
        audit: AuditLog,
    ) -> None:
        self.app = app
        self.settings = settings
        self.tokens = {token.encode(): name for token, name in tokens.items()}
        self.seen = seen
        self.audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; websockets are refused by having no route."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, request_id = time.perf_counter(), uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state |= {"request_id": request_id, "started": start, "reviewer": None, "decision": None, "seal": None}
        status, begun = 500, False

        async def answered(message: dict[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message.get("headers", ()), *self._headers(scope["path"], request_id)]
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await _answer(answered, *refusal)
            else:
                await self.app(scope, self._limited(scope, receive), answered)
        except Exception as error:
            log_failure(request_id, error)
            if not begun:
                await _answer(answered, 500, FAILED)
        finally:
            seconds = time.perf_counter() - start
            route = scope.get("route")
            path = getattr(route, "path", "unknown")
            self.seen(path, status, seconds)
            line = {
                "request_id": request_id,
                "method": scope["method"],
                "route": path,  # and not the path, so that no name of a file or a patient is logged
                "status": status,
                "took_ms": round(seconds * 1000, 1),
                **{name: state[name] for name in ("reviewer", "decision", "seal")},
                **state.get("review", {}),
            }
            log(**line)
            told = self._is_guarded(scope["path"]) and scope["path"] not in OPEN | {"/metrics"}
            if told and self.audit.path is not None:
                await asyncio.to_thread(self.audit.write, "request", **line)

    def _headers(self, path: str, request_id: str) -> list[tuple[bytes, bytes]]:
        policy = _DOCS_POLICY if path.startswith(_DOCS) else _BOARD_POLICY if path == "/leaderboard" else _POLICY
        named = HEADERS | {"content-security-policy": policy, "x-request-id": request_id}
        return [(name.encode(), value.encode()) for name, value in named.items()]

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "the header Content-Length is not a number: send the length of the body"
        if int(length) > self.settings.max_upload_mb * 1e6:
            return 413, f"the body is larger than {self.settings.max_upload_mb:g} MB: send less"
        if scope["path"] in OPEN:
            return None
        if not self.tokens:
            return self._elsewhere(scope["method"], headers)
        if not self._is_guarded(scope["path"]) or self._asks_leave(scope["method"], headers):
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        found = None
        for token, name in self.tokens.items():  # all are compared, so that the time says nothing
            if hmac.compare_digest(token, given.strip()) and kind.lower() == b"bearer":
                found = name
        if found is None:
            return 401, "a token is needed: send the header `Authorization: Bearer <token>`"
        scope["state"]["reviewer"] = found
        return None

    def _elsewhere(self, method: str, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
        """Refuse what a page of another site asks through a browser, where no token keeps it from that."""
        host = headers.get(b"host", b"").decode("latin-1")
        name = urlsplit(f"//{host}").hostname or ""
        if not (_is_loopback(name) or name in (self.settings.host, *self.settings.allow_hosts)):
            return 421, "this service has another name: ask for localhost, or set HELDOUT_SERVE_ALLOW_HOSTS"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if method in _READS or not origin or origin in self.settings.allow_origins:
            return None
        if urlsplit(origin).netloc == host:
            return None
        return 403, "a page of another site asks: use the page of this service, or set HELDOUT_SERVE_ALLOW_ORIGINS"

    def _asks_leave(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a browser asks if it may send a request, which it does without the token."""
        return bool(self.settings.allow_origins) and method == "OPTIONS" and b"access-control-request-method" in headers

    @staticmethod
    def _is_guarded(path: str) -> bool:
        """Whether a path needs the token: all but the page's own files, which hold no data."""
        return not (path == "/" or path.startswith(("/page/", *_DOCS)))

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        kinds = [value.strip().lower() for name, value in scope["headers"] if name == b"content-type"]
        form = bool(kinds) and all(kind.startswith(b"multipart/form-data") for kind in kinds)
        most = self.settings.max_upload_mb if form else self.settings.max_json_mb
        left = most * 1e6
        until = time.monotonic() + self.settings.upload_seconds
        complete = False

        async def limited() -> dict[str, Any]:
            nonlocal left, complete
            if complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.01, until - time.monotonic()))
            except TimeoutError:
                raise Refused(408, f"the body did not arrive within {self.settings.upload_seconds:g} s") from None
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if left < 0:
                    raise Refused(413, f"the body is larger than {most:g} MB: send less")
            return message

        return limited


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
