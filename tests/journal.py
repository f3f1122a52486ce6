"""A journal partition in memory, written by hand: what the tests of the fold read."""

from collections.abc import Iterable, Sequence

import numpy as np

from projections.fold.commands import code_check
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.strategies.code import Strategies
from streams import events
from streams.causes import Cause
from streams.codec import decode_output, encode
from streams.events import BACKFILL, Candle, DerivedEvent, JournalEvent, Market, RowKind, RowMarket, Sizing
from streams.genesis import genesis
from streams.log import Log
from streams.records import Input, Record
from streams.ticks import Ids, Ticks, pack
from streams.topics import JOURNAL, SYSTEM

MINUTE = events.MINUTE_NS
START = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""


def spot(symbol: str = "BTC/USDT", **changes) -> Market:
    """A spot market: price step 0.01, size step 0.001, fee 10 bp, slippage 0."""
    base, quote = symbol.split("/")
    fields = {
        "venue": "test", "symbol": symbol, "base": base, "quote": quote, "settle": quote, "contract": "spot",
        "price_scale": 2, "size_scale": 3, "cash_scale": 8, "price_step": 1, "size_step": 1, "min_size": 1,
        "fee": 100_000,
    }  # fmt: skip
    return Market(**(fields | changes))


Row = tuple
"""(seconds after START, price, size) or (seconds, price, size, "backfill") or (seconds,) for a clock row."""


def batch(market: Market, rows: Sequence[Row], *, ids: Sequence[int] | Ids | None = None) -> events.TickBatch:
    return batch_of({market: list(rows)}, [(market, row) for row in rows], ids=ids)


def batch_of(
    markets: Iterable[Market], rows: Sequence[tuple[Market, Row]], *, ids: Sequence[int] | Ids | None = None
) -> events.TickBatch:
    """Rows of several markets, in the order of arrival; prices in units, sizes in 10**-size_scale."""
    table = list(markets)
    index = {market.key: i for i, market in enumerate(table)}
    ticks = Ticks(
        np.array([index[m.key] for m, _ in rows], np.uint16),
        np.array([_kind(row) for _, row in rows], np.uint8),
        np.array([START + round(row[0] * 1_000_000_000) for _, row in rows], np.int64),
        np.array([row[1] * 10**m.price_scale if len(row) > 1 else 0 for m, row in rows], np.int64),
        np.array([row[2] if len(row) > 1 else 0 for _, row in rows], np.int64),
        ids if ids is None or isinstance(ids, np.ndarray) else np.array(ids, np.int64),
    )
    return pack([RowMarket(m.key, m.price_scale, m.size_scale) for m in table], ticks)


def _kind(row: Row) -> int:
    if len(row) == 1:
        return RowKind.CLOCK
    return RowKind.TRADE | (BACKFILL if len(row) > 3 else 0)


def create(
    market: Market,
    bot_id: int = 1,
    *,
    strategy: str = "sma_cross",
    code_hash: str = "",
    params: dict | None = None,
    cash: int = 10_000,
    sizing: Sizing | None = None,
    short: bool = False,
    start: bool = True,
    timeframe: str = "1m",
) -> events.CreateBot:
    """A bot with `cash` whole units of the settle currency."""
    return events.CreateBot(
        request=f"create-{bot_id}",
        who="tester",
        at=START,
        bot_id=bot_id,
        market=market.key,
        timeframe=timeframe,
        strategy=strategy,
        **named(strategy, code_hash),
        params=params or {},
        sizing=sizing or Sizing("equity", 1, 0),
        short=short,
        cash=cash * 10**market.cash_scale,
        cash_scale=market.cash_scale,
        start=start,
    )


def named(strategy: str, code_hash: str | None) -> dict[str, str]:
    """The fields by which a command names code; none for a command that names none."""
    return (
        {} if code_hash is None else {"code_hash": code_hash, "code_check": code_check(strategy, code_hash)}
    )


def records(
    inputs: Iterable[tuple[str, JournalEvent] | Input], partition: int = 0, *, key: str = "test:BTC/USDT"
) -> list[Record]:
    """Journal records behind a genesis: of (market key, event) with a source per kind, or of whole inputs,
    of the market `key`."""
    made = [begun(partition)]
    sequence = 0
    for item in inputs:
        if isinstance(item, Input):
            entry, of_market = item, key
        else:
            of_market, event = item
            command = isinstance(event, events.Command)
            entry = Input("", 0, 0, event) if command else Input("tester", 1, sequence, event)
            sequence += not command
        made.append(
            Record(JOURNAL, partition, len(made), 1_000 + len(made), of_market.encode(), encode(entry))
        )
    return made


def begun(partition: int = 0) -> Record:
    """A partition's record 0."""
    first = Input("", 0, 0, genesis("0" * 32, 1))
    return Record(JOURNAL, partition, 0, 1_000, b"", encode(first))


def fold(pipeline: Pipeline, journal: Iterable[Record]) -> list[Derived]:
    return [item for record in journal for item in pipeline.fold(record).derived]


def emitted(derived: Iterable[Derived], kind: type | None = None) -> list[tuple[Cause, DerivedEvent]]:
    """Every event with its cause, in the order of the log; only those of a kind."""
    return [
        (cause, event)
        for item in derived
        for output in [decode_output(item.value)]
        for cause, event in zip(output.causes(), output.events, strict=True)
        if kind is None or isinstance(event, kind)
    ]


def of(derived: Iterable[Derived], kind: type) -> list:
    return [event for _, event in emitted(derived, kind)]


def trades_in_candles(log: Log, strategies: Strategies, *, told: tuple[type, ...] = ()) -> dict[str, int]:
    """How many trades of each market count in the fold of a log's journal, in which nothing is amiss but what
    events of the types `told` say."""
    counted: dict[str, int] = {}
    for partition in range(log.partitions):
        pipeline = Pipeline(partition, strategies)
        minutes: dict[tuple[bytes, int], int] = {}
        for item in fold(pipeline, log.read(JOURNAL, partition)):
            assert item.topic != SYSTEM or all(isinstance(event, told) for _, event in emitted([item])), item
            newest = (candle for candle in of([item], Candle) if candle.timeframe == "1m")
            minutes |= {(item.key, candle.timestamp): candle.trades for candle in newest}
        for key, market in pipeline.view().markets.items():
            closed = sum(trades for (market, _), trades in minutes.items() if market == key.encode())
            forming = market.forming()
            counted[key] = closed + (0 if forming is None else int(forming["trades"]))
    return counted
