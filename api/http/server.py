"""Running the API: a socket of our own, so that the port is known before anybody is told of it."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from api.http.services import Services
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
def services(settings: Settings, log: Log, database: Engine, strategies: Strategies) -> Generator[Services]:
    """What the API works with; the first token is made where there is none."""
    tokens = TokenFile(settings.home)
    tokens.first()
    requests = Requests(settings.home / "requests.db", log)
    try:
        yield Services(settings, log, database, strategies, tokens, requests, BotHistory(log))
    finally:
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
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
