"""The server's end of a WebSocket: uvicorn's, with little room for what its reader has not taken.

Whoever sends here sends only while the wire is free: while everything sent before is with the kernel, which
is given little room too. So what waits for a reader is bounded, and a reader that stands still is known by a
wire that stays taken.

Why: ADR 13.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from asyncio import Transport
from asyncio.transports import BaseTransport
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode

from infra.process.telemetry import SOCKETS_CUT_OFF

KERNEL_BYTES = 16_384
"""Size of the kernel's send buffer."""
KERNEL_BYTES_MAX = 32_000
"""More is sent only while at most so many bytes are in that buffer: it lets one packet of 64 kB grow."""
KERNEL_STEP_S = 0.01
IN_BYTES_MAX = 1_024
"""Readers have nothing to say."""
CLOSE_S = 5.0
"""So long a reader may take to answer a close; then the connection is reset."""
SHUTDOWN_S = 1.0
REASON_BYTES_MAX = 123
TOO_SLOW = 4408
"""Close code of a reader that was cut off."""
_INT = struct.Struct("i")
_KEY = "tcpdashboard.wire"


class Wire(WebSocketsSansIOProtocol):
    """The protocol of one WebSocket; `wire_of` finds it from a route."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        # with no room at all `writable` says that everything is with the kernel
        cast(Transport, transport).set_write_buffer_limits(high=0)
        bare = transport.get_extra_info("socket")
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self._handle: int = bare.fileno()

    async def run_asgi(self) -> None:
        cast(Scope, self.scope)["extensions"][_KEY] = self
        await super().run_asgi()
        if self.close_timer is None:  # closed by the reader, who may still not take what was sent
            self.loop.call_later(CLOSE_S, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # refused with a status: else uvicorn reports that nobody answered

    @property
    def is_free(self) -> bool:
        return self.writable.is_set() and self._kernel_bytes() <= KERNEL_BYTES_MAX

    @property
    def queued(self) -> int:
        """Bytes that wait for the reader, here and in the kernel."""
        return self._kernel_bytes() + self.transport.get_write_buffer_size()

    async def free(self) -> None:
        """Returns when the wire is free, or the reader is gone."""
        await self.writable.wait()
        while not self.is_free:  # of what the kernel holds nobody tells
            await asyncio.sleep(KERNEL_STEP_S)
            await self.writable.wait()

    def _kernel_bytes(self) -> int:
        if self.transport.is_closing():
            return 0
        (size_bytes,) = _INT.unpack(fcntl.ioctl(self._handle, termios.TIOCOUTQ, bytes(_INT.size)))
        return size_bytes

    def push(self, frames: bytes) -> None:
        """Send whole frames, as `text_frame` makes them; nothing when the socket is closing."""
        if not (self.close_sent or self.transport.is_closing()):
            self.transport.write(frames)

    def end(self, code: int, reason: str) -> None:
        """Close, behind what is sent; the connection is reset when the reader does not answer in time."""
        if self.close_sent or self.transport.is_closing():
            return
        if code == TOO_SLOW:
            SOCKETS_CUT_OFF.inc()
        self.stop_keepalive()
        try:
            self.conn.send_close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        except InvalidState:  # the reader has closed just now
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Answered while there is room: whoever asks and asks and reads nothing would fill the memory."""
        output = b"".join(self.conn.data_to_send())
        if self.queued + len(output) <= KERNEL_BYTES_MAX:
            self.transport.write(output)

    def keepalive_timeout(self) -> None:
        """No answer to a ping: the reader is gone or stands still."""
        self.end(TOO_SLOW, "no answer to a ping; reconnect with since")

    def shutdown(self) -> None:
        """The server ends: say so, and wait for nobody."""
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1012})
            self.end(1012, "the server ends; reconnect with since")
        else:
            super().shutdown()
        self.loop.call_later(SHUTDOWN_S, self.transport.abort)


def wire_of(scope: Scope) -> Wire:
    """The wire of a socket that a route was given."""
    return scope["extensions"][_KEY]


def text_frame(text: bytes) -> bytes:
    """A whole frame, the same for every reader: servers mask nothing, and nothing is compressed."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)
