"""Providers' messages come into the journal once, in order, with clock rows behind their ticks."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from infra.exchange.collector import DataCollector, Message
from infra.exchange.file_replay import FileReplay
from infra.exchange.lost import bytes_of, lost_row
from infra.exchange.provider import DataProvider, Delivery
from infra.exchange.simulated import START_NS, SimulatedExchange, Slice, market, symbols, ticks
from projections.fold.pipeline import Pipeline
from streams import codec
from streams.backends import open_log
from streams.events import (
    BACKFILL,
    MINUTE_NS,
    Candle,
    Clock,
    DeadLetter,
    Gap,
    GapFilled,
    Market,
    Repeats,
    RowKind,
    TickBatch,
)
from streams.journal import JournalWriter, Reached, next_epoch, scan
from streams.log import Log, LogError
from streams.records import Input, partition_of
from streams.ticks import Ticks, concatenate, unpack
from streams.topics import JOURNAL, SYSTEM
from tests.journal import fold, of, trades_in_candles
from tests.trade_files import import_file, market_of

HOUR_NS = 60 * MINUTE_NS
THREE = symbols(3)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


class Turn:
    """Awaited, it lets the other tasks take their turn."""

    def __await__(self):
        yield


class HandClock:
    """Real time that moves only while somebody waits; it may ring at its n-th step."""

    def __init__(self, ring_at: int = -1) -> None:
        self.s, self.steps, self.ring_at = 64.0, 0, ring_at
        self.ring = lambda: None

    def now(self) -> float:
        return self.s

    async def wait(self, seconds: float) -> None:
        self.s += 1 / 32 if seconds else 0
        self.steps += 1
        if self.steps == self.ring_at:
            self.ring()
        await Turn()


def collector_of(
    log: Log, provider: Any, clock: HandClock | None = None, kind=DataCollector
) -> DataCollector:
    collector = kind(log, scan(log, range(log.partitions)), linger_ms=0, now_s=(clock or HandClock()).now)
    collector.register_provider("sim", provider)
    return collector


def simulated(clock: HandClock, end_ns: int) -> SimulatedExchange:
    return SimulatedExchange(speed=4096.0, end_ns=end_ns, now_s=clock.now, wait=clock.wait)


def collect(log: Log, end_ns: int, names: Sequence[str] = THREE, *, kind=DataCollector) -> None:
    clock = HandClock()
    asyncio.run(collector_of(log, simulated(clock, end_ns), clock, kind).start_collection(names))


def collect_until_cancelled(log: Log, end_ns: int, step: int) -> None:
    """As a process that is stopped at a step of its clock, unless it ends before."""
    clock = HandClock(step)

    async def stopped():
        task = asyncio.ensure_future(
            collector_of(log, simulated(clock, end_ns), clock).start_collection(THREE)
        )
        clock.ring = task.cancel
        await task

    with suppress(asyncio.CancelledError):
        asyncio.run(stopped())


def inputs(log: Log) -> list[Input]:
    """Behind the genesis of each partition."""
    return [
        codec.decode_input(record.value)
        for partition in range(log.partitions)
        for record in log.read(JOURNAL, partition, 1)
    ]


def events(log: Log, kind: type) -> list:
    return [i.event for i in inputs(log) if isinstance(i.event, kind)]


def rows_of(log: Log, key: str) -> Ticks:
    """All rows of a market in the journal's order, clock rows among them."""
    parts = []
    for batch in events(log, TickBatch):
        rows = unpack(batch)
        for index, row_market in enumerate(batch.markets):
            if row_market.key == key:
                parts.append(Ticks(*(None if c is None else c[rows.market == index] for c in rows)))
    return concatenate(parts)


def assert_has_every_trade(log: Log, end_ns: int, names: Sequence[str] = THREE) -> None:
    for symbol in names:
        rows, made = rows_of(log, f"sim:{symbol}"), ticks(symbol, START_NS - 1, end_ns)
        trades = rows.kind != RowKind.CLOCK
        for name in ("kind", "time", "price", "size", "id"):
            np.testing.assert_array_equal(getattr(rows, name)[trades], getattr(made, name), err_msg=name)


def promised(log: Log) -> dict[str, Reached]:
    return scan(log, range(log.partitions)).source("sim").reached


# ---------------------------------------------------------------- the whole way


