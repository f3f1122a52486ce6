"""What a pass over the journal knows of fills, against the fold and against a slow search row by row."""

from collections import Counter
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.research.columns import BAR, NONE_YET, NOT_KEPT, Columns, Vouched, values_of
from projections.research.gather import gather
from projections.strategies.code import Strategies
from streams import events
from streams.causes import Cause
from streams.codec import input_of
from streams.events import BACKFILL, TIMEFRAMES_NS, Candle, DeadLetter, Fill, Market, Order, RowKind, Signal
from streams.records import Record
from streams.ticks import unpack
from tests.journal import MINUTE, batch_of, emitted, fold, of, records
from tests.property.test_pipeline import (
    BTC,
    ETH,
    LINEAR,
    PERP,
    bots,
    cuts,
    journal_of,
    journal_of_stretches,
    rows,
    stretches,
)
from tests.property.worlds import World

FRAMES = list(TIMEFRAMES_NS)


def dead_in(derived: list[Derived]) -> set[int]:
    return {letter.offset for letter in of(derived, DeadLetter)}


def gathered(journal: list[Record], derived: list[Derived], key: str) -> dict[str, Columns]:
    return dict(zip(FRAMES, gather(journal, key, FRAMES, dead_in(derived)), strict=True))


def candles_as_recorded(derived: list[Derived], market: str) -> dict[str, list[Candle]]:
    found: dict[str, list[Candle]] = {frame: [] for frame in FRAMES}
    for item in derived:
        if item.key == market.encode():
            for _, event in emitted([item], Candle):
                found[event.timeframe].append(event)
    return found


def candle_of(columns: Columns, bar: np.void) -> dict:
    era = columns.eras[bar["era"]]
    names = ("open", "high", "low", "close", "volume", "trades", "first_offset", "last_offset")
    fields = {name: int(bar[name]) for name in names}
    return fields | {
        "timestamp": int(bar["end"]),
        "price_scale": era.price_scale,
        "size_scale": era.size_scale,
        "empty": bool(bar["flags"] & 1),
        "incomplete": bool(bar["flags"] & 2),
    }


def recorded(candle: Candle) -> dict:
    fields = msgspec.structs.asdict(candle)
    return {name: fields[name] for name in fields if name not in ("timeframe", "revision")}


def check_candles(found: dict[str, Columns], derived: list[Derived], market: str) -> None:
    for frame, told in candles_as_recorded(derived, market).items():
        columns = found[frame]
        first = [candle for candle in told if candle.revision == 0]
        assert [candle_of(columns, bar) for bar in columns.bars] == [recorded(candle) for candle in first]
        last = {candle.timestamp: candle for candle in told}
        assert [candle_of(columns, bar) for bar in columns.final] == [
            recorded(last[candle.timestamp]) for candle in first
        ]
        assert columns.revisions.tolist() == [last[candle.timestamp].revision for candle in first]
        assert values_of(columns).tolist() == [list(row_as_seen(candle)) for candle in first]


