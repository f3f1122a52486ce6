"""`up`, `worker` and `collect` as processes: what they start, how they say so, how they end."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import redis

from infra.channels import market_channel, snapshot_key
from tests.integration.command_line import CommandLine
from tests.integration.running import Running, children, ended

CANDLES = "/api/candles/sim/BTC/USDT"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, kernels: dict[str, str]) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("processes") / "home", kernels)


@pytest.fixture(scope="module")
def up(home: CommandLine) -> Iterator[Running]:
    up = Running(home, "up", "--demo", "--markets", "2")
    try:
        yield up
        words = up.end()
    finally:
        up.kill()
    lines = [json.loads(line) for line in words.splitlines()]
    assert lines[-1]["message"] == "stopped; the next start continues here"
    assert all({"time", "level", "logger", "message", "worker"} <= set(line) for line in lines)


def test_up_says_where_everything_is_when_it_answers(up: Running, home: CommandLine) -> None:
    assert set(up.line) == {"api", "redis", "probe", "token_file"}
    for place in ("api", "probe"):
        assert httpx.get(f"{up.line[place]}/health/live").status_code == 200
        assert httpx.get(f"{up.line[place]}/health/ready").status_code == 200
    assert Path(up.line["token_file"]) == home.home / "token"
    up.until(lambda: up.items(CANDLES), "a candle")
    snapshot = snapshot_key(market_channel("BTC/USDT"))
    with closing(redis.Redis.from_url(up.line["redis"])) as client:
        up.until(lambda: client.get(snapshot), "a snapshot in Redis")


def test_metrics_need_a_token(up: Running) -> None:
    for place in ("api", "probe"):
        assert httpx.get(f"{up.line[place]}/metrics").status_code == 401


def test_a_killed_api_comes_back_at_the_same_address(up: Running) -> None:
    api = next(pid for pid in children(up.pid) if b"--child" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(api, signal.SIGKILL)
    assert up.until(lambda: up.get("/api/bots"), "an answer of the new one").status_code == 200
    assert api not in children(up.pid)


def test_a_killed_up_leaves_nobody_behind_at_the_ports_it_was_given(
    home: CommandLine, tmp_path: Path
) -> None:
    free = {name: free_port() for name in ("api", "redis", "probe")}
    options = [word for name, port in free.items() for word in (f"--{name}-port", str(port))]
    up = Running(CommandLine(tmp_path / "home", home.settings), "up", "--markets", "0", *options)
    try:
        assert all(f"127.0.0.1:{port}" in up.line[name] for name, port in free.items())
        left = children(up.pid)
    finally:
        up.kill()
    assert len(left) == 2, "the API and Redis"
    assert ended(left)


@pytest.mark.parametrize("name", ["api", "redis", "probe"])
def test_a_port_that_is_taken_is_refused_with_the_way_out(cli: CommandLine, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cli.run("up", "--markets", "0", f"--{name}-port", port)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert str(port) in refused.stderr.splitlines()[-1]
    assert f"--{name}-port" in refused.stderr.splitlines()[-1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