def test_the_journal_holds_every_market_every_trade_and_the_last_promise(log):
    end = START_NS + HOUR_NS
    collect(log, end)
    assert sorted(m.key for m in events(log, Market)) == sorted(f"sim:{s}" for s in THREE)
    assert_has_every_trade(log, end)
    assert {key: reached.time for key, reached in promised(log).items()} == {f"sim:{s}": end for s in THREE}


def test_metrics_count_the_trades_and_records_that_came_into_the_journal(log):
    names = ("tcpd_ticks_collected_total", "tcpd_records_collected_total")
    before = [REGISTRY.get_sample_value(name) for name in names]
    ages: list[dict[str, float]] = []

    class Measured(DataCollector):
        def send_signal_to_bots(self, processed):
            positions = super().send_signal_to_bots(processed)
            (_, label, seconds), *_ = self.gauges().values()
            assert label == "market"
            ages.append(dict(seconds()))
            return positions

    collect(log, START_NS + HOUR_NS, kind=Measured)
    counted = [REGISTRY.get_sample_value(name) - first for name, first in zip(names, before, strict=True)]
    made = [ticks(name, START_NS, START_NS + HOUR_NS).rows for name in THREE]
    assert counted == [sum(made), sum(log.highwater(JOURNAL, p) - 1 for p in range(log.partitions))]
    assert ages[0] == {}
    assert set(ages[-1]) == {f"sim:{name}" for name in THREE}


def test_records_lie_in_their_markets_partitions_with_dense_sequences(log):
    collect(log, START_NS + HOUR_NS, symbols(8))
    for partition in range(log.partitions):
        records = [codec.decode_input(r.value) for r in log.read(JOURNAL, partition, 1)]
        assert [r.sequence for r in records] == list(range(len(records)))
        for record in records:
            if isinstance(record.event, TickBatch):
                keys = [m.key for m in record.event.markets]
                assert {partition_of(k.encode(), log.partitions) for k in keys} == {partition}
                assert len(set(keys)) == len(keys)


def test_clock_rows_ride_behind_the_ticks_they_vouch_for(log):
    collect(log, START_NS + HOUR_NS)
    for batch in events(log, TickBatch):
        rows = unpack(batch)
        clock = rows.kind == RowKind.CLOCK
        assert clock.any() and (np.diff(clock.astype(np.int8)) >= 0).all()
        for index in np.unique(rows.market):
            mine = rows.market == index
            times = rows.time[mine & clock]
            assert len(times) <= 1
            if len(times):
                assert (rows.time[mine & ~clock] <= times[0]).all()


