"""Running the API on a socket that listens already."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from api.http.hub import Hub
from api.http.request import Http
from api.http.services import Services
from api.http.wire import IN_BYTES_MAX, Wire
from infra.commands.requests import Requests
from infra.process.addresses import REDIS, addresses
from infra.process.settings import Settings
from infra.process.tokens import TokenFile
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from streams.log import Log

GRACE_S = 5
"""So long an answer may take to end once the server is told to."""


@contextmanager
def services(settings: Settings, log: Log, database: Engine, strategies: Strategies) -> Generator[Services]:
    """What the API works with; the first token is made where there is none.

    The setting `redis_url` is the Redis that a mirror publishes to, for the sockets; without it they look for
    the bundled one of an `up` of this home, and while there is none they ask the database instead.
    """
    tokens = TokenFile(settings.home)
    tokens.first()
    requests = Requests(settings.home / "requests.db", log)
    hub = Hub(log, database, lambda: settings.redis_url or next(iter(addresses(settings.home, REDIS)), None))
    try:
        looking_back = BotHistory(log), Indicators(database, strategies)
        yield Services(settings, log, database, strategies, tokens, requests, *looking_back, hub)
    finally:
        hub.close()
        requests.close()


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
            http=Http,
            ws=Wire,
            ws_max_size=IN_BYTES_MAX,
            ws_per_message_deflate=False,  # a frame is made once for all readers
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
