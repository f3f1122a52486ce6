"""`verify` finds whatever was altered, and says what it could not prove."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.db.projector import DatabaseSink
from infra.db.schema import migrate
from infra.strategies.registry import Strategies
from infra.upkeep.rebuild import rebuild
from infra.upkeep.witnesses import witnesses
from projections.audit import verify as audit
from projections.audit.anchors import AnchorError, Chains, anchors_in
from projections.audit.verify import Verified, verify
from projections.fold import pipeline
from projections.fold.pipeline import STATE_VERSION, Pipeline, PipelineState, StateHead
from streams.codec import decode_input, decode_output, encode
from streams.embedded import file
from streams.embedded.backend import EmbeddedBackend
from streams.embedded.log import EmbeddedLog
from streams.events import TickBatch, WorkerStarted
from streams.journal import genesis_at
from streams.log import LogError
from streams.records import Entry, Output
from streams.topics import BOTS, CANDLES, DERIVED, GROUP, JOURNAL, SIGNALS, SNAPSHOTS, SYSTEM
from tests.forging import seal
from tests.journal import batch, create, records, spot

BTC = spot()
EPOCH = 1_767_225_600_000
CODE = "c0de" * 16
WRITTEN = (("epoch", str(EPOCH).encode()), ("code", CODE.encode()))
RECORDS = 600
"""One more than a checkpoint needs, and some behind it."""


class Home:
    """A log in a folder of its own, which a worker folded, and its database."""

    def __init__(self, folder: Path, strategies: Strategies) -> None:
        self.folder, self.strategies = folder, strategies
        self.url = f"embedded://{folder}/log"
        self.database = f"sqlite:///{folder}/projections.db"
        self.state: tuple[int, bytes] | None = None
        self.warned: list[str] = []

    def copy(self, folder: Path) -> "Home":
        shutil.copytree(self.folder, folder)
        copied = Home(folder, self.strategies)
        copied.state = self.state
        return copied

    def record(self) -> None:
        """What a worker writes: its start, every output with its headers, and a commit."""
        code = self.strategies.latest("sma_cross").code_hash
        inputs = [(BTC.key, BTC), (BTC.key, create(BTC, code_hash=code, params={"fast": 2, "slow": 3}))]
        inputs += [(BTC.key, batch(BTC, [(20 * n, 100 + n * 7 % 13 - n * 3 % 5, 2)])) for n in range(RECORDS)]
        pipeline = Pipeline(0, self.strategies)
        with closing(EmbeddedLog(self.url, partitions=1)) as log:
            started = Output(0, -1, (0,), (WorkerStarted(worker="w", epoch=EPOCH, at=EPOCH * 1_000_000),))
            log.append([Entry(SYSTEM, b"w", encode(started), EPOCH, 0)])
            for record in records(inputs):
                log.append([Entry(JOURNAL, record.key, record.value, record.time_ms, 0)], sync=False)
                derived = pipeline.fold(record).derived
                log.append([Entry(d.topic, d.key, d.value, d.time_ms, 0, WRITTEN) for d in derived])
            self.state = (pipeline.applied, pipeline.snapshot())
        migrate(self.database)

    def verify(self) -> Verified:
        self.warned.clear()
        with closing(EmbeddedLog(self.url)) as log:
            asked = witnesses(log, self.database, self.warned.append)
            return verify(log, self.strategies, lambda _: self.state, asked)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "log" / "log.db")

    def sql(self, statement: str, *values: object, sealed: bool = True) -> int:
        with closing(self.connect()) as connection, connection:
            changed = connection.execute(statement, values).rowcount
            if sealed:
                seal(connection)
            return changed

    def id_of(self, topic: str, offset: int) -> int:
        with closing(self.connect()) as connection:
            (topic_id,) = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
        return file.base_of(topic_id, 0) + offset

    def delete(self, *topics: str) -> None:
        for topic in topics:
            self.sql("DELETE FROM records WHERE topic = ?", topic)

    def alter(self, topic: str, offset: int, column: str, value: object, *, sealed: bool = True) -> None:
        statement = f'UPDATE records SET {column} = ? WHERE topic = ? AND partition = 0 AND "offset" = ?'  # noqa: S608 - names of this file
        assert self.sql(statement, value, topic, offset, sealed=sealed) == 1

    def commit(self) -> None:
        with closing(EmbeddedLog(self.url)) as log:
            assert log.stage_commits(GROUP, {(JOURNAL, 0): log.highwater(JOURNAL, 0)})
            log.commit()

    def project(self) -> None:
        with closing(EmbeddedLog(self.url)) as log:
            rebuild(log, self.database)

    def checkpoint(self) -> tuple[int, Output]:
        with closing(EmbeddedLog(self.url)) as log:
            found = [(r.offset, decode_output(r.value)) for r in log.read(BOTS, 0) if r.key == b""]
        ((offset, output),) = found
        return offset, output

    def alter_checkpoint(self, **changes: object) -> None:
        offset, output = self.checkpoint()
        changed = msgspec.structs.replace(output.events[0], **changes)
        value = encode(msgspec.structs.replace(output, events=(changed,)))
        self.alter(BOTS, offset, "value", value)

    def alter_state(self, **changes: object) -> None:
        assert self.state is not None
        held = msgspec.msgpack.decode(self.state[1], type=PipelineState)
        self.state = (self.state[0], msgspec.msgpack.encode(msgspec.structs.replace(held, **changes)))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, strategies: Strategies) -> Home:
    home = Home(tmp_path_factory.mktemp("honest"), strategies)
    home.record()
    return home


@pytest.fixture
def home(honest: Home, tmp_path: Path) -> Iterator[Home]:
    return honest.copy(tmp_path / "home")


def test_an_honest_log_is_proven(home: Home) -> None:
    home.commit()
    home.project()
    result = home.verify()
    assert result.difference is None
    assert result.proven
    assert (result.behind, result.states_unchecked, home.warned) == (0, 0, [])
    assert result.compared[SIGNALS] > 10
    assert result.started == {EPOCH: EPOCH * 1_000_000}


# ------------------------------------------------------------------ streams that were deleted


def test_streams_and_snapshots_that_were_all_deleted_leave_nothing_proven(home: Home) -> None:
    home.delete(*DERIVED, SNAPSHOTS)
    home.state = None
    result = home.verify()
    assert result.equal
    assert not result.proven
    assert result.behind == result.records == RECORDS + 2


@pytest.mark.parametrize(
    ("say", "who"),
    [(Home.commit, "the workers' commit"), (Home.project, "the database")],
)
def test_whoever_has_read_the_deleted_streams_contradicts(
    home: Home, say: Callable[[Home], None], who: str
) -> None:
    say(home)
    home.delete(*DERIVED, SNAPSHOTS)
    home.state = None
    result = home.verify()
    assert result.difference is not None
    assert who in result.difference.why


@pytest.mark.parametrize("topic", DERIVED)
def test_one_deleted_stream_is_missed_without_any_snapshot(home: Home, topic: str) -> None:
    home.project()
    home.delete(topic, SNAPSHOTS)
    home.state = None
    difference = home.verify().difference
    assert difference is not None
    assert difference.topic == topic


def test_a_stream_filled_up_with_repeats_is_missed(home: Home) -> None:
    """So that it ends where the database has read it to."""
    home.project()
    home.sql(
        "UPDATE records SET value = (SELECT value FROM records WHERE topic = 'candles' AND \"offset\" = 3),"
        " key = (SELECT key FROM records WHERE topic = 'candles' AND \"offset\" = 3)"
        " WHERE topic = 'candles' AND \"offset\" > 3"
    )
    home.state = None
    difference = home.verify().difference
    assert difference is not None
    assert difference.topic == CANDLES


def test_a_database_that_is_not_there_is_told(home: Home) -> None:
    (home.folder / "projections.db").unlink()
    assert home.verify().proven
    assert "no database" in home.warned[0]
    assert not (home.folder / "projections.db").exists()


def test_a_database_that_goes_on_behind_the_log_is_no_contradiction(home: Home) -> None:
    with closing(EmbeddedLog(home.url)) as log:
        sink = DatabaseSink(home.database)
        sink.apply(list(log.read(CANDLES, 0, 0, 5)))
        sink.close()
    assert home.verify().difference is None


# ------------------------------------------------------------------ times, keys and headers


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("time_ms", 5, "the record's time is 5 ms, that of its cause is "),
        ("key", b"test:ETH/USDT", "differs from what the journal gives"),
        ("headers", (("epoch", b"7"), WRITTEN[1]), "no worker of the epoch"),
        ("headers", (("epoch", b"x"), WRITTEN[1]), "no worker of the epoch"),
        ("headers", (WRITTEN[0], ("code", b"0" * 64)), "another code"),
        ("headers", (WRITTEN[1],), "not epoch and code"),
    ],
)
def test_a_record_of_another_time_key_or_writer_is_found(
    home: Home, column: str, value: object, words: str
) -> None:
    if column == "headers":
        value = msgspec.msgpack.encode(value)
    home.alter(CANDLES, 7, column, value)
    difference = home.verify().difference
    assert difference is not None
    assert (difference.topic, difference.offset) == (CANDLES, 7)
    assert words in difference.why


def test_a_repeat_of_another_time_is_found(home: Home) -> None:
    with closing(EmbeddedLog(home.url)) as log:
        (first, *_) = log.read(CANDLES, 0)
        log.append([Entry(CANDLES, first.key, first.value, first.time_ms, 0, WRITTEN)])
    assert home.verify().repeats == 1
    with closing(EmbeddedLog(home.url)) as log:
        log.append([Entry(CANDLES, first.key, first.value, first.time_ms + 1, 0, WRITTEN)])
    assert home.verify().difference is not None


# ------------------------------------------------------------------ states of other versions


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has raised the version of its state."""
    for module in (pipeline, audit):
        monkeypatch.setattr(module, "STATE_VERSION", STATE_VERSION + 1)