@given(stops=st.lists(st.integers(1, 30), max_size=4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_collector_that_is_stopped_anywhere_goes_on_exactly(tmp_path_factory, stops):
    log = open_log(f"embedded://{tmp_path_factory.mktemp('log')}")
    end = START_NS + HOUR_NS
    for step in stops:
        collect_until_cancelled(log, end, step)
    collect(log, end)
    assert_has_every_trade(log, end)
    assert len(events(log, Market)) == 3
    assert len({i.epoch for i in inputs(log)}) <= len(stops) + 1
    log.close()


def test_of_two_collectors_of_one_source_the_older_is_fenced_and_every_trade_counts_once(log, strategies):
    end = START_NS + HOUR_NS

    async def both() -> None:
        clocks = HandClock(), HandClock()
        pair = [collector_of(log, simulated(clock, end), clock) for clock in clocks]
        await asyncio.gather(*(collector.start_collection(THREE) for collector in pair))

    asyncio.run(both())
    assert len({i.epoch for i in inputs(log)}) == 2
    # What the older wrote before the newer's first record counts, and the newer's are repeats of it.
    assert trades_in_candles(log, strategies, told=(Repeats,)) == {
        f"sim:{symbol}": ticks(symbol, START_NS - 1, end).rows for symbol in THREE
    }


def test_what_a_collector_writes_again_behind_another_counts_once_and_is_told(log, strategies):
    end = START_NS + HOUR_NS
    clocks = HandClock(), HandClock()
    pair = [collector_of(log, simulated(clock, end), clock) for clock in clocks]
    for collector in pair:
        asyncio.run(collector.start_collection(THREE))
    made = {f"sim:{symbol}": ticks(symbol, START_NS - 1, end).rows for symbol in THREE}
    assert trades_in_candles(log, strategies, told=(Repeats,)) == made
    told = [
        event.trades
        for partition in range(log.partitions)
        for event in of(fold(Pipeline(partition, strategies), log.read(JOURNAL, partition)), Repeats)
    ]
    assert sum(told) == sum(made.values())


def test_a_stopped_collector_has_written_what_had_arrived(log):
    end = START_NS + 24 * HOUR_NS  # farther than the queue holds, should a write outlast the stop
    collect_until_cancelled(log, end, 10)
    reached = promised(log)
    (time,) = {r.time for r in reached.values()}
    assert START_NS < time < end
    assert_has_every_trade(log, time)


def test_a_market_whose_first_trades_were_lost_in_a_crash_begins_at_the_start(log):
    """On Kafka the partitions of one send are not written together."""
    end = START_NS + HOUR_NS
    collect(log, START_NS + 10 * MINUTE_NS, ["BTC/USDT"])
    JournalWriter(log, "sim", next_epoch(0)).append(market("ETH/USDT"), key="sim:ETH/USDT")
    collect(log, end, ["BTC/USDT", "ETH/USDT"])
    assert_has_every_trade(log, end, ["BTC/USDT", "ETH/USDT"])


# ---------------------------------------------------------------- promised names are the live path


class BrokenProcessing(DataCollector):
    def process_raw_data(self, raw: Message):
        raise RuntimeError("broken process_raw_data")


class BrokenSending(DataCollector):
    def send_signal_to_bots(self, processed):
        raise RuntimeError("broken send_signal_to_bots")


@pytest.mark.parametrize("kind", [BrokenProcessing, BrokenSending])
def test_a_broken_promised_method_stops_the_collection(log, kind):
    with pytest.raises(RuntimeError, match="broken"):
        collect(log, START_NS + HOUR_NS, kind=kind)
    assert events(log, TickBatch) == []


def test_a_message_becomes_rows_and_the_candles_it_closes(log):
    clock = HandClock()
    exchange = simulated(clock, START_NS + HOUR_NS)
    collector = collector_of(log, exchange, clock)
    asyncio.run(collector.start_collection(["ETH/USDT"]))
    made = ticks("ETH/USDT", START_NS + HOUR_NS, START_NS + HOUR_NS + MINUTE_NS)
    raw = Slice(START_NS + HOUR_NS + MINUTE_NS, {"ETH/USDT": made})
    processed = collector.process_raw_data(Message("sim", raw))
    (rows,) = processed.rows.values()
    np.testing.assert_array_equal(rows.price, made.price)
    ((key, candle),) = processed.candles
    assert (key, candle.timeframe, candle.timestamp) == ("sim:ETH/USDT", "1m", raw.until)
    assert (candle.open, candle.high, candle.low, candle.close) == (
        made.price[0], made.price.max(), made.price.min(), made.price[-1],
    )  # fmt: skip
    assert (candle.volume, candle.trades, candle.empty) == (made.size.sum(), made.rows, False)
    before = len(inputs(log))
    (position,) = collector.send_signal_to_bots(processed)
    assert len(inputs(log)) == before + 1
    (record,) = log.read(JOURNAL, position.partition, position.offset)
    assert unpack(codec.decode_input(record.value).event).rows == made.rows + 1


# ---------------------------------------------------------------- one scripted provider


class Script(DataProvider):
    """A provider whose messages are deliveries, handed out one by one; an exception is raised."""

    def __init__(self, messages: list[Any], served: Sequence[Market] = ()) -> None:
        self.script = messages
        self.served = served or [market("BTC/USDT")]

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [m for m in self.served if m.symbol in symbols]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Any, None]:
        for message in self.script:
            if isinstance(message, OSError):
                raise message
            yield message

    def parse(self, raw: Any) -> Delivery:
        if isinstance(raw, str):
            raise ValueError(f"no JSON: {raw}")
        return deliver_json(raw) if isinstance(raw, bytes) else raw


def deliver_json(raw: bytes) -> Delivery:
    """As a provider takes `{"at": …, "trades": [{"p": …, "q": …}], "until": …}`, which may be anything."""
    message = json.loads(raw)
    trades = message["trades"]
    rows = len(trades)
    return Delivery(
        (BTC,),
        Ticks(
            np.zeros(rows, np.uint16),
            np.array([message.get("kind", 1)] * rows, np.uint8),
            np.array([message["at"]] * rows, np.int64),
            np.array([trade["p"] for trade in trades], np.int64),
            np.array([trade["q"] for trade in trades], np.int64),
            None,
        ),
        clock=message.get("until", 0),
        gaps=tuple(Gap(BTC, *gap) for gap in message.get("gaps", ())),
    )


BTC = "sim:BTC/USDT"


def delivery(time_s: float, *prices: int, clock_s: float = 0, key: str = BTC, **more) -> Delivery:
    rows = len(prices)
    ones = np.ones(rows, np.int64)
    time = START_NS + int(time_s * 1e9)
    return Delivery(
        (key,),
        Ticks(
            np.zeros(rows, np.uint16),
            np.ones(rows, np.uint8),
            ones * time,
            np.array(prices, np.int64),
            ones,
            None,
        ),
        clock=START_NS + int(clock_s * 1e9) if clock_s else 0,
        **more,
    )


def play(log: Log, messages: list[Any], served: Sequence[Market] = ()) -> None:
    collect_from(log, Script(messages, served))


def collect_from(log: Log, provider: Script) -> None:
    asyncio.run(collector_of(log, provider).start_collection([m.symbol for m in provider.served]))


def letters(log: Log) -> list[DeadLetter]:
    return [
        event
        for partition in range(log.partitions)
        for record in log.read(SYSTEM, partition)
        for event in codec.decode_output(record.value).events
    ]


def test_a_message_that_means_nothing_becomes_a_dead_letter_and_the_next_is_taken(log):
    play(log, [delivery(1, 100), "<html>", delivery(2, 0), delivery(3, 102)])
    assert rows_of(log, BTC).price.tolist() == [100, 102]
    first, second = letters(log)
    assert (first.source, first.reason, first.data) == ("sim", "no JSON: <html>", b"<html>")
    assert (second.market, second.sequence) == (BTC, 0)
    assert second.reason == "price 0 is not positive"


@pytest.mark.parametrize("kind", [0, RowKind.BUY, RowKind.SELL])
@pytest.mark.parametrize(
    ("column", "wrong", "reason"),
    [
        ("price", 0, "price 0 is not positive"),
        ("price", 2**53 + 1, "price 9007199254740993 is beyond 2**53"),
        ("size", -5, "size -5 is not positive"),
        ("time", -1, "time -1 is outside 0..2**62 ns"),
        ("kind", 9, "kind 9 is none of RowKind, with or without BACKFILL"),
    ],
)
def test_a_wrong_row_costs_that_row_beside_299_good_ones(log, strategies, kind, column, wrong, reason):
    message = delivery(1, *range(100, 400), clock_s=1)
    message.ticks.kind[:] = kind
    getattr(message.ticks, column)[17] = wrong
    play(log, [message])
    assert rows_of(log, BTC).price.tolist() == [*range(100, 117), *range(118, 400), 0]
    (letter,) = letters(log)
    assert (letter.source, letter.market, letter.sequence, letter.reason) == ("sim", BTC, 17, reason)
    assert json.loads(letter.data).keys() >= {"time", "price", "size"}
    assert trades_in_candles(log, strategies) == {BTC: 299}


def test_a_row_that_was_left_out_goes_in_again_once_it_is_mended(log, tmp_path):
    message = delivery(1, 100, 0, 102)
    play(log, [message])
    (line,) = [lost_row(message.ticks, 1, market("BTC/USDT")).data]
    file = tmp_path / "mended.jsonl"
    file.write_bytes(line.replace(b'"price":"0.00"', b'"price":"1.01"'))
    assert import_file(log, file, market("BTC/USDT"), backfill=True).appended == 1
    rows = rows_of(log, BTC)
    assert rows.price.tolist()[:3] == [100, 102, 101]
    assert rows.kind.tolist()[2] == RowKind.BUY | BACKFILL
    assert set(rows.time[:3].tolist()) == {START_NS + 10**9}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "JSONDecodeError: Expecting value"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (b"[1, 2]", "TypeError: list indices"),
        (b'{"at": 1}', "KeyError: 'trades'"),
        (b'{"at": 1, "trades": [{"p": 1e400, "q": 1}]}', "OverflowError"),
        (None, "AttributeError: 'NoneType' object has no attribute"),
        (RuntimeError("raised"), "AttributeError"),
    ],
)
def test_a_message_that_cannot_be_read_is_a_dead_letter_whole(log, message, reason):
    play(log, [delivery(1, 100), message, delivery(2, 101)])
    assert rows_of(log, BTC).price.tolist() == [100, 101]
    (letter,) = letters(log)
    assert letter.reason.startswith(reason)
    assert letter.data == bytes_of(message)


