"""What the backend of every log tells without opening it, and who may fold."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams import topics
from streams.agents.app import make_app, run_worker
from streams.backends import backend_of, open_bare_log
from streams.kafka.topics import address_of
from streams.log import LogError
from streams.records import Entry
from tests.contract.conftest import LogHome

FOLDER = Path(__file__).with_name("folder.py")
ANSWER_S = 20.0


@pytest.fixture
def url(log_home: LogHome) -> str:
    """Of a log that is not there yet."""
    return log_home()


def made(url: str) -> None:
    """Make the log, with records on many pages."""
    log = open_bare_log(url)
    log.append([Entry(topics.JOURNAL, b"k", b"%d" % i + bytes(500), 1, 0) for i in range(500)])
    log.close()


def spoil(url: str) -> str:
    """Damage a log as only others can; returns what has to be told of it."""
    if url.startswith("embedded:"):
        path = Path(url.removeprefix("embedded://")) / "log.db"
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2 // 4096 * 4096)
            file.write(b"\xff" * 4096)
        return "is damaged: "
    address = address_of(url)
    topic = address.topic(topics.JOURNAL)

    async def forget_after_a_second() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=list(address.servers))
        await admin.start()
        try:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1000"})
            await admin.alter_configs([resource])
            while await told(admin) != "1000":
                pass  # a broker hears of it a little later
        finally:
            await admin.close()

    async def told(admin: AIOKafkaAdminClient) -> str:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}["retention.ms"]

    asyncio.run(forget_after_a_second())
    return "must be "


# ------------------------------------------------------------------ who folds


def test_a_worker_is_named_while_it_folds_and_no_longer(url: str, tmp_path: Path) -> None:
    log, backend = open_bare_log(url), backend_of(url)
    assert backend.folded_by() == []
    seen = threading.Event()

    def look() -> None:
        while not any("ann-7" in who for who in backend.folded_by() or ()):
            pass
        seen.set()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    app = make_app(url, worker="ann-7", datadir=tmp_path / "faust")

    @app.agent(app.topic(app.topic_of(topics.JOURNAL)))
    async def folding(stream):  # type: ignore[no-untyped-def] - Faust's own form of an agent
        async for _ in stream:
            pass

    run_worker(app, log, [], until=seen.is_set)
    looking.join()
    while backend.folded_by():
        pass  # on Kafka it keeps its place for the length of a session, to come back to
    log.close()


def test_a_second_folder_is_refused_by_name_until_the_first_is_killed(url: str, tmp_path: Path) -> None:
    backend = backend_of(url)
    backend.check_folding("ann-7", tmp_path)
    command = [sys.executable, str(FOLDER), url, "ann-7", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as folder:
        assert folder.stdout is not None
        assert folder.stdout.readline() == b"folding\n"
        told = rf"worker '?ann-7.*\(pid {folder.pid}, since 20.*Z\)"
        with pytest.raises(LogError, match=told):
            backend.check_folding("ann-7", tmp_path)
        with pytest.raises(LogError, match=told), backend.folding("ann-7", tmp_path):
            pass
        folder.kill()
    with backend.folding("ann-7", tmp_path), pytest.raises(LogError, match=f"pid {os.getpid()}"):
        backend.check_folding("ann-7", tmp_path)
    backend.check_folding("ann-7", tmp_path)


def test_another_worker_may_fold_too_where_the_log_is_shared_and_only_there(url: str, tmp_path: Path) -> None:
    backend = backend_of(url)
    with backend.folding("ann-7", tmp_path):
        if backend.shared:
            with backend.folding("bob-8", tmp_path):
                pass
        else:
            with pytest.raises(LogError, match="worker ann-7"), backend.folding("bob-8", tmp_path):
                pass


# ------------------------------------------------------------------ how the log is


def test_a_log_that_is_not_there_is_a_warning_and_is_not_made(url: str) -> None:
    for _ in range(2):
        found = backend_of(url).examine(answer_s=ANSWER_S)
        assert (found.state, "the first start makes" in found.hint) == ("warning", True), found
    if url.startswith("embedded:"):
        assert not Path(url.removeprefix("embedded://")).exists()


def test_a_log_that_is_as_it_must_be_is_ok_and_tells_who_folds(url: str) -> None:
    made(url)
    found = backend_of(url).examine(answer_s=ANSWER_S)
    assert (found.state, found.hint) == ("ok", ""), found
    assert "4 partitions" in found.message
    assert "nobody folds it" in found.message


def test_a_log_is_examined_beside_those_that_have_it_open(url: str) -> None:
    log = open_bare_log(url)
    log.append([Entry(topics.JOURNAL, b"k", b"", 1, 0)])
    assert backend_of(url).examine(answer_s=ANSWER_S).state == "ok"
    assert log.append([Entry(topics.JOURNAL, b"k", b"", 1, 0)])[0].offset == 1
    log.close()


def test_another_count_of_partitions_fails_as_it_does_at_a_start(url: str) -> None:
    made(url)
    with pytest.raises(LogError, match="4 partitions, not 3"):
        open_bare_log(url, partitions=3)
    found = backend_of(url).examine(partitions=3, answer_s=ANSWER_S)
    assert (found.state, "4 partitions, not 3" in found.message, bool(found.hint)) == ("failed", True, True)


def test_a_damaged_log_fails_with_what_to_do(url: str) -> None:
    made(url)
    told = spoil(url)
    found = backend_of(url).examine(answer_s=ANSWER_S)
    assert (found.state, told in found.message, bool(found.hint)) == ("failed", True, True), found


def test_a_url_that_names_no_log_is_refused() -> None:
    for url in ("embedded://relative", "kafka://no-port", "redis://127.0.0.1:1", ""):
        with pytest.raises(LogError, match="log URL"):
            backend_of(url)


def test_an_embedded_file_of_another_make_fails_with_what_to_do(tmp_path: Path) -> None:
    backend = backend_of(f"embedded://{tmp_path}")
    file = tmp_path / "log.db"
    file.write_bytes(b"no database" * 1_000)
    found = backend.examine()
    assert (found.state, "the file is no log" in found.hint) == ("failed", True), found
    file.unlink()
    sqlite3.connect(file).execute("CREATE TABLE other (x)").connection.close()
    found = backend.examine()
    assert (found.state, "of another make" in found.hint) == ("failed", True), found


def test_a_cluster_that_is_away_fails_with_what_to_do() -> None:
    backend = backend_of("kafka://127.0.0.1:1")
    found = backend.examine(answer_s=2)
    assert (found.state, "does not answer" in found.message, bool(found.hint)) == ("failed", True, True)
    with pytest.raises(LogError, match="does not answer"):
        backend.folded_by(answer_s=2)
