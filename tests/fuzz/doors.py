"""Every door that reads a log, in this process, over a home with wrong records in it: nothing may escape."""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

import httpx
from fastapi import FastAPI

from api.cli import app as command_line
from api.cli.failures import guarded
from api.http.app import ROUTERS, make_app
from api.http.server import services
from infra.channels.messages import SYSTEM_EVENTS
from infra.channels.mirror import Mirror
from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.db.schema import open_database
from infra.process.settings import Settings, load_settings
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from infra.upkeep.rebuild import rebuild
from streams.backends import open_bare_log, open_log
from streams.log import Log
from streams.records import Entry, Record
from streams.topics import JOURNAL, PROJECTED
from tests.integration.api.doors import filled

CHANNELS = (
    SYSTEM_EVENTS, "market_data:BTC/USDT", "bot_signals:1", "bot_status:1", "trade_updates:1", "portfolio:1",
)  # fmt: skip


class EscapedError(Exception):
    """A door ended otherwise than it says; the message names door and why, its cause is chained."""


@contextmanager
def door(name: str) -> Iterator[None]:
    try:
        yield
    except EscapedError:
        raise
    except BaseException as error:
        raise EscapedError(f"{name}: {type(error).__name__}: {str(error)[:300]}") from error


def entries(topic: str, records: Iterable[Record]) -> list[Entry]:
    return [Entry(topic, r.key, r.value, r.time_ms, 0, r.headers) for r in records]


class Home:
    """A home of one partition whose journal is the given records, folded as `replay` does it."""

    def __init__(
        self, folder: Path, journal: Iterable[Record], strategies: Strategies, kernels: Path
    ) -> None:
        self.settings: Settings = load_settings({"TCPD_HOME": str(folder), "TCPD_PARTITIONS": "1"})
        self._strategies, self._kernels = strategies, kernels
        with closing(open_bare_log(self.settings.log_url, partitions=1)) as log:
            log.append(entries(JOURNAL, journal), sync=False)
            with door("fold"):
                fold_home(log, strategies)

    def append(self, topic: str, records: Iterable[Record]) -> None:
        with closing(open_log(self.settings.log_url)) as log:
            log.append(entries(topic, records), sync=False)

    def command(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """What a command prints; any exit code but these, and any traceback, is an escape."""
        environment = {
            "TCPD_HOME": str(self.settings.home),
            "TCPD_KERNELS": str(self._kernels),
            "TCPD_PARTITIONS": "1",
        }
        out, errors = TextIOWrapper(BytesIO(), "utf-8"), StringIO()
        name = f"tcpdashboard {' '.join(words)}"
        with door(name), ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, environment))
            stack.enter_context(patch.object(sys, "argv", ["tcpdashboard", *words]))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(errors))
            code = guarded(command_line)
        if code not in codes:
            raise EscapedError(f"{name}: exit code {code}: {errors.getvalue()[:300]}")
        out.seek(0)
        return out.read()

    def proven(self) -> None:
        """`verify` says equal of an honest fold, whatever was folded."""
        self.command("verify", "--json")

    def read(self) -> None:
        """Everything that reads: commands, database, channels, API."""
        with door("rebuild"), closing(open_log(self.settings.log_url)) as log:
            rebuild(log, self.settings.database_url)
        for stream in (JOURNAL, *PROJECTED):
            self.command("log", stream)
            self.command("log", stream, "--content")
        self.command("verify", codes=(0, 1, 3))
        self.command("doctor", codes=(0, 1))
        self._commands()
        with closing(open_log(self.settings.log_url)) as log:
            self._channels(log)
            self._api(log)

    def _commands(self) -> None:
        letters = self.command("dead-letters", "--json").rstrip("\n").split("\n")  # not at U+2028
        self.command("dead-letters")
        self.command("topics")
        self.command("markets", "list", "--json")
        self.command("bots", "list", "--json")
        for number in (1, 2, 3):
            for words in (("bots", "show"), ("signals",), ("trades",), ("equity",)):
                self.command(*words, str(number), "--json", codes=(0, 1))
            self.command("trades", str(number), "--lineage", codes=(0, 1))
        for line in letters[:: max(1, len(letters) // 20)]:
            self.command("dead-letters", "show", line.split('"')[3], "--json")
        for form in ("json", "csv"):
            market = ("--venue", "test", "--symbol", "BTC/USDT", "--timeframe", "1m", "--format", form)
            self.command("candles", *market, codes=(0, 1))

    def _channels(self, log: Log) -> None:
        """Count every message, as the mirror does, and read channels again, as a socket does."""
        url = self.settings.database_url
        with door("channels"), closing(ChannelStore(url)) as store:
            mirror = Mirror(log, url, None)
            counted = mirror._load()
            for topic in PROJECTED:
                mirror._count(counted, list(log.read(topic, 0)))
            for channel in CHANNELS:
                messages = list(messages_since(log, store, channel, 0))
                if [message.seq for message in messages] != list(range(1, len(messages) + 1)):
                    raise EscapedError(f"channel {channel}: its messages have holes")
            mirror._store.close()

    def _api(self, log: Log) -> None:
        with ExitStack() as stack:
            database = open_database(self.settings.database_url)
            stack.callback(database.dispose)
            served = stack.enter_context(services(self.settings, log, database, self._strategies))
            asyncio.run(_ask_all(make_app(served), served.tokens.plain.read_text().strip()))


async def _ask_all(app: FastAPI, secret: str) -> None:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        for path in PATHS:
            with door(f"GET {path}"):
                status = (await client.get(path)).status_code
            if status >= 500:
                raise EscapedError(f"GET {path}: status {status}")


def _paths() -> list[str]:
    """What the API reads, with some values for each parameter."""
    routes = [
        route for router in ROUTERS for route in router.routes if "GET" in getattr(route, "methods", ())
    ]
    values = {"venue": "test", "symbol": "BTC/USDT", "name": "sma_cross"}
    found = {
        filled(route.path, values | {"stream": stream, "bot_id": bot})
        for route in routes
        for stream in (JOURNAL, *PROJECTED)
        for bot in ("1", "2", "3")
    }
    log = {f"/api/log/{stream}?offset={at}&limit=1000" for stream in PROJECTED for at in range(0, 1_600, 200)}
    candles = {f"/api/candles/test/BTC/USDT?timeframe=1m&format={form}" for form in ("csv", "arrow")}
    return sorted(found | log | candles)


PATHS = _paths()