def test_a_message_without_rows_is_neither_a_record_nor_a_dead_letter(log):
    play(log, [b'{"at": 1, "trades": []}', delivery(2, 101)])
    assert len(events(log, TickBatch)) == 1
    assert letters(log) == []


def test_columns_that_do_not_fit_make_a_message_that_means_nothing():
    good = delivery(1, 100, 101)
    with pytest.raises(ValueError, match=r"column 'price' has shape \(1,\) of int64, not \(2,\) of int64"):
        Delivery((BTC,), good.ticks._replace(price=good.ticks.price[:1]))
    with pytest.raises(ValueError, match=r"column 'size' has shape .* of float64, not .* of int64"):
        Delivery((BTC,), good.ticks._replace(size=good.ticks.size * 0.5))
    with pytest.raises(ValueError, match="a row has market 1 of 1"):
        Delivery((BTC,), good.ticks._replace(market=np.ones(2, np.uint16)))


def gap_of(start: int, end: int) -> Gap:
    return Gap(market=BTC, start=start, end=end, reason="lost")


def test_a_wrong_promise_and_a_wrong_gap_cost_themselves_alone(log):
    play(log, [delivery(1, 100, clock_s=2**40, gaps=(gap_of(9, 3), gap_of(3, 9)))])
    assert rows_of(log, BTC).price.tolist() == [100]
    assert [(gap.start, gap.end) for gap in events(log, Gap)] == [(3, 9)]
    assert sorted(letter.reason.split(": ")[-1][:16] for letter in letters(log)) == [
        f"clock {START_NS + 2**40 * 10**9}"[:16],
        "the start must b",
    ]


