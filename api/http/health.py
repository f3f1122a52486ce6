"""Whether it lives, whether it is ready, and how the whole stands."""

import platform
import time
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from api.http import models
from api.http.failures import ApiError
from api.http.services import Rows, Served, Services, as_json, fitting, folded, paged
from infra.db import queries
from infra.db.schema import SchemaError, newest_revision
from infra.present import facts
from infra.present.values import iso
from infra.process import telemetry
from infra.worker.fold_code import fold_code_hash
from streams.log import Log, LogError
from streams.topics import JOURNAL, PROJECTED

public = APIRouter(prefix="/health", tags=["health"])
scraped = APIRouter(tags=["health"])
router = APIRouter(prefix="/api", tags=["health"])

OPEN: dict[str, Any] = {"security": []}
"""For OpenAPI: a route without a token."""
UNREACHABLE = (LogError, OSError, SQLAlchemyError, SchemaError)


@public.get("/live", response_model=models.Up, openapi_extra=OPEN)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@public.get(
    "/ready", response_model=models.Up, openapi_extra=OPEN, responses={503: {"model": models.Problem}}
)
def ready(services: Served) -> dict[str, str]:
    """Log and database answer. What is wrong is told to those who have a token, not here."""
    try:
        check(services.log, services.database)
    except UNREACHABLE as error:
        hint = "Its log says why; `tcpdashboard topics` and `tcpdashboard settings` show the parts."
        raise ApiError(503, "not_ready", "the log or the database does not answer", hint) from error
    return {"status": "ok"}


def check(log: Log, database: Engine) -> None:
    """Raises one of `UNREACHABLE` where log or database does not answer."""
    log.highwater(JOURNAL, 0)
    with database.connect() as connection:
        connection.execute(select(1))


@scraped.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(telemetry.exposition(), media_type=telemetry.CONTENT_TYPE)


@router.get("/health", response_model=models.Health)
def health(services: Served) -> dict[str, Any]:
    """Lag by partition, age of the newest data by market, bots by status, dead letters, versions."""
    now = time.time_ns()
    reached = queries.reached(services.database)
    return {
        "partitions": [_partition(services, p, reached, now) for p in range(services.log.partitions)],
        "markets": [
            {"market": market, "newest": iso(last.timestamp), "age_s": max(0, now - last.timestamp) / 1e9}
            for market, last in queries.newest(services.database).items()
        ],
        "bots": queries.statuses(services.database),
        "dead_letters": queries.count_letters(services.database),
        "versions": _versions(),
    }


@router.get("/dead-letters", response_model=models.DeadLetters)
def dead_letters(services: Served, rows: Rows) -> Response:
    """What could not be read or folded, by the time of its notice in the log."""
    page = queries.letters(services.database, fitting(rows, len(queries.LETTER_KEY)))
    return as_json(paged(page, facts.letter))


def _partition(
    services: Services, partition: int, reached: dict[tuple[str, int], tuple[int, int]], now: int
) -> dict[str, Any]:
    log = services.log
    end = log.highwater(JOURNAL, partition)
    done = folded(log, partition)
    newest = next(log.read(JOURNAL, partition, end - 1, end), None) if end else None
    ends = {topic: log.highwater(topic, partition) for topic in PROJECTED}
    behind = (end - 1 - reached.get((topic, partition), (-1, -1))[0] for topic, end in ends.items())
    return {
        "partition": partition,
        "highwater": end,
        "folded": done,
        "lag": end - 1 - (-1 if done is None else done),
        "projection_lag": sum(max(0, lag) for lag in behind),
        "recorded": None if newest is None else iso(newest.time_ns),
        "recorded_age_s": None if newest is None else max(0, now // 1_000_000 - newest.time_ms) / 1e3,
    }


@cache
def _versions() -> dict[str, str]:
    return {
        "tcpdashboard": version("tcpdashboard"),
        "fold": fold_code_hash(),
        "database": newest_revision(),
        "python": platform.python_version(),
    }
