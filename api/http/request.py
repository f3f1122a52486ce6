"""The server's end of an HTTP connection: uvicorn's, which waits for a whole request for a bounded time."""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0
"""So long a request may take to arrive: whoever opens connections and says little needs no token for it."""


class Http(H11Protocol):
    """The protocol of one HTTP connection."""

    _late: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect(True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_http = self in self.connections  # no longer, when it has become a WebSocket
        self._expect(is_http and self.conn.their_state in (h11.IDLE, h11.SEND_BODY))

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(False)
        super().connection_lost(exc)

    def _expect(self, more: bool) -> None:
        """Between two requests nothing is expected, and uvicorn's own patience is shorter."""
        if not more and self._late is not None:
            self._late.cancel()
            self._late = None
        elif more and self._late is None:
            self._late = self.loop.call_later(REQUEST_S, cast(Transport, self.transport).abort)