def test_states_of_an_older_version_are_counted_and_the_journals_hashes_compared(
    home: Home, later: None
) -> None:
    home.alter_checkpoint(state_sha256="0" * 64)
    home.alter_state(registered=99)
    result = home.verify()
    assert result.difference is None
    assert result.states_unchecked == 2
    home.alter_checkpoint(journal_sha256="0" * 64)
    difference = home.verify().difference
    assert difference is not None
    assert difference.topic == BOTS


def test_a_snapshot_of_an_older_version_is_of_the_same_journal(home: Home, later: None) -> None:
    home.alter_state(chain=bytes(32))
    difference = home.verify().difference
    assert difference is not None
    assert "made of other journal bytes" in difference.why


def test_a_version_that_never_was_excuses_nothing(home: Home) -> None:
    home.alter_state(version=STATE_VERSION + 1, registered=99)
    assert home.verify().difference is not None
    home.state = None
    home.alter_checkpoint(state_sha256="0" * 64, state_version=STATE_VERSION + 1)
    assert home.verify().difference is not None


def test_a_state_of_the_same_version_must_be_the_same(home: Home) -> None:
    home.alter_state(registered=99)
    assert home.verify().difference is not None
    home.state = None
    home.alter_checkpoint(state_sha256="0" * 64)
    assert home.verify().difference is not None


