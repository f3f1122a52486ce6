"""Real host names that lead to fakes on loopback, and no other name anywhere."""

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.venues.authority import client_context

if TYPE_CHECKING:
    from tests.venues.fake import FakeVenue


class OnlyVenues(AbstractResolver):
    def __init__(self, venues: "Sequence[FakeVenue]") -> None:
        self._venues = venues

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        for venue in self._venues:
            if host in venue.hosts:
                return [
                    ResolveResult(
                        hostname=host,
                        host="127.0.0.1",
                        port=venue.port,
                        family=socket.AF_INET,
                        proto=0,
                        flags=0,
                    )
                ]
        for venue in self._venues:
            venue.refused_names.append(host)
        names = ", ".join(name for venue in self._venues for name in venue.hosts)
        raise OSError(errno.EADDRNOTAVAIL, f"a test asked for {host}; only {names} are here")

    async def close(self) -> None:
        pass


def connector_to(venues: "Sequence[FakeVenue]") -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        resolver=OnlyVenues(venues), ssl=client_context(), use_dns_cache=False, family=socket.AF_INET
    )
