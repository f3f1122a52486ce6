"""The composition root of the API: routes, guard, errors, OpenAPI."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request

from api.http import (
    bots,
    failures,
    health,
    journal,
    markets,
    page,
    portfolio,
    sessions,
    sockets,
    sources,
    strategies,
)
from api.http.asyncapi import document
from api.http.measured import Measured
from api.http.models import Problem
from api.http.security import COOKIE, Guard
from api.http.services import Served, Services

DESCRIPTION = """Markets, bots, what they did, and commands to them.

Money, prices and sizes are decimal strings, times ISO 8601 UTC. A market's symbol stands last in the path,
its slash as it is or as `%2F`. Lists come in pages: give `next` as `cursor`. A command is answered when it is
durable in the journal, with its positions; `?wait=applied` waits for its effect."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in (
        (400, "Not a request."), (401, "No valid token."), (403, "Not allowed."), (404, "Not there."),
        (409, "It does not fit what is there."), (422, "Refused."), (429, "Too many wrong tokens."),
        (503, "Log or database do not answer."),
    )
}  # fmt: skip
described = APIRouter(prefix="/api", tags=["channels"])
ROUTERS = (
    health.public, health.scraped, health.router, sessions.router, sessions.tokens, markets.router,
    sources.router, strategies.router, bots.router, bots.commands, portfolio.router, journal.router,
    described,
)  # fmt: skip


def make_app(services: Services, names: Iterable[str] = ()) -> FastAPI:
    """The API over `services`; `names` are hosts that it may be asked by, beside those of the loopback."""
    app = FastAPI(
        title="TCPDashboard",
        version=version("tcpdashboard"),
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        # their pages load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
    )
    app.state.services = services
    for router in (*ROUTERS, sockets.router):
        app.include_router(router)
    page.mount(app)
    failures.register(app)
    app.add_middleware(Guard, tokens=services.tokens, names=tuple(names))
    app.add_middleware(Measured)
    _secure(app)
    return app


@described.get("/asyncapi.json", response_model=dict[str, Any])
def asyncapi_document(services: Served, request: Request) -> dict[str, Any]:
    """The channels on Redis and the WebSockets, as an AsyncAPI 3.0 document."""
    url = request.base_url
    redis_url = services.hub.find_redis()
    return document(version("tcpdashboard"), url.netloc, secure=url.scheme == "https", redis_url=redis_url)


def _secure(app: FastAPI) -> None:
    """Say in OpenAPI how to authenticate; `Guard` is what asks for it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schema.setdefault("components", {})["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
        schema["security"] = [{"token": []}, {"session": []}]
        return schema

    app.openapi = openapi
