"""`doctor` says of each part how it is and what to do, and touches nothing."""

import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from infra.db.schema import migrate
from infra.exchange.in_hand import in_hand, tell_status
from infra.exchange.status import MarketStatus, ProviderStatus, RestStatus, SourceStatus
from infra.process.addresses import API, announced
from infra.process.settings import load_settings
from infra.process.tokens import TokenFile
from infra.strategies.registry import Strategies
from infra.upkeep import doctor
from infra.upkeep.checks.finding import Finding
from infra.upkeep.doctor import examine
from infra.upkeep.rebuild import rebuild
from streams import topics
from streams.backends import backend_of, open_log
from streams.events import Feed, FeedState
from streams.journal import JournalWriter
from streams.kafka.topics import address_of
from tests.integration.api.conftest import record
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.journal import START, spot
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres
from tests.services.redis import Redis

Look = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, strategies: Strategies) -> Path:
    """A home where everything is as it should be."""
    home = tmp_path_factory.mktemp("doctor") / "home"
    settings = load_settings({"TCPD_HOME": str(home)})
    record(settings, strategies)
    log = open_log(settings.log_url)
    rebuild(log, settings.database_url)
    log.close()
    TokenFile(home).first()
    return home


@pytest.fixture
def home(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "home"))


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def look(home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Findings by part; the settings are those given."""
    for name in [name for name in os.environ if name.startswith("TCPD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(doctor, "CHECK_S", 60.0)  # only what hangs is late, however slow the machine is

    def look(**settings: object) -> dict[str, Finding]:
        for name, value in {"home": home, **settings}.items():
            monkeypatch.setenv(f"TCPD_{name.upper()}", str(value))
        return {finding.part: finding for finding in examine(port)}

    return look


@pytest.fixture
def an_api() -> Iterator[int]:
    """The port of a program that answers each request, one after the other, as the API does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 404)
        self.end_headers()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are accepted, and nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def states(found: dict[str, Finding]) -> set[str]:
    return {finding.state for finding in found.values()}


def content(home: Path) -> dict[str, bytes]:
    return {str(file.relative_to(home)): file.read_bytes() for file in home.rglob("*") if file.is_file()}


def test_a_home_that_is_well_is_ok_in_every_part_and_is_not_touched(look: Look, home: Path) -> None:
    before = content(home)
    found = look()
    assert states(found) == {"ok"}, found
    assert list(found) == [
        "python", "settings", "home", "tokens", "log", "database", "redis", "strategies", "kernels", "worker",
        "mirror", "api",
    ]  # fmt: skip
    assert content(home) == before


def test_a_home_that_is_not_there_is_not_made(look: Look, tmp_path: Path) -> None:
    found = look(home=tmp_path / "new" / "home")
    assert (found["log"].state, found["database"].state) == ("warning", "warning")
    assert "failed" not in states(found)
    assert not (tmp_path / "new").exists()


