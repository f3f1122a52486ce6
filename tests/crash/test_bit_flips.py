"""Every bit of a home that was collected live and killed names itself when it flips."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any, NamedTuple

import pytest

from infra.process.settings import Settings, load_settings
from infra.strategies.registry import load_strategies
from projections.audit.damage import damage
from projections.audit.verify import verify
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import TickBatch
from streams.log import Log
from streams.snapshots import latest
from streams.topics import BOTS, CANDLES, JOURNAL, SIGNALS, TRADES
from tests.programs import COMMAND, Program, environment

FLIPS, AT_ONCE = 2_000, 25
"""Each of the flips at once in another record."""
COLUMNS = ("key", "value", "time_ms", "headers")
JOURNAL_RECORDS = 150
BEHIND = 5
"""Journal records behind the last snapshot."""


class Flip(NamedTuple):
    record_id: int
    column: str
    before: Any
    after: Any


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with bots that traded, whose worker was killed, and then its collector."""
    home = tmp_path_factory.mktemp("live")
    environ = environment(home, {"TCPD_PARTITIONS": "2"})
    found = load_settings(environ)
    with Program(COMMAND, "up", "--demo", "--markets", "2", "--speed", "60", environment=environ) as up:
        up.until((home / "log" / "log.db").exists, "a log")
        with closing(open_log(found.log_url)) as log:
            up.until(lambda: all(held(log, topic) for topic in (SIGNALS, TRADES)), "trades")
            up.until(lambda: held(log, JOURNAL) >= JOURNAL_RECORDS, "the journal")
    with (
        Program(COMMAND, "collect", "--markets", "2", "--speed", "60", environment=environ) as collect,
        closing(open_log(found.log_url)) as log,
    ):
        goal = held(log, JOURNAL) + BEHIND
        collect.until(lambda: held(log, JOURNAL) >= goal, "some more")
    return found


def held(log: Log, topic: str) -> int:
    return sum(log.highwater(topic, partition) for partition in range(log.partitions))


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    with closing(open_log(settings.log_url)) as log:
        yield log


@pytest.fixture
def file(settings: Settings) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(settings.home / "log" / "log.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def flips(file: sqlite3.Connection, random: Random) -> Iterator[list[Flip]]:
    """One bit in each of some records, over and over."""
    query = "SELECT id, key, value, time_ms, headers FROM records"
    rows = {record_id: dict(zip(COLUMNS, cells, strict=True)) for record_id, *cells in file.execute(query)}
    while True:
        yield [flip(record_id, rows[record_id], random) for record_id in random.sample(sorted(rows), AT_ONCE)]


def flip(record_id: int, cells: dict[str, Any], random: Random) -> Flip:
    column = random.choice([name for name, cell in cells.items() if cell])
    before = cells[column]
    if isinstance(before, int):
        return Flip(record_id, column, before, before ^ 1 << random.randrange(63))
    changed, at = bytearray(before), random.randrange(8 * len(before))
    changed[at // 8] ^= 1 << at % 8
    return Flip(record_id, column, before, bytes(changed))


def write(file: sqlite3.Connection, flips: list[Flip], cell: str) -> None:
    with file:
        file.execute("BEGIN IMMEDIATE")
        for one in flips:
            statement = f"UPDATE records SET {one.column} = ? WHERE id = ?"  # noqa: S608 - names of this file
            file.execute(statement, (getattr(one, cell), one.record_id))


def places(file: sqlite3.Connection, flips: list[Flip]) -> set[tuple[str, int, int]]:
    marks = ", ".join("?" * len(flips))
    where = "FROM records JOIN topics ON topics.id = records.id >> 52"
    query = f'SELECT name, partition, "offset" {where} WHERE records.id IN ({marks})'
    return set(file.execute(query, [one.record_id for one in flips]))


def test_the_home_is_one_that_was_killed_between_two_snapshots(log: Log, settings: Settings) -> None:
    behind, rows = 0, list[int]()
    for partition in range(log.partitions):
        snapshot = latest(log, partition, pytest.fail)
        behind += log.highwater(JOURNAL, partition) - 1 - (snapshot.applied if snapshot else -1)
        for record in log.read(JOURNAL, partition):
            event = decode_input(record.value).event
            rows += [event.rows] if isinstance(event, TickBatch) else []
    assert behind >= BEHIND
    assert sum(rows) <= 20 * len(rows), "small records"
    assert all(held(log, topic) for topic in (CANDLES, SIGNALS, TRADES, BOTS))
    strategies = load_strategies(settings.kernels, settings.strategies)
    assert verify(log, strategies, lambda _: None).equal


def test_each_of_2000_flipped_bits_names_itself(log: Log, file: sqlite3.Connection) -> None:
    made = flips(file, Random(9))
    columns: set[str] = set()
    for _ in range(FLIPS // AT_ONCE):
        some = next(made)
        columns.update(one.column for one in some)
        write(file, some, "after")
        named = {(one.topic, one.partition, one.offset) for one in damage(log)}
        assert named == places(file, some)
        write(file, some, "before")
    assert columns == set(COLUMNS)
    assert list(damage(log)) == []


def test_verify_names_the_flipped_bits_whatever_else_follows_from_them(
    log: Log, file: sqlite3.Connection, settings: Settings
) -> None:
    strategies = load_strategies(settings.kernels, settings.strategies)
    made = flips(file, Random(10))
    for _ in range(10):
        some = next(made)
        write(file, some, "after")
        result = verify(log, strategies, lambda _: None)
        assert {(one.topic, one.partition, one.offset) for one in result.damaged} == places(file, some)
        write(file, some, "before")
