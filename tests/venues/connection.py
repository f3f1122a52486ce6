"""A client's socket as a venue sees it: written by hand, so that a frame can end in its middle."""

import asyncio
import struct
from collections import deque
from typing import cast

from aiohttp import web

BUFFERED_BYTES_MAX = 1_000_000
REPEATABLE_FRAMES = 1_000


def text_frame(text: str) -> bytes:
    """One unmasked, uncompressed frame (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


class Connection:
    def __init__(self, ws: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self.ws = ws
        self.path = request.path
        self.transport = cast(asyncio.Transport, request.transport)
        self.channels: dict[str, str] = {}
        """Market → the channel by which its trades were asked for."""
        self.asked_before = 0
        """How many requests the venue had when it subscribed last."""
        self.deaf = False
        """Half-open: nothing is sent, nothing is answered."""
        self.broken = False
        """Sent to as before, but nobody counts on it any more."""
        self._out: list[bytes] = []
        self._recent: deque[bytes] = deque(maxlen=REPEATABLE_FRAMES)

    @property
    def gone(self) -> bool:
        return self.deaf or self.transport.is_closing()

    def put(self, frame: bytes) -> None:
        if not self.deaf:
            self._out.append(frame)

    def put_trades(self, frame: bytes) -> None:
        self.put(frame)
        self._recent.append(frame)

    def repeat(self, frames: int) -> None:
        """The last frames of trades are sent again."""
        for frame in list(self._recent)[-frames:]:
            self.put(frame)

    def say(self, text: str) -> None:
        self.put(text_frame(text))
        self.flush()

    def pong(self, payload: bytes) -> None:
        self.put(bytes((0x8A, len(payload))) + payload)
        self.flush()

    def flush(self) -> None:
        if self._out and not self.transport.is_closing():
            self.transport.write(b"".join(self._out))
        self._out.clear()

    async def drained(self) -> None:
        """Waits while the client is far behind."""
        while not self.gone and self.transport.get_write_buffer_size() > BUFFERED_BYTES_MAX:
            await asyncio.sleep(0.001)

    def cut(self, frame: bytes) -> None:
        """The frame ends in its middle, and the connection with it. What was sent before arrives."""
        self.put(frame[: len(frame) // 2])
        self.flush()
        self.transport.close()

    def close(self, code: int | None) -> None:
        """A close frame, with or without a code (RFC 6455, 5.5.1), and the end."""
        body = b"" if code is None else struct.pack("!H", code)
        self.put(bytes((0x88, len(body))) + body)
        self.flush()
        self.transport.close()
