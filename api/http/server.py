"""Running the API: a socket of our own, so that the port is known before anybody is told of it."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from api.http.hub import Hub
from api.http.services import Services
from api.http.wire import IN_BYTES_MAX, Wire
from infra.bot_history import BotHistory
from infra.requests import Requests
from infra.settings import Settings
from infra.strategies import Strategies
from infra.tokens import TokenFile
from streams.log import Log

PORT = 8321
"""Taken where it is free and none was asked for."""
BACKLOG = 1_024
GRACE_S = 5
"""So long an answer may take to end once the server is told to."""


@contextmanager
def services(
    settings: Settings, log: Log, database: Engine, strategies: Strategies, redis_url: str | None
) -> Generator[Services]:
    """What the API works with; the first token is made where there is none.

    `redis_url`: the Redis that a mirror publishes to, for the sockets; None: they ask the database instead.
    """
    tokens = TokenFile(settings.home)
    tokens.first()
    requests = Requests(settings.home / "requests.db", log)
    hub = Hub(log, database, redis_url)
    try:
        yield Services(settings, log, database, strategies, tokens, requests, BotHistory(log), hub)
    finally:
        hub.close()
        requests.close()


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; port None: the default one where it is free, or else any. Raises `OSError`."""
    try:
        return _listen(host, PORT if port is None else port)
    except OSError:
        if port is not None:
            raise
        return _listen(host, 0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        words = f"cannot listen on {host} port {port}: {error.strerror}; name another with --host and --port"
        raise OSError(error.errno, words) from None
    return bound


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Runs until SIGINT or SIGTERM, or until `should_exit`; `ready` is called when it answers."""

    def __init__(self, app: FastAPI, ready: Callable[[], None] = lambda: None) -> None:
        # without an access log: a line for every candle that a page asks for tells nobody anything
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            ws=Wire,
            ws_max_size=IN_BYTES_MAX,
            ws_per_message_deflate=False,  # a frame is made once for all readers
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