def test_the_command_fails_when_a_part_failed_and_masks_secrets(home: Path) -> None:
    silent = {"TCPD_REDIS_URL": "redis://:sesame@127.0.0.1:1/0"}
    done = CommandLine(home, silent).run("doctor", "--json")
    found = {row["part"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert (done.returncode, found["redis"]["state"]) == (1, "failed")
    assert "sesame" not in done.stdout + done.stderr
    assert "redis://:***@127.0.0.1:1/0" in found["redis"]["message"]
    done = CommandLine(home).run("doctor")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_setting_that_is_none_is_named(look: Look) -> None:
    found = look(log_uri="kafka://a:1")
    assert found["settings"].state == "failed"
    assert "did you mean TCPD_LOG_URL" in found["settings"].message


@pytest.mark.parametrize(
    ("feeds", "why"),
    [
        ("binance:BTC/USDT,BTC/USDT", "feed 'BTC/USDT': write VENUE:SYMBOL"),
        ("OKX:BTC/USDT", "did you mean okx?"),
    ],
)
def test_feeds_that_are_set_and_are_none_fail_before_they_are_started(
    look: Look, feeds: str, why: str
) -> None:
    found = look(feeds=feeds)["feeds"]
    assert found.state == "failed" and why in found.message
    assert found.hint == "mend the setting `feeds` (environment TCPD_FEEDS)"


def test_tokens_that_others_can_read_fail_with_the_way_out(look: Look, home: Path) -> None:
    (home / "token").chmod(0o644)
    found = look()["tokens"]
    assert (found.state, f"chmod 600 {home / 'token'}" in found.hint) == ("failed", True)


def test_folders_that_cannot_be_written_fail(look: Look, small_disk: Path, home: Path) -> None:
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)  # where even root cannot write
    found = look(home=small_disk / "home", kernels=small_disk / "kernels")
    assert {part for part, f in found.items() if f.state == "failed"} == {
        "home",
        "log",
        "database",
        "kernels",
    }
    assert f"{small_disk} cannot be written" in found["home"].message
    (home / "file").touch()
    assert "is a file, a folder is needed" in look(home=home / "file", kernels=home / "k")["home"].message


def test_a_disk_that_is_nearly_full_fails(look: Look, small_disk: Path) -> None:
    found = look(home=small_disk)["home"]
    assert (found.state, "MB free" in found.message) == ("failed", True)


def test_a_damaged_log_fails(look: Look, home: Path) -> None:
    file = home / "log" / "log.db"
    spoilt = bytearray(file.read_bytes())
    spoilt[8192:16384] = bytes(8192)
    file.write_bytes(spoilt)
    found = look()["log"]
    assert (found.state, "restore a copy" in found.hint) == ("failed", True), found


def test_who_folds_is_named(look: Look, home: Path) -> None:
    with backend_of(f"embedded://{home}/log").folding("ann-7", home):
        assert f"folded by worker ann-7 (pid {os.getpid()}" in look()["log"].message
    assert "nobody folds it" in look()["log"].message


def test_a_database_behind_the_log_is_a_warning(look: Look, home: Path) -> None:
    (home / "projections.db").unlink()
    migrate(f"sqlite:///{home}/projections.db")
    found = look()["worker"]
    assert (found.state, "not in the database" in found.message) == ("warning", True)


def test_a_broken_strategy_file_and_one_that_never_ends_fail(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import nothing_of_that_name\n")
    assert f"{file}:1" in look(strategies=file)["strategies"].message
    monkeypatch.setattr(doctor, "CHECK_S", 1.0)
    file.write_text("import time\nfor _ in range(60): time.sleep(1)\n")
    assert "no answer within" in look(strategies=file)["strategies"].message


def test_servers_that_accept_and_say_nothing_fail_without_being_waited_for(
    look: Look, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECK_S", 5.0)
    found = look(
        log_url=f"kafka://127.0.0.1:{silent}",
        database_url=f"postgresql+psycopg2://ann:sesame@127.0.0.1:{silent}/x",
        redis_url=f"redis://127.0.0.1:{silent}/0",
    )
    assert {part for part, f in found.items() if f.state == "failed"} == {"log", "database", "redis"}
    assert all(f.hint for f in found.values() if f.state == "failed")
    assert "sesame" not in str(found)


def test_a_database_server_is_judged_by_its_tables_and_whether_it_answers(
    look: Look, postgres: Postgres, port: int
) -> None:
    url = postgres.fresh()
    found = look(database_url=url)["database"]
    assert (found.state, found.hint) == ("failed", "run `tcpdashboard migrate`")
    assert "is at revision none" in found.message
    migrate(url)
    found = look(database_url=url)["database"]
    assert (found.state, "PostgreSQL 1" in found.message) == ("ok", True)
    postgres.give_back(url)
    away = look(database_url=f"postgresql+psycopg2://ann@127.0.0.1:{port}/x")["database"]
    assert (away.state, "refused" in away.message) == ("failed", True)


def test_redis_is_judged_by_whether_it_answers(look: Look, redis_server: Redis) -> None:
    found = look(redis_url=redis_server.url)["redis"]
    assert (found.state, "version" in found.message) == ("ok", True)
    redis_server.stop()
    found = look(redis_url=redis_server.url)["redis"]
    assert (found.state, "does not answer" in found.message) == ("failed", True)


@pytest.mark.kafka
def test_kafkas_topics_are_judged_and_not_made(look: Look, kafka: Kafka, port: int) -> None:
    prefix = f"test-{uuid4().hex}"
    url = f"kafka://{kafka.bootstrap}/{prefix}"
    try:
        found = look(log_url=url)["log"]
        assert (found.state, f"{prefix}.journal" in found.message) == ("warning", True)
        assert not [t for t in kafka.administer(lambda admin: admin.list_topics()) if prefix in t]
        open_log(url).close()
        assert look(log_url=url)["log"].state == "ok"
        assert "4 partitions, not 3" in look(log_url=url, partitions=3)["log"].message
    finally:
        kafka.delete_topics(prefix)
    other = f"{prefix}-week"
    journal = address_of(f"kafka://{kafka.bootstrap}/{other}").topic(topics.JOURNAL)
    kafka.create_topic(journal, 4)
    try:
        while journal not in kafka.administer(lambda admin: admin.list_topics()):
            pass  # brokers hear of it a little later
        found = look(log_url=f"kafka://{kafka.bootstrap}/{other}", partitions=4)["log"]
        assert (found.state, "has retention.ms=604800000, it must be -1" in found.message) == ("failed", True)
    finally:
        kafka.delete_topics(other)
    away = look(log_url=f"kafka://127.0.0.1:{port}")["log"]
    assert (away.state, "does not answer" in away.message) == ("failed", True)


@pytest.mark.kafka
def test_kafkas_release_and_the_workers_at_work_are_named(look: Look, kafka: Kafka, home: Path) -> None:
    prefix = f"test-{uuid4().hex}"
    url = f"kafka://{kafka.bootstrap}/{prefix}"
    log = open_log(url, partitions=1)
    database = f"sqlite:///{home}/on-kafka.db"
    migrate(database)
    try:
        found = look(log_url=url, database_url=database)
        assert "Kafka 4.1, all topics there" in found["log"].message
        assert "nobody folds it" in found["log"].message
        JournalWriter(log, "test", 0).append(spot(), key=spot().key)
        assert look(log_url=url, database_url=database)["worker"].state == "warning"
        settings = {"TCPD_LOG_URL": url, "TCPD_DATABASE_URL": database, "TCPD_WORKER": "ann-7"}
        worker = Running(CommandLine(home, settings), "worker")
        try:
            assert worker.line["worker"] == "ann-7"
            found = look(log_url=url, database_url=database)
            assert "folded by ann-7;" in found["log"].message
            assert found["worker"].state == "ok"
            worker.end()
        finally:
            worker.kill()
        while "nobody folds it" not in look(log_url=url, database_url=database)["log"].message:
            pass  # it has kept its place for the length of a session, to come back to
    finally:
        log.close()
        kafka.delete_topics(prefix)


def test_the_api_is_looked_for_where_it_was_left_by_a_process_that_lives(
    look: Look, home: Path, port: int, an_api: int
) -> None:
    url = f"http://127.0.0.1:{an_api}"
    with announced(home, API, url):
        assert look()["api"].message == f"it answers at {url}"
    assert look()["api"].message == f"port {port} is free", "of a process that has ended nothing counts"


@pytest.mark.parametrize("said", [b"SSH-2.0-other\r\n", b""])
def test_a_port_that_another_program_has_is_a_warning(look: Look, port: int, said: bytes) -> None:
    """Also where it breaks off at once, as an API that is just ending does."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(30)

        def answer() -> None:
            one, _ = server.accept()
            with one:
                one.recv(100)
                one.sendall(said)
                if not said:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=answer)
        thread.start()
        found = look()["api"]
        thread.join()
    assert (found.state, "another program" in found.message) == ("warning", True)


def test_markets_that_are_stale_or_down_and_a_clock_that_is_wrong_are_named(look: Look, home: Path) -> None:
    settings = load_settings({"TCPD_HOME": str(home)})
    log = open_log(settings.log_url)
    feed = Feed(market="test:A/USDT", source="feed", state="live", since=START)
    JournalWriter(log, "feed", 1).append(feed, key=feed.market)
    log.close()
    assert look()["feeds"] == Finding(
        "feeds",
        "warning",
        "test:A/USDT is down since 2026-01-01T00:00:00Z: nobody collects it; its collector ended without a"
        " word",
        "`tcpdashboard sources` has all that is known of them",
    )
    provider = ProviderStatus(-700.0, 0, RestStatus(0, 60), None, {})

    def told(state: FeedState, provider: ProviderStatus | None = None) -> None:
        markets = [
            MarketStatus(f"test:{name}/USDT", state, "deaf", 0, 1.0, 0.0, 0, (0, 0, 0)) for name in "ABCDEFG"
        ]
        tell_status(home, SourceStatus("test", 2**62, markets, provider, None, 0, None))

    with in_hand(home, "test", ["A/USDT"]):
        told("stale")
        names = ", ".join(f"test:{name}/USDT" for name in "ABCDE")
        assert look()["feeds"].message == f"{names} and 2 more are stale: deaf"
        told("live")
        assert look()["feeds"] == Finding("feeds", "ok", "of 7 markets 7 are live")
        told("live", provider)
        found = [finding for finding in examine(0) if finding.part == "feeds"]
        assert [finding.state for finding in found] == ["warning", "ok"]
        assert found[0].message == "the clock here is 700 ms behind that of test: have it set by NTP"
