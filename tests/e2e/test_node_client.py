"""A client in another language, which knows the server by its AsyncAPI document alone."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import IO

import pytest

from infra.channel_log import messages_since
from infra.channels import market_channel
from infra.db.channels import ChannelStore
from infra.exchange.simulated import symbols
from infra.settings import load_settings
from streams.log import open_log
from tests.e2e.conftest import COMMAND, Home
from tests.services.redis import bundled_redis

READER = Path(__file__).with_name("node_reader.mjs")
SYMBOL = symbols(1)[0]
SOME = 40
DEADLINE_S = 60.0


class Platform:
    """A home with its Redis, a worker on a simulated market, and an API at one address."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        redis = stack.enter_context(bundled_redis())
        self.home = Home(folder / "home", TCPD_REDIS_URL=redis.url)
        self.settings = load_settings(self.home.environment)
        self.taken = folder / "taken.jsonl"
        self._stack = stack
        self._told = stack.enter_context((folder / "told.txt").open("wb"))
        self.worker = self.start(str(COMMAND), "up", "--markets", "1", "--speed", "600", told=self._told)
        self.serve(0)

    def start(self, *words: str, told: IO[bytes] | int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        """A process that ends with the test, at the latest; `told` takes what it prints."""
        process = subprocess.Popen(
            words, env=self.home.environment, stdout=told, stderr=self._told, bufsize=0
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def serve(self, port: int) -> None:
        self.server = self.start(str(COMMAND), "serve", "--port", str(port), "--json")
        assert self.server.stdout is not None
        self.address = json.loads(self.server.stdout.readline())

    def serve_again(self, how: signal.Signals) -> None:
        """End the API so, and start another at its place."""
        end(self.server, how)
        self.serve(int(self.address["api"].rpartition(":")[2]))

    def client(self, node: str) -> "subprocess.Popen[bytes]":
        where = (self.address["api"], self.address["token_file"], SYMBOL, str(self.taken))
        return self.start(node, "--experimental-websocket", str(READER), *where)

    def lines(self) -> list[bytes]:
        return self.taken.read_bytes().splitlines() if self.taken.exists() else []

    def wait_for(self, client: "subprocess.Popen[bytes]", enough: Callable[[list[bytes]], bool]) -> None:
        """Until the client has taken enough."""
        deadline = monotonic() + DEADLINE_S
        while not enough(self.lines()):
            try:
                client.wait(0.05)
            except subprocess.TimeoutExpired:
                assert monotonic() < deadline, f"{len(self.lines())} lines only\n{self.told()}"
            else:
                pytest.fail(f"the client ended with {client.returncode}\n{self.told()}")

    def some_more(self, client: "subprocess.Popen[bytes]") -> None:
        before = len(self.lines())
        self.wait_for(client, lambda lines: len(lines) >= before + SOME)

    def told(self) -> str:
        return Path(self._told.name).read_text(errors="replace")[-3000:]


def end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> int:
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with ExitStack() as stack:
        yield Platform(tmp_path, stack)


def test_a_node_client_that_is_killed_goes_on_over_restarts_of_the_server_without_gap_or_repeat(
    platform: Platform, node: str
) -> None:
    client = platform.client(node)
    platform.some_more(client)
    end(client, signal.SIGKILL)
    client = platform.client(node)
    platform.some_more(client)
    for how in (signal.SIGTERM, signal.SIGKILL):
        platform.serve_again(how)
        platform.some_more(client)
    end(client, signal.SIGKILL)
    platform.serve_again(signal.SIGTERM)
    client = platform.client(node)
    assert end(platform.worker, signal.SIGTERM) == 0

    log, store = open_log(platform.settings.log_url), ChannelStore(platform.settings.database_url)
    channel = market_channel(SYMBOL)
    last = store.sequences([channel])[channel]
    platform.wait_for(client, lambda lines: bool(lines) and json.loads(lines[-1])["seq"] >= last)
    assert end(client, signal.SIGTERM) == 0
    snapshot, *messages = platform.lines()
    assert json.loads(snapshot)["type"] == "snapshot"
    assert messages == [one.text for one in messages_since(log, store, channel, json.loads(snapshot)["seq"])]
    assert len(messages) > 3 * SOME
    store.close()
    log.close()
