"""Readers of WebSockets on bare TCP: many in one thread, and such as do not read."""

import base64
import os
import selectors
import socket
import struct
from collections.abc import Callable, Iterator

TEXT, CLOSE, PING = 1, 8, 9


class BareReader:
    """A WebSocket from its handshake on. `code`: how the server closed it; it answers no close."""

    def __init__(self, url: str, path: str, token: str, *, room: int | None = None) -> None:
        """`room`: bytes of its receive buffer."""
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if room is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.connect((host, int(port)))
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        self._buffer = bytearray()
        self.code: int | None = None
        self.ended = False
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        assert head.split()[1] == b"101", head
        self._buffer[:] = rest

    def texts(self) -> list[bytes]:
        """What has come: waits for some, unless the socket is not blocking; nothing once it has ended."""
        if not self.ended:
            self._fill()
        return [payload for kind, payload in self._frames() if kind == TEXT]

    def _fill(self) -> None:
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.ended = not data
        self._buffer += data

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            kind, size, start = buffer[at] & 15, buffer[at + 1], at + 2
            if size == 126 and len(buffer) - at >= 4:
                size, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif size == 127 and len(buffer) - at >= 10:
                size, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            elif size >= 126:
                break
            if len(buffer) < start + size:
                break
            payload, at = bytes(buffer[start : start + size]), start + size
            if kind == CLOSE:
                (self.code,) = struct.unpack("!H", payload[:2])
            elif kind == PING:
                self.socket.send(b"\x8a" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload)
            yield kind, payload
        del buffer[:at]

    def close(self) -> None:
        self.socket.close()


def read_all(readers: list[BareReader], take: Callable[[BareReader, bytes], bool]) -> None:
    """Read them all as messages come, until `take` is true for one of each, or each has ended."""
    with selectors.DefaultSelector() as ready:
        for reader in readers:
            reader.socket.setblocking(False)
            ready.register(reader.socket, selectors.EVENT_READ, reader)
        left = set(readers)
        while left:
            for key, _ in ready.select():
                reader = key.data
                done = [take(reader, text) for text in reader.texts()]
                if any(done) or reader.ended:
                    left.discard(reader)
                    ready.unregister(reader.socket)