# ------------------------------------------------------------------ checksums


def alterations() -> list[tuple[str, object]]:
    return [
        ("key", b"test:BTC/USDU"),
        ("key", None),
        ("key", "no blob"),
        ("value", b""),
        ("time_ms", EPOCH),
        ("time_ms", 2**62),
        ("time_ms", "soon"),
        ("high_ms", 2**62),
        ("headers", b"\x90"),
        ("headers", b"\x91\xc1"),
        ("topic", "trades"),
        ("topic", b"\xff"),
        ("crc", 0),
    ]


@pytest.mark.parametrize(("column", "value"), alterations())
@pytest.mark.parametrize("topic", [JOURNAL, CANDLES])
def test_a_record_altered_without_its_checksum_is_damaged_for_every_reader(
    home: Home, topic: str, column: str, value: object
) -> None:
    home.sql(f"UPDATE records SET {column} = ? WHERE id = ?", value, home.id_of(topic, 7), sealed=False)  # noqa: S608 - names of this file
    with closing(EmbeddedLog(home.url)) as log, closing(log.tail({(topic, 0): 0})) as tail:
        assert [r.offset for r in log.read(topic, 0) if r.damaged] == [7]
        assert [r.offset for r in log.read(topic, 0, 5, 9) if r.damaged] == [7]
        assert [r.offset for r in tail.read(0) if r.damaged] == [7]
    assert [(d.topic, d.partition, d.offset) for d in home.verify().damaged] == [(topic, 0, 7)]
    assert f"changed: {topic}:0:7" in EmbeddedBackend(home.url).examine().message


def test_all_that_is_damaged_is_named(home: Home) -> None:
    places = [(JOURNAL, 5), (CANDLES, 3), (CANDLES, 8), (BOTS, 2), (SYSTEM, 0)]
    for topic, offset in places:
        home.sql("UPDATE records SET value = X'00' WHERE id = ?", home.id_of(topic, offset), sealed=False)
    result = home.verify()
    assert not result.equal
    assert {(d.topic, d.offset) for d in result.damaged} == set(places)


def test_records_that_are_gone_are_named(home: Home) -> None:
    home.sql('DELETE FROM records WHERE topic = ? AND "offset" IN (3, 4)', CANDLES)
    (gone,) = home.verify().damaged
    assert (gone.topic, gone.offset) == (CANDLES, 3)
    assert "2 records from here on are gone" in gone.why