def test_after_a_wrong_row_a_restarted_collector_goes_on(log):
    play(log, [delivery(1, 100, 0)])
    play(log, [delivery(2, 102)])
    assert rows_of(log, BTC).price.tolist() == [100, 102]
    assert [i.epoch for i in inputs(log)] == sorted(i.epoch for i in inputs(log))
    assert len({i.epoch for i in inputs(log)}) == 2


def test_nothing_is_folded_before_the_journal_is_written(log):
    """No candle can hold a silence of six years, and the rows are appended all the same."""
    collector = collector_of(log, Script([]))
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    apart = delivery(1, 100, 101)
    apart.ticks.time[1] += 6 * 366 * 24 * HOUR_NS
    processed = collector.process_raw_data(Message("sim", apart))
    with pytest.raises(ValueError, match="more than five years"):
        _ = processed.candles
    assert len(collector.send_signal_to_bots(processed)) == 1
    assert rows_of(log, BTC).price.tolist() == [100, 101]


def test_promises_beside_a_change_of_specification_stand_at_the_scales_of_their_record(log, strategies):
    finer = msgspec.structs.replace(market("BTC/USDT"), price_scale=3)
    play(
        log,
        [
            delivery(1, 100, clock_s=1),
            delivery(2, 101, clock_s=2),
            delivery(3, clock_s=3),
            delivery(4, 1030, clock_s=4, markets=(finer,)),
            delivery(5, 1040, clock_s=5),
        ],
    )
    assert letters(log) == []
    assert trades_in_candles(log, strategies) == {BTC: 4}


NUMBERS = st.integers(-3, 200) | st.integers() | st.floats() | st.sampled_from([2**53, 2**62, 2**63])
TRADE = st.fixed_dictionaries({"p": NUMBERS, "q": NUMBERS})
MESSAGE = st.fixed_dictionaries(
    {"at": NUMBERS, "trades": st.lists(TRADE, max_size=5)},
    optional={
        "kind": NUMBERS,
        "until": NUMBERS,
        "gaps": st.lists(st.tuples(NUMBERS, NUMBERS, st.text()), max_size=2),
    },
)
RAW = st.binary(max_size=40) | MESSAGE.map(lambda message: json.dumps(message).encode())


