"""A proxy on loopback that leads the venues' real names to their fakes and no other name anywhere."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.venues.fake import FakeVenue

CHUNK_BYTES = 65_536


class Proxy:
    """HTTP `CONNECT` (RFC 9110, 9.3.6) alone."""

    def __init__(self, venues: Sequence[FakeVenue]) -> None:
        self._venues = venues
        self._tunnels: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for tunnel in self._tunnels:
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnel = asyncio.ensure_future(self._tunnel(reader, writer))
        self._tunnels.add(tunnel)
        tunnel.add_done_callback(self._tunnels.discard)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            port = self._port(target.partition(":")[0]) if method == "CONNECT" else None
            if port is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            venue_reader, venue_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(venue_writer)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pass_on(reader, venue_writer), pass_on(venue_reader, writer))
        except ConnectionRefusedError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client or a venue that is gone: what a test is about
        finally:
            for each in writers:
                each.close()

    def _port(self, host: str) -> int | None:
        for venue in self._venues:
            if host in venue.hosts:
                return venue.port
        for venue in self._venues:
            venue.refused_names.append(host)
        return None


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of one side, which ends the other."""
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
