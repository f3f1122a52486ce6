"""From exceptions to HTTP: the only place that does so. Every error is `{code, message, hint}`."""

import logging
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from infra.commands.given import RefusedError
from infra.commands.requests import RequestReusedError
from infra.db.projector import ProjectionError
from infra.db.schema import SchemaError
from infra.process.errors import one_line
from infra.process.settings import shown
from infra.process.tokens import TokenError
from infra.strategies.registry import UnknownStrategyError
from infra.strategies.sources import StrategyFileError
from projections.strategies.parameters import StrategyParameterError
from streams.log import LogError

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """An error of the API's own, as it is told."""

    def __init__(
        self, status: int, code: str, message: str, hint: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.headers = headers


class Told(NamedTuple):
    """How a kind of exception is told. `message` None: its own words."""

    status: int
    code: str
    hint: str
    message: str | None = None


TOLD: dict[type[Exception], Told] = {
    RequestReusedError: Told(409, "key_reused", "Use a new Idempotency-Key for a new command."),
    UnknownStrategyError: Told(404, "unknown_strategy", "GET /api/strategies lists them."),
    StrategyParameterError: Told(
        422, "bad_parameter", "GET /api/strategies/{name} has the parameters as JSON Schema."
    ),
    StrategyFileError: Told(422, "broken_strategy", "Mend the strategy's file; nothing was written."),
    RefusedError: Told(422, "refused", "Nothing was written; change the request as the message says."),
    TokenError: Told(422, "bad_token_request", "`tcpdashboard tokens list` shows the tokens."),
    LogError: Told(503, "log_unavailable", "Try again; `tcpdashboard topics` shows whether the log answers."),
    SchemaError: Told(503, "database_outdated", "Run `tcpdashboard migrate`."),
    ProjectionError: Told(503, "database_disagrees", "Run `tcpdashboard rebuild`."),
    SQLAlchemyError: Told(
        503,
        "database_unavailable",
        "Try again; `tcpdashboard settings` shows the database's URL.",
        "the database did not answer",
    ),
}
"""By class; of several that fit, the first."""
STATUSES = {
    400: ("bad_request", "Look at /api/openapi.json for what this route takes."),
    404: ("not_found", "GET /api/openapi.json lists every route."),
    405: ("method_not_allowed", "GET /api/openapi.json lists the methods of every route."),
}
CLOSES: dict[int, tuple[int, str]] = {
    400: (4400, "The request is none: `since` is no sequence number."),
    401: (4401, "The token is not valid, or is no longer: log in, or give another."),
    404: (4404, "There is no such market or bot."),
    405: (1008, "The reader sent something; nothing is taken from it."),
    408: (4408, "The reader did not take what was sent: reconnect with `since`."),
    422: (4400, "The request is none: `since` is no sequence number."),
    429: (4401, "Too many wrong tokens: wait."),
    500: (1011, "The server failed; its log says where."),
    503: (1013, "Log or database do not answer: reconnect with `since`."),
}
"""Close codes of WebSockets, and what they mean, by the status that the same error has over HTTP. Beside them
there is 1012 for a server that ends: reconnect with `since`."""
INTERNAL = ("internal", "the server failed at this request", "Its log says where; please report it.")


def body(code: str, message: str, hint: str) -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint}


def register(app: FastAPI) -> None:
    """Have every error of `app` told in the one form."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in TOLD:
        app.add_exception_handler(kind, _expected)
    app.add_exception_handler(Exception, _unexpected)


def close_of(error: Exception) -> tuple[int, str]:
    """The close code of a WebSocket, and its reason."""
    if isinstance(error, ApiError):
        return CLOSES[error.status][0], error.message
    told = next((told for kind, told in TOLD.items() if isinstance(error, kind)), None)
    if told is not None and told.status in CLOSES:
        return CLOSES[told.status][0], told.message or told.hint
    logger.error("a socket failed", exc_info=error)
    return CLOSES[500][0], INTERNAL[1]


def answer(error: ApiError) -> JSONResponse:
    return JSONResponse(body(error.code, error.message, error.hint), error.status, error.headers)


async def _api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return answer(error)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    told = next(told for kind, told in TOLD.items() if isinstance(error, kind))
    if told.status >= 500:
        logger.warning("%s: %s", request.url.path, shown(one_line(error)))
    message = told.message or shown(one_line(error))
    return JSONResponse(body(told.code, message, told.hint), told.status)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{_place(one['loc'])}: {one['msg']}" for one in error.errors())
    hint = "Look at /api/openapi.json for what this route takes."
    return JSONResponse(body("invalid_request", found, hint), 422)


def _place(loc: Any) -> str:
    return ".".join(str(part) for part in loc)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, hint = STATUSES.get(error.status_code, ("refused", STATUSES[400][1]))
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(body(code, message, hint), error.status_code, error.headers)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    # Starlette raises it again behind this answer, so that the server logs where it came from
    return JSONResponse(body(*INTERNAL), 500)
