"""A client in another language, which knows the server by its AsyncAPI document alone."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.channels.messages import market_channel
from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.exchange.simulated import symbols
from infra.process.settings import load_settings
from streams.backends import open_log
from tests.e2e.conftest import Home
from tests.programs import Program
from tests.services.redis import bundled_redis

READER = Path(__file__).with_name("node_reader.mjs")
SYMBOL = symbols(1)[0]
SOME = 40


class Platform:
    """A home with its Redis, a worker on a simulated market, and an API at one address."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        redis = stack.enter_context(bundled_redis())
        self.home = Home(folder / "home", TCPD_REDIS_URL=redis.url)
        self.settings = load_settings(self.home.environment)
        self.taken = folder / "taken.jsonl"
        self._stack = stack
        self.worker = stack.enter_context(self.home.start("up", "--markets", "1", "--speed", "600"))
        self.serve(0)

    def serve(self, port: int) -> None:
        self.server = self._stack.enter_context(self.home.start("serve", "--port", port, "--json"))
        self.address = self.server.line

    def serve_again(self, how: signal.Signals) -> None:
        """End the API so, and start another at its place."""
        self.server.end(how)
        self.serve(int(self.address["api"].rpartition(":")[2]))

    def client(self, node: str) -> Program:
        where = (self.address["api"], self.address["token_file"], SYMBOL, self.taken)
        return self._stack.enter_context(Program(node, "--experimental-websocket", READER, *where))

    def lines(self) -> list[bytes]:
        """Those that are written whole."""
        return self.taken.read_bytes().split(b"\n")[:-1] if self.taken.exists() else []

    def some_more(self, client: Program) -> None:
        enough = len(self.lines()) + SOME
        client.until(lambda: len(self.lines()) >= enough, f"{enough} lines")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with ExitStack() as stack:
        yield Platform(tmp_path, stack)


def test_a_node_client_that_is_killed_goes_on_over_restarts_of_the_server_without_gap_or_repeat(
    platform: Platform, node: str
) -> None:
    client = platform.client(node)
    platform.some_more(client)
    client.kill()
    client = platform.client(node)
    platform.some_more(client)
    for how in (signal.SIGTERM, signal.SIGKILL):
        platform.serve_again(how)
        platform.some_more(client)
    client.kill()
    platform.serve_again(signal.SIGTERM)
    client = platform.client(node)
    assert platform.worker.end() == 0, platform.worker.words()

    log, store = open_log(platform.settings.log_url), ChannelStore(platform.settings.database_url)
    channel = market_channel(SYMBOL)
    last = store.sequences([channel])[channel]
    client.until(lambda: platform.lines() and json.loads(platform.lines()[-1])["seq"] >= last, "the last seq")
    assert client.end() == 0, client.words()
    snapshot, *messages = platform.lines()
    assert json.loads(snapshot)["type"] == "snapshot"
    assert messages == [one.text for one in messages_since(log, store, channel, json.loads(snapshot)["seq"])]
    assert len(messages) > 3 * SOME
    store.close()
    log.close()
