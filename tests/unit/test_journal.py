"""A source numbers its records, keeps them small, ends when a send fails, and finds its place
again."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from streams import codec
from streams.backends import open_bare_log
from streams.events import (
    BACKFILL,
    Clock,
    CreateBot,
    Gap,
    Market,
    ReconfigureBot,
    RegisterBot,
    RowKind,
    RowMarket,
    Sizing,
    StartBot,
    StopBot,
)
from streams.journal import (
    WIDE_KNOWN,
    JournalState,
    JournalWriter,
    KnownBot,
    Reached,
    command_entry,
    next_epoch,
    scan,
)
from streams.log import Log, LogError
from streams.records import Entry, Position, partition_of
from streams.ticks import NO_ID, Ticks, concatenate, key_of, pack, unpack, wide_ids
from streams.topics import JOURNAL, RECORD_BYTES_MAX

KEY = "sim:BTC/USDT"
ROW_MARKET = RowMarket(KEY, 2, 6)


@pytest.fixture
def log(tmp_path: Path) -> Iterable[Log]:
    log = open_bare_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


def ticks(start: int, rows: int, *, with_id: bool = True) -> Ticks:
    numbers = np.arange(start, start + rows, dtype=np.int64)
    return Ticks(
        np.zeros(rows, np.uint16),
        np.full(rows, RowKind.BUY, np.uint8),
        numbers * 1_000,
        numbers + 100,
        numbers + 1,
        numbers if with_id else None,
    )


def clock(time: int) -> Ticks:
    one = np.zeros(1, np.int64)
    return Ticks(np.zeros(1, np.uint16), np.array([RowKind.CLOCK], np.uint8), one + time, one, one, None)


def market(venue: str = "sim", symbol: str = "BTC/USDT") -> Market:
    return Market(
        venue=venue,
        symbol=symbol,
        base="BTC",
        quote="USDT",
        settle="USDT",
        contract="spot",
        price_scale=2,
        size_scale=6,
        cash_scale=8,
        price_step=1,
        size_step=1,
        min_size=1,
    )


def inputs(log: Log, key: str = KEY):
    partition = partition_of(key.encode(), log.partitions)
    return [codec.decode_input(r.value) for r in log.read(JOURNAL, partition)]


def keys_of_two_partitions(log: Log) -> tuple[str, str]:
    keys = [f"sim:{n}/USDT" for n in range(50)]
    other = next(k for k in keys if place(log, k) != place(log, keys[0]))
    return keys[0], other


def place(log: Log, key: str) -> int:
    return partition_of(key.encode(), log.partitions)


def test_sequences_are_dense_from_zero_in_each_partition(log):
    writer = JournalWriter(log, "feed", 3)
    first, second = keys_of_two_partitions(log)
    for time in range(4):
        writer.append(Clock(time=time, markets=(first,)), key=first)
        writer.append_all([(second, Clock(time=time, markets=(second,)))] * 2)
    assert [i.sequence for i in inputs(log, first)] == [0, 1, 2, 3]
    assert [i.sequence for i in inputs(log, second)] == list(range(8))
    assert {(i.source, i.epoch) for i in inputs(log, first)} == {("feed", 3)}


def test_a_record_goes_to_the_partition_of_its_key_and_names_its_source(log):
    (position,) = JournalWriter(log, "feed", 0).append(Clock(time=1, markets=(KEY,)), key=KEY)
    assert position == Position(JOURNAL, place(log, KEY), 0)
    (record,) = log.read(JOURNAL, position.partition)
    assert record.key == KEY.encode()
    assert dict(record.headers) == {"source": b"feed", "type": b"clock.v1"}


def test_a_batch_over_the_limit_becomes_records_below_it_with_the_same_rows(log):
    rows = ticks(0, 60_000)
    JournalWriter(log, "file:x", 0).append(pack([ROW_MARKET], rows, first_row=500), key=KEY)
    records = list(log.read(JOURNAL, place(log, KEY)))
    assert len(records) > 1
    assert all(len(r.value) <= RECORD_BYTES_MAX for r in records)
    parts = inputs(log)
    assert [p.sequence for p in parts] == list(range(len(parts)))
    assert [p.event.first_row for p in parts] == [500 + int(unpack(p.event).id[0]) for p in parts]
    whole = concatenate([unpack(p.event) for p in parts])
    for got, expected in zip(whole, rows, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_event_that_cannot_be_split_is_refused_and_the_writer_goes_on(log):
    writer = JournalWriter(log, "feed", 0)
    with pytest.raises(ValueError, match=r"Gap of sim:BTC/USDT has .* at most 900000"):
        writer.append(Gap(market=KEY, start=0, end=1, reason="x" * RECORD_BYTES_MAX), key=KEY)
    writer.append(Clock(time=1, markets=(KEY,)), key=KEY)
    assert [i.sequence for i in inputs(log)] == [0]


def test_a_batch_across_partitions_is_refused(log):
    first, second = keys_of_two_partitions(log)
    both = [RowMarket(first, 2, 2), RowMarket(second, 2, 2)]
    with pytest.raises(ValueError, match=f"holds {second} of partition"):
        JournalWriter(log, "feed", 0).append(pack(both, ticks(0, 2)), key=first)


class FailingLog:
    """A log whose disk is full from the second append on."""

    partitions = 4
    url = "full://"

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.calls = 0

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        self.calls += 1
        if self.calls > 1:
            raise LogError("no space left on device")
        self.entries += entries
        return []


def test_after_a_failed_send_nothing_more_is_sent():
    log = FailingLog()
    writer = JournalWriter(log, "feed", 0)
    writer.append(Clock(time=1, markets=(KEY,)), key=KEY)
    with pytest.raises(LogError, match="no space left"):
        writer.append(Clock(time=2, markets=(KEY,)), key=KEY)
    with pytest.raises(LogError, match=r"source 'feed' ended when a send failed .*no space left"):
        writer.append(Clock(time=3, markets=(KEY,)), key=KEY)
    assert log.calls == 2


def test_scan_finds_markets_epochs_rows_and_what_each_source_has_delivered(log):
    JournalWriter(log, "file:x", 2).append_all(
        [
            (KEY, market()),
            (KEY, pack([ROW_MARKET], ticks(0, 10, with_id=False), first_row=0)),
            (
                KEY,
                pack(
                    [ROW_MARKET],
                    concatenate([ticks(10, 5, with_id=False), clock(60_000)]),
                    first_row=12,
                ),
            ),
        ]
    )
    feed = JournalWriter(log, "feed", 7)
    feed.append(pack([ROW_MARKET], ticks(50, 3)), key=KEY)
    feed.append(Clock(time=99_000, markets=(KEY,)), key=KEY)
    state = scan(log, range(log.partitions))
    assert state.markets == {KEY: market()}
    file, live = state.source("file:x"), state.source("feed")
    assert (file.epoch, file.finished) == (2, True)
    assert file.reached == {KEY: Reached(60_000, NO_ID, 17)}
    assert (live.epoch, live.finished) == (7, False)
    assert live.reached == {KEY: Reached(99_000, 52)}


def test_scan_for_one_source_sees_that_source_and_every_market(log):
    JournalWriter(log, "other", 0).append_all([(KEY, market()), (KEY, Clock(time=5, markets=(KEY,)))])
    JournalWriter(log, "feed", 1).append(Clock(time=7, markets=(KEY,)), key=KEY)
    state = scan(log, [place(log, KEY)], source="feed")
    assert state.markets == {KEY: market()}
    assert state.source("feed").reached == {KEY: Reached(7, NO_ID)}
    assert state.source("other").reached == {}


def test_scan_for_nobodys_rows_sees_markets_and_bots_alone(log):
    JournalWriter(log, "feed", 0).append_all([(KEY, market()), (KEY, Clock(time=5, markets=(KEY,)))])
    signed = {"who": "tester", "at": 1, "bot_id": 1}
    spec = {
        "market": KEY,
        "timeframe": "1m",
        "strategy": "sma_cross",
        "short": False,
        "cash": 1,
        "cash_scale": 8,
    }
    commands = [
        RegisterBot(request="a", who="tester", at=1, market=KEY),
        CreateBot(
            **signed,
            **spec,
            request="b",
            code_hash="old",
            code_check="",
            params={"fast": 2},
            sizing=Sizing("equity", 1, 0),
        ),
        StartBot(**signed, request="c", code_hash="new"),
        ReconfigureBot(**signed, request="d", params={"fast": 3}),
        StopBot(**signed, request="e"),
    ]
    log.append([command_entry(command, KEY, place(log, KEY), 1) for command in commands])
    state = scan(log, [place(log, KEY)], source="")
    assert state.markets == {KEY: market()}
    assert state.bots == {1: KnownBot(KEY, "1m", "sma_cross", "new", {"fast": 3})}
    assert state.registered == 1
    assert state.newest == {}


def test_a_market_is_as_far_as_its_newest_row_that_is_not_backfilled(log):
    feed = JournalWriter(log, "feed", 0)
    feed.append(pack([ROW_MARKET], ticks(50, 3)), key=KEY)
    late = ticks(60, 3)
    feed.append(pack([ROW_MARKET], late._replace(kind=late.kind | np.uint8(BACKFILL))), key=KEY)
    assert scan(log, [place(log, KEY)]).newest == {KEY: Reached(52_000, 62)}


def test_scan_goes_on_from_a_hint(log):
    writer = JournalWriter(log, "feed", 1)
    writer.append_all([(KEY, Clock(time=t, markets=(KEY,))) for t in (1, 2, 3)])
    assert scan(log, [place(log, KEY)], start=3).sources == {}
    assert scan(log, [place(log, KEY)], start=2).source("feed").reached[KEY].time == 3


def test_scan_of_an_empty_journal_knows_nothing(log):
    state = scan(log, range(log.partitions))
    assert (state.markets, state.sources) == ({}, {})
    assert state.source("new").epoch == -1


def test_scan_passes_over_a_record_that_nobody_can_decode(log):
    partition = place(log, KEY)
    log.append([Entry(JOURNAL, KEY.encode(), b"\xc1 garbage", 0, partition)])
    JournalWriter(log, "feed", 0).append(Clock(time=7, markets=(KEY,)), key=KEY)
    assert scan(log, [partition]).source("feed").reached[KEY].time == 7


def test_what_an_older_writer_appends_behind_a_newer_one_does_not_count(log):
    known = scan(log, [place(log, KEY)]).source("feed").epoch
    older = JournalWriter(log, "feed", next_epoch(known))
    newer = JournalWriter(log, "feed", next_epoch(known))
    assert older.epoch < newer.epoch
    for writer, time in ((older, 1), (newer, 2), (older, 3)):
        writer.append(Clock(time=time, markets=(KEY,)), key=KEY)
    state = scan(log, [place(log, KEY)], source="feed").source("feed")
    assert (state.epoch, state.reached[KEY].time) == (newer.epoch, 2)
    known = JournalState(epochs={(place(log, KEY), "feed"): newer.epoch})
    behind = scan(log, [place(log, KEY)], start=2, source="feed", state=known)
    assert behind.source("feed").reached == {}


def test_an_epoch_is_above_the_known_one_even_where_the_clock_went_back():
    assert next_epoch(2**62) == 2**62 + 1


def test_of_ids_of_128_bits_the_newest_trades_are_known_by_their_keys(log: Log) -> None:
    writer = JournalWriter(log, "bybit", 1)
    for first in (0, WIDE_KNOWN):
        numbers = range(first, first + WIDE_KNOWN)
        rows = ticks(first, WIDE_KNOWN)._replace(id=wide_ids([n << 64 for n in numbers]))
        writer.append(pack([ROW_MARKET], concatenate([rows, clock(numbers[-1] * 1_000)])), key=KEY)
    reached = scan(log, range(log.partitions)).source("bybit").reached[KEY]
    assert (reached.time, reached.id) == ((2 * WIDE_KNOWN - 1) * 1_000, NO_ID)
    assert reached.known == tuple((n * 1_000, key_of(n << 64)) for n in range(WIDE_KNOWN, 2 * WIDE_KNOWN))