@given(messages=st.lists(RAW, max_size=8))
@settings(max_examples=60, deadline=None)
def test_whatever_a_provider_hands_over_gives_rows_or_dead_letters(tmp_path_factory, strategies, messages):
    """And nothing that it gives is refused by the fold, but a silence of years."""
    log = open_log(f"embedded://{tmp_path_factory.mktemp('log')}", partitions=1)
    play(log, [*messages, delivery(1, 100)])
    assert 100 in rows_of(log, BTC).price
    pipeline = Pipeline(0, strategies)
    refused = [
        letter.reason
        for record in log.read(JOURNAL, 0)
        for letter in pipeline.fold(record).report.dead_letters
    ]
    assert [error for error in refused if "five years" not in error] == []
    log.close()


def test_rows_of_a_market_that_nobody_specified_are_a_dead_letter(log):
    play(log, [delivery(1, 100, key="sim:NEW/USDT")])
    letter = letters(log)[0]
    assert (letter.source, letter.market) == ("sim", "sim:NEW/USDT")
    assert letter.reason.startswith("its specification never came")


def test_gaps_and_specifications_keep_their_place_among_the_ticks(log):
    gap = Gap(market=BTC, start=START_NS, end=START_NS + 9, reason="disconnected")
    filled = GapFilled(market=BTC, start=gap.start, end=gap.end)
    finer = msgspec.structs.replace(market("BTC/USDT"), price_scale=3)
    play(
        log,
        [
            delivery(1, 100),
            delivery(2, 101, gaps=(gap,)),
            delivery(3, 102, gaps=(filled,)),
            delivery(4, 1030, markets=(finer,)),
            delivery(5, 1040),
        ],
    )
    kinds = [type(i.event).__name__ for i in inputs(log)]
    assert kinds == [
        "Market",
        "TickBatch",
        *("Gap", "TickBatch"),
        *("TickBatch", "GapFilled"),
        *("Market", "TickBatch"),
        "TickBatch",
    ]
    assert [b.markets[0].price_scale for b in events(log, TickBatch)] == [2, 2, 2, 3, 3]


@pytest.mark.parametrize("kind", [RowKind.BUY, RowKind.BUY | BACKFILL])
@pytest.mark.parametrize("minutes", [1, 3])
@pytest.mark.parametrize("times_s", [(1, 20, 50, 59), (20, 50, 119, 185)])
def test_a_gap_its_rows_and_its_filling_in_one_delivery_are_complete_at_revision_0(
    log, strategies, kind, minutes, times_s
):
    start, end = START_NS + 10 * 10**9, START_NS + (60 * minutes - 5) * 10**9
    message = delivery(0, *range(100, 104), clock_s=240)
    message.ticks.time[:] = [START_NS + s * 10**9 for s in times_s]
    fetched = (message.ticks.time > start) & (message.ticks.time <= end)
    message.ticks.kind[fetched] = kind
    gaps = (Gap(market=BTC, start=start, end=end, reason="down"), GapFilled(market=BTC, start=start, end=end))
    play(log, [delivery(1, 99), replace(message, gaps=gaps)])
    partition = partition_of(BTC.encode(), log.partitions)
    candles = of(fold(Pipeline(partition, strategies), log.read(JOURNAL, partition)), Candle)
    assert [(c.revision, c.incomplete) for c in candles] == [(0, False)] * 4
    assert sum(c.trades for c in candles) == 5


def test_a_provider_is_given_the_open_gaps_of_its_markets_at_its_start(log):
    start, end = START_NS, START_NS + 9
    gap = Gap(market=BTC, start=start, end=end, reason="down", final=True)
    filled = GapFilled(market=BTC, start=start + 2, end=start + 5)
    play(log, [delivery(1, 100, gaps=(gap, filled))])

    class Asked(Script):
        def messages(self, markets, reached):
            self.given = reached[BTC].gaps
            return super().messages(markets, reached)

    provider = Asked([], [])
    asyncio.run(collector_of(log, provider).start_collection(["BTC/USDT"]))
    assert [(one.start, one.end, one.final) for one in provider.given] == [
        (start, start + 2, True),
        (start + 5, end, True),
    ]


