"""Liveness, readiness and metrics of a process that serves no API: a small server in a thread of its own."""

import socket
from collections.abc import Callable, Iterable
from types import TracebackType

from fastapi import FastAPI

from api.http import failures, health
from api.http.failures import ApiError
from api.http.security import Guard
from api.http.server import Server
from infra.process.tokens import TokenFile
from streams.background import Background

STOP_S = 5.0


class Probe:
    """Serves `/health/live`, `/health/ready` and, to who has a token, `/metrics`. A context manager."""

    def __init__(
        self,
        listener: socket.socket,
        tokens: TokenFile,
        ready: Callable[[], bool],
        names: Iterable[str] = (),
        why: Callable[[], str] = str,
    ) -> None:
        """`listener` listens; `ready` is asked in threads, and may take a while; `names`: see `Guard`.
        `why`: what is known of why it is not ready, "" for nothing."""
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_api_route("/health/live", health.live)
        app.add_api_route("/health/ready", _ready_route(ready, why))
        app.add_api_route("/metrics", health.metrics)
        failures.register(app)
        app.add_middleware(Guard, tokens=tokens, names=tuple(names))
        self._server = Server(app)
        self._thread = Background("probe", lambda: self._server.run([listener]))

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_S)


def _ready_route(ready: Callable[[], bool], why: Callable[[], str]) -> Callable[[], dict[str, str]]:
    def route() -> dict[str, str]:
        if not ready():
            hint = "Its log says why; `/metrics` and `tcpdashboard settings` show the parts."
            reason = f": {said}" if (said := why()) else ""
            raise ApiError(503, "not_ready", f"this process is not ready{reason}", hint)
        return {"status": "ok"}

    return route
