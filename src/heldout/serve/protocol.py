"""HTTP connections that are closed where the head of a request does not arrive in time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def timed(seconds: float) -> type[H11Protocol]:
    """The protocol of uvicorn with a time limit for heads; the guard limits the time of bodies.

    Args:
        seconds: The limit, from the connection, or from the first byte of a later request.
    """

    class Timed(H11Protocol):
        _limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._limit = self.loop.call_later(seconds, self._give_up)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_busy():
                self._forget_limit()
            elif self._limit is None:
                self._limit = self.loop.call_later(seconds, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_limit()
            super().connection_lost(exc)

        def _is_busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _forget_limit(self) -> None:
            if self._limit is not None:
                self._limit.cancel()
            self._limit = None

        def _give_up(self) -> None:
            if not self._is_busy() and not self.transport.is_closing():
                self.transport.write(_LATE)
                self.transport.close()

    return Timed