def test_clocks_without_ticks_are_told_at_most_once_a_second(log):
    """The hand clock stands still, so one is told at once, and the last when the provider ends."""
    play(log, [delivery(0, clock_s=n) for n in range(1, 50)])
    assert [(c.time - START_NS) // 10**9 for c in events(log, Clock)][-1] == 49
    assert len(events(log, Clock)) <= 2
    assert events(log, TickBatch) == []


def test_a_promise_that_ends_a_candle_rides_with_the_ticks_of_another_market(log):
    served = two_markets_of_one_partition(log)
    one, other = (m.key for m in served)
    play(
        log,
        [
            delivery(10, 100, clock_s=10, key=one),
            delivery(10, 100, clock_s=10, key=other),
            delivery(0, clock_s=61, key=one),
            delivery(61, 101, clock_s=61, key=other),
        ],
        served,
    )
    assert rows_of(log, one).time[-1] == START_NS + 61 * 10**9
    assert events(log, Clock) == []


def two_markets_of_one_partition(log: Log) -> list[Market]:
    found: dict[int, list[Market]] = {}
    for symbol in symbols(9):
        spec = market(symbol)
        group = found.setdefault(partition_of(spec.key.encode(), log.partitions), [])
        group.append(spec)
        if len(group) == 2:
            return group
    raise AssertionError("nine markets in four partitions")


def test_a_log_that_fails_ends_the_collection(tmp_path):
    log = open_log(f"embedded://{tmp_path}/log")
    collector = collector_of(log, Script([delivery(1, 100)]))
    log.close()
    with pytest.raises(LogError):
        asyncio.run(collector.start_collection(["BTC/USDT"]))


def test_an_unknown_symbol_and_a_taken_name_are_refused(log):
    with pytest.raises(ValueError, match="symbol 'BTC/EUR' does not exist at sim"):
        collect(log, START_NS + HOUR_NS, ["BTC/USDT", "BTC/EUR"])
    assert inputs(log) == []
    collector = collector_of(log, Script([]))
    with pytest.raises(ValueError, match="provider 'sim' is registered already"):
        collector.register_provider("sim", Script([]))


def test_two_providers_write_as_two_sources(log):
    clock = HandClock()
    collector = collector_of(log, simulated(clock, START_NS + HOUR_NS), clock)
    other = msgspec.structs.replace(market("BTC/USDT"), venue="other")
    collector.register_provider("other", Script([delivery(1, 100, key=other.key)], [other]))
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    assert {i.source for i in inputs(log)} == {"sim", "other"}
    assert rows_of(log, "other:BTC/USDT").price.tolist() == [100]
    assert_has_every_trade(log, START_NS + HOUR_NS, ["BTC/USDT"])


# ---------------------------------------------------------------- a recorded file beside live providers


def test_a_file_is_replayed_once_through_the_collector(log, shared_data):
    path = shared_data / "trades_ids" / "XRP_ETH-trades.feather"
    spec = market_of(path, "binance", "XRP/ETH")
    for _ in range(2):
        replay = FileReplay(path, spec)
        collector = DataCollector(log, scan(log, range(log.partitions)), linger_ms=0)
        collector.register_provider(replay.source, replay)
        asyncio.run(collector.start_collection(["XRP/ETH"]))
    rows = rows_of(log, spec.key)
    assert rows.id.tolist() == list(range(13_519_807, 13_519_807 + 12_477))
    assert [b.first_row for b in events(log, TickBatch)] == [0, 5_000, 10_000]
    assert {c.time % MINUTE_NS for c in events(log, Clock)} == {0}
    assert import_file(log, path, spec).appended == 0


def test_a_bad_row_of_a_replayed_file_costs_that_row_and_is_told_once(log, tmp_path):
    path = tmp_path / "trades.csv"
    path.write_text("time,price,size\n" + "".join(f"{1_800_000_000 + n},{n},1\n" for n in (1, 2, 0, 4, 5)))
    spec = market_of(path, "binance", "XRP/ETH", price_step="1")
    for _ in range(2):
        replay = FileReplay(path, spec)
        collector = DataCollector(log, scan(log, range(log.partitions)), linger_ms=0)
        collector.register_provider(replay.source, replay)
        asyncio.run(collector.start_collection(["XRP/ETH"]))
    assert rows_of(log, spec.key).price.tolist() == [1, 2, 4, 5]
    (letter,) = letters(log)
    assert f"BadRowError: {path}: row 3: price is" in letter.reason
    assert "a trade has a price above 0" in letter.reason