@pytest.mark.parametrize("high_ms", [EPOCH * 2, 0])
def test_a_high_time_with_its_checksum_is_found(home: Home, high_ms: int) -> None:
    home.alter(CANDLES, 7, "high_ms", high_ms, sealed=False)
    with closing(home.connect()) as connection, connection:
        columns = "id, CAST(topic AS BLOB), time_ms, high_ms, key, headers, value"
        row = connection.execute(f"SELECT {columns} FROM records WHERE id = ?", (home.id_of(CANDLES, 7),))  # noqa: S608 - as above
        record_id, *rest = row.fetchone()
        crc = file.checksum(record_id, *rest)
        connection.execute("UPDATE records SET crc = ? WHERE id = ?", (crc, record_id))
    assert [(d.topic, d.offset) for d in home.verify().damaged] == [(CANDLES, 7)]


# ------------------------------------------------------------------ who wrote it


def test_records_whose_headers_were_all_removed_are_found(home: Home) -> None:
    home.sql("UPDATE records SET headers = NULL WHERE topic IN ('candles', 'signals', 'trades', 'bots')")
    difference = home.verify().difference
    assert difference is not None
    assert "no headers" in difference.why


def test_what_stood_there_before_the_first_worker_needs_no_headers(home: Home) -> None:
    home.sql("UPDATE records SET headers = NULL WHERE topic = 'candles' AND \"offset\" < 9")
    started = WorkerStarted(worker="w", epoch=EPOCH, at=EPOCH * 1_000_000, ends={"candles:0": 9})
    home.alter(SYSTEM, 0, "value", encode(Output(0, -1, (0,), (started,))))
    assert home.verify().equal
    home.sql("UPDATE records SET headers = NULL WHERE topic = 'candles' AND \"offset\" = 9")
    difference = home.verify().difference
    assert difference is not None
    assert difference.offset == 9


def test_a_repeat_whose_headers_name_nobody_is_found(home: Home) -> None:
    with closing(EmbeddedLog(home.url)) as log:
        (first, *_) = log.read(CANDLES, 0)
        log.append([Entry(CANDLES, first.key, first.value, first.time_ms, 0, (("epoch", b"7"), WRITTEN[1]))])
    difference = home.verify().difference
    assert difference is not None
    assert "a repeat of an earlier record: no worker of the epoch" in difference.why


@pytest.mark.parametrize("changed", [{"at": EPOCH * 1_000_000 + 1_000_000}, {"worker": "v"}, {"epoch": 7}])
def test_a_start_of_another_time_or_name_is_found(home: Home, changed: dict[str, object]) -> None:
    started = WorkerStarted(worker="w", epoch=EPOCH, at=EPOCH * 1_000_000)
    other = msgspec.structs.replace(started, **changed)
    home.alter(SYSTEM, 0, "value", encode(Output(0, -1, (0,), (other,))))
    assert not home.verify().equal


# ------------------------------------------------------------------ partitions, and nothing to compare


def test_partitions_are_those_that_hold_records_whatever_meta_says(tmp_path: Path) -> None:
    with closing(EmbeddedLog(f"embedded://{tmp_path}", partitions=2)) as log:
        log.append([Entry(CANDLES, b"test:X/Y", b"", 1, 1)])
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'partitions'")
    with pytest.raises(LogError, match="partition 1 of 'candles' holds records"):
        EmbeddedLog(f"embedded://{tmp_path}")
    assert "partition 1 of 'candles'" in EmbeddedBackend(f"embedded://{tmp_path}").examine().message


def test_more_partitions_than_the_journal_began_with_are_found(home: Home) -> None:
    home.sql("UPDATE meta SET value = '2' WHERE name = 'partitions'")
    difference = home.verify().difference
    assert difference is not None
    assert "the journal began with 1 partitions, the log has 2" in difference.why


def test_a_journal_from_which_nothing_follows_proves_nothing(tmp_path: Path, strategies: Strategies) -> None:
    pipeline = Pipeline(0, strategies)
    with closing(EmbeddedLog(f"embedded://{tmp_path}", partitions=1)) as log:
        for record in records([(BTC.key, BTC)]):
            log.append([Entry(JOURNAL, record.key, record.value, record.time_ms, 0)])
            assert not pipeline.fold(record).derived
        result = verify(log, strategies, lambda _: (pipeline.applied, pipeline.snapshot()))
    assert result.equal
    assert not result.proven


# ------------------------------------------------------------------ anchors


def anchor_of(home: Home) -> str:
    with closing(EmbeddedLog(home.url)) as log:
        return Chains(log, {}).text()


def anchored(home: Home, *texts: str) -> Verified:
    with closing(EmbeddedLog(home.url)) as log:
        return verify(log, home.strategies, lambda _: None, anchors=anchors_in("".join(texts), "kept"))