def row_as_seen(candle: Candle) -> tuple[float, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (*(price / 10**candle.price_scale for price in prices), candle.volume / 10**candle.size_scale)


# ------------------------------------------------------------ a slow search


class SlowRow(msgspec.Struct):
    offset: int
    number: int
    time: int
    price: int
    size: int
    fills: bool
    closes: list[int]
    """Ends of the minutes that it closes."""


def slow_rows(journal: list[Record], dead: set[int], market: Market) -> list[SlowRow]:
    """Every row of the market in turn, in plain Python; the journals of these tests hold no repeats."""
    left, grace = market.closed == "left", market.grace_ms * 10**6
    next_end = None
    found: list[SlowRow] = []
    for record in journal:
        event = input_of(record).event
        if record.offset in dead or not isinstance(event, events.TickBatch):
            continue
        ticks = unpack(event)
        for number in range(ticks.rows):
            if event.markets[ticks.market[number]].key != market.key:
                continue
            time, kind = int(ticks.time[number]), int(ticks.kind[number])
            clock, live = kind == RowKind.CLOCK, kind < BACKFILL
            u = time + (1 if clock or left else 0)
            closes = []
            while live and next_end is not None and u - grace > next_end:
                closes.append(next_end)
                next_end += MINUTE
            end = -(-(time + left) // MINUTE) * MINUTE
            if not clock and next_end is None:
                next_end = end
            fills = not clock and live and end >= next_end
            price, size = int(ticks.price[number]), int(ticks.size[number])
            found.append(SlowRow(record.offset, number, time, price, size, fills, closes))
    return found


def first_behind(slow: list[SlowRow], at: int, decided: int) -> SlowRow | None:
    return next((row for row in slow[at + 1 :] if row.fills and row.time >= decided), None)


def same(columns: Columns, trade: int, row: SlowRow | None) -> bool:
    if row is None:
        return trade == NONE_YET
    told = columns.trades[trade]
    return trade >= 0 and [told[name] for name in ("offset", "row", "time", "price", "size")] == [
        row.offset, row.number, row.time, row.price, row.size
    ]  # fmt: skip


def check_search(found: dict[str, Columns], slow: list[SlowRow]) -> None:
    """Each bar, and each trade that fills it, row by row."""
    where = {(row.offset, row.number): at for at, row in enumerate(slow)}
    for frame, columns in found.items():
        closing = [
            (end, at, row)
            for at, row in enumerate(slow)
            for end in row.closes
            if end % TIMEFRAMES_NS[frame] == 0
        ]
        assert columns.bars["end"].tolist() == [end for end, _, _ in closing]
        for bar, (_, at, row) in zip(columns.bars, closing, strict=True):
            assert (bar["now"], bar["offset"]) == (row.time, row.offset)
            expected = first_behind(slow, at, row.time)
            assert same(columns, bar["trade"], expected)
            if expected is not None:
                following = first_behind(slow, where[expected.offset, expected.number], expected.time)
                assert same(columns, columns.trades[bar["trade"]]["next"], following)


# ------------------------------------------------------------ fills of folded bots


def check_fills(found: dict[str, Columns], derived: list[Derived], happened: Counter[str]) -> None:
    made = sorted(emitted(derived), key=lambda pair: pair[0])
    orders = {cause: event for cause, event in made if isinstance(event, Order)}
    signals = {cause: event for cause, event in made if isinstance(event, Signal)}
    frame_of = {event.bot_id: event.timeframe for _, event in made if isinstance(event, events.BotChanged)}
    for cause, fill in made:
        if not isinstance(fill, Fill):
            continue
        columns = found[frame_of[fill.bot_id]]
        order = orders[fill.order_id]
        candidates = decided_by(columns, fill.order_id, order, signals, happened)
        places = [
            (columns.trades[trade]["offset"], columns.trades[trade]["row"], columns.trades[trade]["time"])
            for trade in candidates
            if trade >= 0
        ]
        assert (cause.offset, fill.row, fill.timestamp) in places, (fill, order, places)


def decided_by(
    columns: Columns, cause: Cause, order: Order, signals: dict, happened: Counter[str]
) -> list[int]:
    """Trades that may fill an order: of the bar, of the event, or behind the trade that decided it."""
    signal = signals.get(order.signal)
    here = columns.bars["offset"] == cause.offset
    of_bars = columns.bars["trade"][here & (columns.bars["end"] == order.timestamp)].tolist()
    of_events = [at.trade for at in columns.events if at.offset == cause.offset]
    filled = (columns.trades["offset"] == cause.offset) & (columns.trades["time"] == order.timestamp)
    behind = columns.trades["next"][filled].tolist()
    if signal is not None and signal.candle is not None:
        happened["bar"] += 1
        assert len(of_bars) == 1
        return of_bars
    if order.reason == "bankrupt":
        happened["bankrupt"] += 1
        return of_bars + behind
    happened["event"] += 1
    return of_events


def check_events(columns: Columns, journal: list[Record], dead: set[int], market: str) -> None:
    """The commands of the market, each once, in turn, with what is before them."""
    told = [at for at in columns.events if not isinstance(at.event, Vouched)]
    meant = [
        (record.offset, event)
        for record in journal
        if record.offset not in dead
        for event in [input_of(record).event]
        if isinstance(event, events.Command | events.Bars | Market)
    ]
    specs = [offset for offset, event in meant if isinstance(event, Market)]
    assert [(at.offset, at.event) for at in told] == [pair for pair in meant if pair[0] != specs[0]]
    for at in columns.events:
        before = columns.bars[: at.bar]
        assert (before["place"] < at.place).all() and (columns.bars["place"][at.bar :] > at.place).all()
    assert [at.place for at in columns.events] == sorted({at.place for at in columns.events})
    live = [at.event.live for at in columns.events if isinstance(at.event, Vouched)]
    assert live == [n % 2 == 1 for n in range(len(live))]


def check(journal: list[Record], derived: list[Derived], market: Market, happened: Counter[str]) -> None:
    found = gathered(journal, derived, market.key)
    check_candles(found, derived, market.key)
    check_fills(found, derived, happened)
    for columns in found.values():
        check_events(columns, journal, dead_in(derived), market.key)


# ------------------------------------------------------------ the tests


def test_worlds_have_their_candles_their_events_and_each_fill_at_its_trade(strategies: Strategies) -> None:
    happened: Counter[str] = Counter()
    for seed in range(120):
        world = World(seed, strategies, Counter())
        world.live()
        check(world.journal, world.derived, world.market, happened)
    assert min(happened[kind] for kind in ("bar", "event", "bankrupt")) > 20, happened


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=10, most=120))
def test_what_fills_a_close_is_what_a_search_row_by_row_finds(strategies, data, market, trades) -> None:
    at = data.draw(cuts(data, len(trades)))
    journal = records(journal_of(market, strategies, [trades[a:b] for a, b in pairwise(at)]))
    derived = fold(Pipeline(0, strategies), journal)
    found = gathered(journal, derived, market.key)
    check_search(found, slow_rows(journal, dead_in(derived), market))
    check_candles(found, derived, market.key)
    check_fills(found, derived, Counter())


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=20, most=120))
def test_trades_that_come_again_are_left_out_as_the_fold_leaves_them_out(
    strategies, data, market, trades
) -> None:
    at = data.draw(cuts(data, len(trades)))
    kept = data.draw(st.lists(st.sampled_from([*trades, None]), min_size=len(trades), max_size=len(trades)))
    again = [
        row if old is None or len(old) != len(row) else old for row, old in zip(trades, kept, strict=True)
    ]
    number = {row: n for n, row in enumerate(dict.fromkeys(trades))}
    ids = [number[row] if len(row) > 1 else -1 for row in again]
    parts = [again[a:b] for a, b in pairwise(at)]
    journal = records(journal_of(market, strategies, parts, ids))
    derived = fold(Pipeline(0, strategies), journal)
    found = gathered(journal, derived, market.key)
    check_candles(found, derived, market.key)
    check_fills(found, derived, Counter())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([BTC, ETH, LINEAR, PERP]), stretches(), st.booleans())
