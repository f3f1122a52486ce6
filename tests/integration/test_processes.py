"""`up`, `worker` and `collect` as processes: what they start, how they say so, how they end."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import redis
from websockets.sync.client import connect

from api.http.listening import LOOPBACK, listen
from infra.channels.messages import market_channel, snapshot_key
from infra.channels.store import ChannelStore
from infra.exchange.simulated import symbols
from infra.process.settings import load_settings
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import JournalEvent, RowKind, TickBatch
from streams.journal import JournalWriter
from streams.records import Entry, partition_of
from streams.ticks import unpack
from streams.topics import JOURNAL
from tests.integration.command_line import CommandLine
from tests.integration.running import Running, all_end, children
from tests.journal import START, batch, spot
from tests.services.postgres import Postgres

CANDLES = "/api/candles/sim/BTC/USDT"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("processes") / "home")


@pytest.fixture(scope="module")
def up(home: CommandLine) -> Iterator[Running]:
    with Running(home, "up", "--demo", "--markets", "2") as up:
        yield up
        words = up.finish()
    lines = [json.loads(line) for line in words.splitlines()]
    assert lines[-1]["message"] == "stopped; the next start continues here"
    assert all({"time", "level", "logger", "message", "worker"} <= set(line) for line in lines)


def test_up_says_where_everything_is_when_it_answers(up: Running, home: CommandLine) -> None:
    assert set(up.line) == {"api", "redis", "probe", "token_file"}
    for place in ("api", "probe"):
        assert httpx.get(f"{up.line[place]}/health/live").status_code == 200
        ready = f"{up.line[place]}/health/ready"
        up.until(lambda ready=ready: httpx.get(ready, timeout=60).status_code == 200, "readiness")
    assert Path(up.line["token_file"]) == home.home / "token"
    up.until(lambda: up.items(CANDLES), "a candle")
    snapshot = snapshot_key(market_channel("BTC/USDT"))
    with closing(redis.Redis.from_url(up.line["redis"])) as client:
        up.until(lambda: client.get(snapshot), "a snapshot in Redis")


def test_a_server_beside_it_finds_its_redis(up: Running, home: CommandLine) -> None:
    serve = Running(home, "serve", "--port", "0")
    try:
        url = serve.line["api"].replace("http:", "ws:")
        token = Path(up.line["token_file"]).read_text().strip()
        with connect(
            f"{url}/ws/market/BTC/USDT", additional_headers={"Authorization": f"Bearer {token}"}
        ) as socket:
            while not json.loads(socket.recv(timeout=60)).get("forming"):
                pass  # a forming candle comes over Redis alone
        serve.end()
    finally:
        serve.kill()
    found = [json.loads(line) for line in home.run("doctor", "--json").stdout.splitlines()]
    assert f"it answers at {up.line['api']}" in [one["message"] for one in found]


def test_metrics_need_a_token(up: Running) -> None:
    for place in ("api", "probe"):
        assert httpx.get(f"{up.line[place]}/metrics").status_code == 401


def test_the_api_counts_its_readers_and_requests(up: Running) -> None:
    token = Path(up.line["token_file"]).read_text().strip()
    url = up.line["api"].replace("http:", "ws:")
    with connect(f"{url}/ws/system", additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        assert json.loads(socket.recv())["type"] == "snapshot"
        found = up.metrics("api")
    assert found["tcpd_websocket_readers",] == 1
    assert found["tcpd_api_request_seconds_count", "GET", "/health/ready", "200"] >= 1
    assert up.until(lambda: up.metrics("api")["tcpd_websocket_readers",] == 0, "no reader any more")


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
    with (
        Running(CommandLine(tmp_path / "home"), "up", "--markets", "0", *options) as up,
        ExitStack() as stack,
    ):
        assert all(f"127.0.0.1:{port}" in up.line[name] for name, port in free.items())
        left = [os.pidfd_open(pid) for pid in children(up.pid)]
        for handle in left:
            stack.callback(os.close, handle)
        up.kill()
        assert all_end(left)
    assert len(left) == 2, "the API and Redis"


@pytest.mark.parametrize("name", ["api", "redis", "probe"])
def test_a_port_that_is_taken_is_refused_with_the_way_out(cli: CommandLine, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cli.run("up", "--markets", "0", f"--{name}-port", port)
    assert (refused.returncode, refused.stdout) == (1, "")
    told = json.loads(refused.stderr)
    assert (told["level"], told["logger"]) == ("CRITICAL", "api.cli.running")
    assert str(port) in told["message"]
    assert f"--{name}-port" in told["message"]


def test_a_default_port_is_taken_where_it_is_free_and_else_another() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with listen(LOOPBACK, None, port, "") as other:
            assert other.getsockname()[1] not in (0, port)
    with listen(LOOPBACK, None, port, "") as bound:
        assert bound.getsockname()[1] == port


def write_journal(home: CommandLine, partitions: int = 1) -> int:
    """A market, trades of some minutes, and a record that is none; how many trades there are."""
    log = open_log(load_settings(home.environment).log_url, partitions=partitions)
    writer, market = JournalWriter(log, "test", START), spot()
    writer.append(market, key=market.key)
    rows = [(second, 100 + second % 7, 1) for second in range(1, 600, 2)]
    for first in range(0, len(rows), 50):
        writer.append(batch(market, rows[first : first + 50]), key=market.key)
    writer.append(batch(market, [(601,)]), key=market.key)  # a clock row is no trade
    log.append(
        [Entry(JOURNAL, market.key.encode(), b"no event", 0, partition_of(market.key.encode(), partitions))]
    )
    log.close()
    return len(rows)


def test_metrics_of_a_worker_count_what_it_folded(cli: CommandLine) -> None:
    trades = write_journal(cli)
    with Running(cli, "worker") as worker:
        assert set(worker.line) == {"worker", "redis", "probe", "token_file"}
        assert worker.line["redis"] is None
        lag = ("tcpd_journal_lag_records", "0")
        found = worker.until(lambda: (m := worker.metrics()).get(lag) == 0 and m, "all folded")
        words = worker.finish()
    letters = [line["type"] for line in cli.lines("log", "system")].count("dead_letter.v1")
    assert found["tcpd_ticks_folded_total",] == trades
    assert found["tcpd_fold_seconds_count",] == found["tcpd_fold_seconds_bucket", "+Inf"] == 4 + trades // 50
    assert found["tcpd_dead_letters_total",] == 1
    assert found["tcpd_redis_connected",] == 0
    assert found["tcpd_market_data_age_seconds", "test:BTC/USDT"] >= 0
    assert found["tcpd_open_gaps", "test:BTC/USDT"] == 0
    assert found["process_cpu_seconds_total",] > 0
    assert letters == 1
    told = next(line for line in map(json.loads, words.splitlines()) if "dead letter" in line["message"])
    assert (told["partition"], told["offset"], told["market"]) == (0, 3 + trades // 50, "test:BTC/USDT")


def test_the_parts_run_as_processes_of_their_own_and_lose_nothing(cli: CommandLine) -> None:
    with (
        Running(cli, "worker") as worker,
        Running(cli, "serve", "--port", "0") as serve,
        Running(cli, "collect") as collect,
    ):
        assert set(collect.line) == {"source", "probe", "token_file"}
        serve.until(lambda: serve.items(CANDLES), "a candle")
        collected = collect.metrics()
        assert collected["tcpd_ticks_collected_total",] > 0
        ages = {name[1] for name in collected if name[0] == "tcpd_collected_data_age_seconds"}
        assert ages == {f"sim:{symbol}" for symbol in symbols(3)}
        told = {row["market"]: row for row in cli.lines("sources", "--json")}
        assert told.keys() == ages and {row["state"] for row in told.values()} == {"live"}
        assert {row["skew_ms"] for row in told.values()} == {None}, "which its provider does not tell"
        assert all(row["trades_s"] > 0 and row["refused"] == 0 for row in told.values())
        found = serve.metrics("api")
        assert found["tcpd_api_request_seconds_count", "GET", "/api/candles/{venue}/{symbol:path}", "200"] > 0
        for part in (collect, serve, worker):
            assert httpx.get(f"{part.line.get('probe') or part.line['api']}/health/ready").status_code == 200
            part.finish()
    assert cli.line("verify")["equal"] is True
    assert "source_hole.v1" not in [line["type"] for line in cli.lines("log", "system")]
    with closing(ChannelStore(load_settings(cli.environment).database_url)) as store:
        assert store.snapshot("market_data:BTC/USDT").seq > 0, "counted without a Redis, for the sockets"


def test_a_second_collector_is_refused_what_the_first_has_in_hand_and_takes_the_rest(
    cli: CommandLine,
) -> None:
    first = Running(cli, "collect", "--markets", "2")
    try:
        assert first.line["source"] == "sim"
        for words, told in (
            (
                ("--as", "b", "--symbol", "ETH/USDT"),
                f"symbol 'ETH/USDT' of sim is collected by 'sim' (pid {first.pid}",
            ),
            (("--symbol", "SOL/USDT"), "'sim' collects already"),
            (("--as", "a/b"), "name 'a/b': write"),
            (("--as", "c", "--symbol", "SOL/EUR"), "symbol 'SOL/EUR' does not exist at sim#c"),
        ):
            refused = cli.run("collect", *words)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert told in json.loads(refused.stderr)["message"]
        with Running(cli, "collect", "--as", "b", "--symbol", "SOL/USDT") as second:
            assert second.line["source"] == "sim#b"
            second.finish()
    finally:
        first.kill()
    with Running(cli, "collect", "--markets", "2") as again:
        again.until(lambda: again.metrics()["tcpd_ticks_collected_total",] > 0, "a trade")
        again.finish()
    log = open_log(load_settings(cli.environment).log_url)
    held = [decode_input(record.value) for p in range(log.partitions) for record in log.read(JOURNAL, p, 1)]
    log.close()
    assert {entry.source for entry in held} == {"sim", "sim#b"}
    for symbol in symbols(2):
        ids = [one for entry in held for one in trade_ids(entry.event, f"sim:{symbol}")]
        assert ids == list(range(ids[0], ids[0] + len(ids))), "nothing is lost or repeated by the kill"


def trade_ids(event: JournalEvent, key: str) -> list[int]:
    if not isinstance(event, TickBatch):
        return []
    rows, keys = unpack(event), [market.key for market in event.markets]
    mine = (rows.market == keys.index(key)) & (rows.kind != RowKind.CLOCK) if key in keys else slice(0)
    return [] if rows.id is None else rows.id[mine].tolist()


def test_a_worker_waits_for_its_database_and_says_whether_it_is_ready(
    cli: CommandLine, postgres: Postgres
) -> None:
    url = postgres.fresh().replace("tcpd@", "tcpd:canary@")
    cli.settings = {**cli.settings, "TCPD_DATABASE_URL": url}
    with ExitStack() as stack:
        stack.callback(postgres.give_back, url.replace(":canary", ""))
        with postgres.away():
            worker = stack.enter_context(Running(cli, "worker"))
            worker.until(lambda: "\n" in worker.errors, "a word")
            waiting = json.loads(worker.errors.partition("\n")[0])["message"]
        ready = f"{worker.line['probe']}/health/ready"
        assert httpx.get(ready).status_code == 200
        with postgres.away():
            assert httpx.get(ready).status_code == 503
        worker.until(lambda: httpx.get(ready).status_code == 200, "ready again")
        words = worker.finish()
    assert waiting.startswith("waiting for database postgresql+psycopg2://tcpd:***@127.0.0.1")
    assert words.count("waiting for database") == 1, "it is said once"
    assert "canary" not in words


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("/nowhere", 'database "nowhere" does not exist'), ("nobody@", 'role "nobody" does not exist')],
)
def test_a_database_that_refuses_is_not_waited_for(
    cli: CommandLine, postgres: Postgres, wrong: str, words: str
) -> None:
    url = postgres.url("nowhere") if wrong == "/nowhere" else postgres.url().replace("tcpd@", wrong)
    cli.settings = {**cli.settings, "TCPD_DATABASE_URL": url}
    refused = cli.run("worker")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert words in json.loads(refused.stderr)["message"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_database_that_is_deleted_under_an_up_is_told_and_the_next_start_makes_it_anew(
    tmp_path: Path,
) -> None:
    home = CommandLine(tmp_path / "home")
    with Running(home, "up", "--demo", "--markets", "1") as up:
        up.until(lambda: up.items(CANDLES), "a candle")
        for file in home.home.glob("projections.db*"):
            file.unlink()
        assert up.wait() == 70
        assert "was deleted or replaced while it was open" in up.errors
    with Running(home, "up", "--markets", "1") as up:
        up.until(lambda: up.items(CANDLES), "a candle")
        up.finish()
    assert home.line("verify")["equal"]