def test_an_anchor_is_the_homes_identity_and_a_chain_for_each_stream(home: Home) -> None:
    first, *lines = anchor_of(home).splitlines()
    with closing(EmbeddedLog(home.url)) as log:
        assert first == f"home {genesis_at(log, 0).home}"
        ends = {topic: log.highwater(topic, 0) for topic in (JOURNAL, *DERIVED, SYSTEM)}
    assert {line.split()[0]: int(line.split()[2]) + 1 for line in lines} == ends
    assert home.state is not None
    chain = msgspec.msgpack.decode(home.state[1], type=StateHead).chain.hex()
    assert lines[0] == f"journal 0 {home.state[0]} {chain}"


def test_chains_go_on_from_a_kept_anchor(home: Home) -> None:
    before = anchor_of(home)
    with closing(EmbeddedLog(home.url)) as log:
        (known,) = anchors_in(before, "kept")
        log.append([Entry(SYSTEM, b"w", b"", EPOCH, 0)])
        assert Chains(log, known.links).text() == Chains(log, {}).text() != before
    assert anchored(home, before, anchor_of(home)).equal


def forged_code(home: Home) -> None:
    """One code hash for another, in all headers."""
    other = msgspec.msgpack.encode((WRITTEN[0], ("code", b"0" * 64)))
    home.sql("UPDATE records SET headers = ? WHERE headers IS NOT NULL AND topic != 'journal'", other)


def forged_trade(home: Home) -> None:
    """Another size of one trade, and everything that follows from it."""
    with closing(EmbeddedLog(home.url)) as log:
        entries = [Entry(r.topic, r.key, r.value, r.time_ms, 0, r.headers) for r in log.read(JOURNAL, 0)]
        system = [Entry(r.topic, r.key, r.value, r.time_ms, 0, r.headers) for r in log.read(SYSTEM, 0)]
    place = 9
    given = decode_input(entries[place].value)
    assert isinstance(given.event, TickBatch)
    (size,) = np.frombuffer(given.event.size, np.int64)
    event = msgspec.structs.replace(given.event, size=(size + 1).tobytes())
    value = encode(msgspec.structs.replace(given, event=event))
    entries[place] = entries[place]._replace(value=value)
    shutil.rmtree(home.folder / "log")
    pipeline = Pipeline(0, home.strategies)
    with closing(EmbeddedLog(home.url, partitions=1)) as log:
        log.append([*system, *entries])
        for record in log.read(JOURNAL, 0):
            derived = pipeline.fold(record).derived
            log.append([Entry(d.topic, d.key, d.value, d.time_ms, 0, WRITTEN) for d in derived], sync=False)
    home.state = (pipeline.applied, pipeline.snapshot())


@pytest.mark.parametrize(
    ("forge", "streams"), [(forged_code, {*DERIVED}), (forged_trade, {JOURNAL, CANDLES})]
)
def test_a_consistent_forgery_is_found_by_an_anchor_and_by_nothing_else(
    home: Home, forge: Callable[[Home], None], streams: set[str]
) -> None:
    kept = anchor_of(home)
    assert anchored(home, kept).equal
    forge(home)
    plain = home.verify()
    assert plain.equal
    assert plain.proven
    result = anchored(home, kept)
    assert not result.equal
    assert {fault.topic for fault in result.damaged} >= streams
    later = anchored(home, kept, anchor_of(home))
    assert not later.equal, "each anchor of a file counts"


def test_a_log_that_ends_before_its_anchor_or_is_of_another_home_is_found(home: Home) -> None:
    kept = anchor_of(home)
    home.sql("DELETE FROM records WHERE topic = 'system'")
    (cut,) = anchored(home, kept).damaged
    assert (cut.topic, cut.offset) == (SYSTEM, 0)
    lines = anchor_of(home).splitlines(keepends=True)
    (other,) = anchored(home, "home 00ff\n", *lines[1:]).damaged
    assert "is of the home 00ff" in other.why


@pytest.mark.parametrize(
    "text", ["", "home 00\n", "journal 0 1 00\n", "home 00\njournal 0 x 00\n", "home 00\n7"]
)
def test_a_text_that_is_no_anchor_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(AnchorError, match="kept"):
        anchors_in(text, "kept")


def test_a_damaged_log_gives_no_anchor(home: Home) -> None:
    home.sql("UPDATE records SET crc = 0 WHERE id = ?", home.id_of(CANDLES, 7), sealed=False)
    with pytest.raises(LogError, match="candles:0:7 is damaged"):
        anchor_of(home)