def test_what_sources_vouch_for_is_known_at_each_bar_trade_and_event(
    strategies, market, parts, split
) -> None:
    journal = records(journal_of_stretches(market, strategies, parts, split), key=market.key)
    pipeline = Pipeline(0, strategies)
    derived: list[Derived] = []
    live: dict[int, bool] = {}
    watermark: dict[int, int] = {}
    for record in journal:
        seen = pipeline.view().markets.get(market.key)
        watermark[record.offset] = seen.watermark if seen else -1
        derived += pipeline.fold(record).derived
        seen = pipeline.view().markets.get(market.key)
        live[record.offset] = seen is None or seen.feeds.live
    check(journal, derived, market, Counter())
    for columns in gathered(journal, derived, market.key).values():
        assert [live[bar["offset"]] for bar in columns.bars] == columns.bars["live"].tolist()
        assert [live[trade["offset"]] for trade in columns.trades] == columns.trades["live"].tolist()
        assert [watermark[at.offset] for at in columns.events] == [at.watermark for at in columns.events]
        told = [at for at in columns.events if isinstance(at.event, Vouched)]
        changes = [offset for offset in live if live[offset] != live.get(offset - 1, True)]
        assert [(at.offset, at.event.live) for at in told] == [(offset, live[offset]) for offset in changes]


