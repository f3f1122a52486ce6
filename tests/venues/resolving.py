"""Real host names that lead to fakes on loopback, and no other name anywhere."""

import errno
import socket
import ssl
from collections.abc import Sequence
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.venues.authority import client_context


class Reachable(Protocol):
    """A fake, in whatever process it is."""

    @property
    def hosts(self) -> tuple[str, ...]: ...

    @property
    def port(self) -> int: ...

    @property
    def refused_names(self) -> list[str]: ...


class OnlyVenues(AbstractResolver):
    def __init__(self, venues: Sequence[Reachable]) -> None:
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


def connector_to(venues: Sequence[Reachable], context: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
    """`context`: what it trusts; without it, this process's authority."""
    return aiohttp.TCPConnector(
        resolver=OnlyVenues(venues),
        ssl=context or client_context(),
        use_dns_cache=False,
        family=socket.AF_INET,
    )
