"""The API on a real socket, over a home where two bots have traded."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.http.app import make_app
from api.http.listening import API_PORT, listen, url_of
from api.http.server import Server, services
from api.http.services import Services
from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.db.schema import migrate, open_database
from infra.process.bundled_redis import RedisServer
from infra.process.settings import Settings, load_settings
from infra.process.tokens import Scope
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from infra.upkeep.rebuild import rebuild
from streams.backends import open_log
from streams.events import Market
from streams.journal import JournalWriter
from streams.log import Log
from tests.journal import START, batch, spot
from tests.services.redis import bundled_redis

A, B = spot("A/USDT"), spot("B/USD:B", quote="USD", settle="B", contract="inverse")
MINUTES = 120


@dataclass
class Api:
    """A running API: requests as the owner of a token of each scope, or as nobody."""

    url: str
    services: Services

    def client(self, scope: Scope | None = "admin", **headers: str) -> httpx.Client:
        if scope is not None:
            headers["Authorization"] = f"Bearer {self.token(scope)}"
        return httpx.Client(base_url=self.url, headers=headers)

    def token(self, scope: Scope) -> str:
        name = f"a-{scope}"
        known = {token["name"] for token in self.services.tokens.listed()}
        if name not in known:
            self._made(name, scope)
        return SECRETS[self.services.settings.home, name]

    def _made(self, name: str, scope: Scope) -> None:
        SECRETS[self.services.settings.home, name] = self.services.tokens.create(name, scope)

    def get(self, path: str, **params: Any) -> Any:
        """JSON of a request that must succeed."""
        with self.client("read") as client:
            answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fold(self) -> None:
        """Fold what the journal holds, and project it anew."""
        rebuild(self.services.log, self.services.settings.database_url)


SECRETS: dict[tuple[Path, str], str] = {}
"""What a home's tokens were when they were made."""


def prices(market: Market, start: int) -> list[tuple[float, int, int]]:
    """A wave of trades, some each minute."""
    return [
        (start + minute * 60 + second, 100 + (minute * 7 + second) % 23 - minute % 11, 5 + second)
        for minute in range(MINUTES)
        for second in (1, 20, 40)
    ]


def record(settings: Settings, strategies: Strategies) -> None:
    """A home with two markets and two bots that traded; the first one was reconfigured on the way, and always
    began cold."""
    log = open_log(settings.log_url)
    writer = JournalWriter(log, "feed", 0)
    manager = BotManager(log, strategies, "test:ann", now=lambda: START)
    for market in (A, B):
        writer.append(market, key=market.key)
        writer.append(batch(market, prices(market, 0)), key=market.key)
    spec = BotSpec("sma_cross", "test", "A/USDT", "1m", "1000", {"fast": 2, "slow": 5}, short=True)
    manager.create_bot(spec, start=True, warm=0)
    manager.create_bot(
        BotSpec("rsi_reversion", "test", "B/USD:B", "5m", "10", {"n": 2, "low": 45, "high": 55}, short=True),
        start=True,
    )
    for turn in (1, 2):
        for market in (A, B):
            writer.append(batch(market, prices(market, turn * MINUTES * 60)), key=market.key)
        manager.reconfigure_bot(1, {"fast": 3}, warm=0)
    fold_home(log, strategies)
    log.close()
    migrate(settings.database_url)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, strategies: Strategies) -> Path:
    """It is only read; a test that writes takes `fresh`."""
    path = tmp_path_factory.mktemp("api") / "home"
    settings = load_settings({"TCPD_HOME": str(path)})
    path.mkdir()
    record(settings, strategies)
    return path


def running(home: Path, strategies: Strategies, stack: ExitStack) -> Api:
    settings = load_settings({"TCPD_HOME": str(home)})
    log = open_log(settings.log_url)
    stack.callback(log.close)
    rebuild(log, settings.database_url)
    database = open_database(settings.database_url)
    stack.callback(database.dispose)
    return serving(settings, log, database, strategies, stack)


def serving(
    settings: Settings,
    log: Log,
    database: Engine,
    strategies: Strategies,
    stack: ExitStack,
    port: int = 0,
) -> Api:
    """The API in a thread, until the stack unwinds."""
    served = stack.enter_context(services(settings, log, database, strategies))
    bound = stack.enter_context(listen("127.0.0.1", port, API_PORT, ""))
    up = threading.Event()
    server = Server(make_app(served), up.set)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    stack.callback(stop)
    assert up.wait(30)
    return Api(url_of(bound), served)


@pytest.fixture(scope="session")
def api(home: Path, strategies: Strategies) -> Iterator[Api]:
    with ExitStack() as stack:
        yield running(home, strategies, stack)


@pytest.fixture
def fresh(tmp_path: Path, strategies: Strategies) -> Iterator[Api]:
    """The same home for one test alone."""
    settings = load_settings({"TCPD_HOME": str(tmp_path)})
    record(settings, strategies)
    with ExitStack() as stack:
        yield running(tmp_path, strategies, stack)


@pytest.fixture
def bundled() -> Iterator[RedisServer]:
    with bundled_redis() as server:
        yield server