def told_of(columns: Columns) -> tuple:
    """What does not depend on how rows stand in records."""
    at = {name: n for n, name in enumerate(BAR.names or ())}
    left_out = {"first_offset", "last_offset", "offset", "place", "trade"}
    kept = [name for name in at if name not in left_out]

    def trade(number: int) -> tuple:
        if number < 0:
            return (number,)
        row = columns.trades[number]
        return tuple(row[name].item() for name in ("time", "price", "size", "live", "era"))

    def both(number: int) -> tuple:
        following = columns.trades[number]["next"] if number >= 0 else NONE_YET
        assert following != NOT_KEPT
        return trade(number), trade(following)

    bars = [(*(bar[name].item() for name in kept), both(bar["trade"])) for bar in columns.bars]
    final = [tuple(bar[name].item() for name in kept) for bar in columns.final]
    happened = [(at.event, at.close, both(at.trade), at.bar) for at in columns.events]
    return bars, final, happened


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, LINEAR, PERP]), rows(least=20, most=120))
def test_the_same_rows_in_other_records_make_the_same_columns(strategies, data, market, trades) -> None:
    at = data.draw(cuts(data, len(trades)))
    whole, split = (
        gather(records(journal_of(market, strategies, parts)), market.key, FRAMES)
        for parts in ([trades], [trades[a:b] for a, b in pairwise(at)])
    )
    assert list(map(told_of, whole)) == list(map(told_of, split))


@settings(max_examples=40, deadline=None)
@given(st.data(), rows(), rows())
def test_another_market_in_its_records_changes_nothing(strategies, data, ours, theirs) -> None:
    alone = gather(records(journal_of(BTC, strategies, [ours])), BTC.key, FRAMES)
    mixed = [(BTC, row) for row in ours]
    for row in theirs:
        mixed.insert(data.draw(st.integers(0, len(mixed))), (ETH, row))
    in_order = {BTC.key: iter(ours), ETH.key: iter(theirs)}
    mixed = [(m, next(in_order[m.key])) for m, _ in mixed]
    head = [(ETH.key, ETH), (BTC.key, BTC), *bots(ETH, strategies, 11), *bots(BTC, strategies)]
    journal = records([*head, (BTC.key, batch_of([ETH, BTC], mixed))])
    beside = gather(journal, BTC.key, FRAMES)
    assert list(map(told_of, beside)) == list(map(told_of, alone))
    derived = fold(Pipeline(0, strategies), journal)
    check_search(gathered(journal, derived, BTC.key), slow_rows(journal, set(), BTC))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([BTC, ETH, PERP]), rows(least=20, most=120))
def test_each_timeframe_alone_is_what_all_give_together(strategies, data, market, trades) -> None:
    at = data.draw(cuts(data, len(trades)))
    journal = records(journal_of(market, strategies, [trades[a:b] for a, b in pairwise(at)]))
    for frame, columns in zip(FRAMES, gather(journal, market.key, FRAMES), strict=True):
        (alone,) = gather(journal, market.key, [frame])
        for one, other in zip(alone, columns, strict=True):
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
