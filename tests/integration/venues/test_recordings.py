"""What exchanges sent, through the unmodified client at full speed: each trade in the journal once, in order,
to the digit, whatever the venue does meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.events import Market
from streams.log import Log
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.cases import START, at, collecting_live, recording
from tests.venues.collected import (
    candles,
    collecting,
    events,
    expected,
    gaps,
    letters,
    open_gaps,
    rows,
    states,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Burst,
    Close,
    Cut,
    Empty,
    Fault,
    Html,
    LeaveOut,
    Malformed,
    PageHoled,
    PageOverlapping,
    PageShuffled,
    Refuse,
    Repeat,
    Restart,
    Snapshot,
    Swap,
)
from tests.venues.okx import Okx
from tests.venues.trades import made

MARKETS: list[tuple[type[FakeVenue], str, str]] = [
    (Binance, "BTCUSDT", "BTC/USDT"),
    (Okx, "BTC-USDT", "BTC/USDT"),
    (Bybit, "BTCUSDT", "BTC/USDT"),
    (Bybit, "linear:BTCUSDT", "BTC/USDT:USDT"),
]


@pytest.mark.parametrize(
    ("kind", "market", "symbol"), MARKETS, ids=[f"{kind.name}-{market}" for kind, market, _ in MARKETS]
)
def test_a_recording_is_in_the_journal_to_the_digit_and_in_order_across_midnight(
    kind: type[FakeVenue], market: str, symbol: str, log: Log, shared_data: Path, strategies: Any
) -> None:
    frames, trades = recording(kind, market, shared_data)

    async def test() -> None:
        async with (
            kind(recorded.binance_listing(shared_data) if kind is Binance else ()) as venue,
            collecting(log, at(venue, frames[0].time), [symbol]) as collected,
        ):
            await collected.live(market)
            await venue.play(frames)
            await collected.has(len(trades), symbol)

    asyncio.run(test())
    assert len(trades) == 19_904 and rows(log, symbol) == trades
    assert not gaps(log, symbol).known and not letters(log)
    assert states(log) == ["catching_up", "live", "down"]
    made_candles = candles(log, strategies)
    assert all(candle.revision == 0 and not candle.incomplete for candle in made_candles.values())
    assert sum(candle.trades for (frame, _), candle in made_candles.items() if frame == "1m") > 19_000


FAULTS: dict[str, list[tuple[int, Fault]]] = {
    "a cut in the middle of a frame": [(8_000, Cut(away=200))],
    "a close": [(8_000, Close(away=100))],
    "a close with a code": [(3_000, Close(1001, away=100)), (9_000, Close(1012, away=100))],
    "a malformed frame": [(8_000, Malformed(away=50))],
    "a frame that is no text of the venue's": [(8_000, Malformed("hello", away=50))],
    "a frame of no known form": [(8_000, Malformed('{"what":"is this"}', away=50))],
    "trades left out": [(5_000, LeaveOut(250))],
    "two holes": [(5_000, LeaveOut(40)), (5_100, LeaveOut(40))],
    "repeats": [(1_500, Repeat(300))],
    "swaps": [(n, Swap()) for n in range(1_000, 19_000, 200)],
    "a burst": [(3_000, Burst(5_000))],
    "a restart of the server": [(8_000, Restart(away=300))],
    "two restarts": [(4_000, Restart(away=100)), (12_000, Restart(away=2_500))],
    "a snapshot at each subscription": [(0, Snapshot()), (8_000, Cut(away=100))],
    "pages out of order": [(4_999, PageShuffled(times=None)), (5_000, LeaveOut(250))],
    "pages that overlap": [(4_999, PageOverlapping(times=None)), (5_000, LeaveOut(250))],
    "a page with a hole": [(4_999, PageHoled(times=2)), (5_000, LeaveOut(250))],
    "an empty page": [(4_999, Empty(("trades",), 2)), (5_000, LeaveOut(250))],
    "a page for people": [(4_999, Html(("trades",), 1)), (5_000, LeaveOut(250))],
    "a venue in maintenance": [(4_999, Refuse(("trades",), 1, 503)), (5_000, LeaveOut(250))],
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_venue_does_each_trade_is_in_the_journal_once_and_in_order(
    numbered: type[FakeVenue], log: Log, shared_data: Path, strategies: Any, name: str
) -> None:
    frames, trades = recording(numbered, numbered.pair(), shared_data)

    async def test() -> None:
        async with collecting_live(numbered, log, start=frames[0].time) as (venue, collected):
            await venue.play(frames, script=FAULTS[name])
            await collected.has(len(trades))

    asyncio.run(test())
    assert without_origin(rows(log)) == trades
    assert not open_gaps(log)
    assert all(not candle.incomplete and candle.revision == 0 for candle in candles(log, strategies).values())
    unreadable = [fault.text.encode() for _, fault in FAULTS[name] if isinstance(fault, Malformed)]
    assert [letter.data for letter in letters(log)] == unreadable
    assert all(letter.reason.startswith("a frame could not be read: ") for letter in letters(log))


def test_contracts_of_okx_come_with_what_one_of_them_is_worth(log: Log) -> None:
    markets = {"BTC/USDT:USDT": "BTC-USDT-SWAP", "BTC/USD:BTC": "BTC-USD-SWAP"}
    trades = {
        symbol: [
            trade._replace(price=trade.price[:-1], size=trade.id) for trade in made(id, 250, start=START)
        ]
        for symbol, id in markets.items()
    }

    async def test() -> None:
        async with Okx() as venue, collecting(log, at(venue, START), list(markets)) as collected:
            await collected.until(lambda: collected.provider.skew_ms is not None)
            for symbol, id in markets.items():
                await venue.watched(id)
                venue.publish(trades[symbol][:1])
                await collected.has(1, symbol)
            await venue.strike(Cut())
            for symbol in markets:
                venue.publish(trades[symbol][1:])
                await collected.has(250, symbol)

    asyncio.run(test())
    told = {event.symbol: event for event in events(log) if isinstance(event, Market)}
    worth = {s: (m.contract, m.settle, m.multiplier, m.multiplier_scale) for s, m in told.items()}
    assert worth == {"BTC/USDT:USDT": ("linear", "USDT", 1, 2), "BTC/USD:BTC": ("inverse", "BTC", 100, 0)}
    assert without_origin(rows(log, "BTC/USDT:USDT")) == expected(trades["BTC/USDT:USDT"], 1, 2)
    assert without_origin(rows(log, "BTC/USD:BTC")) == expected(trades["BTC/USD:BTC"], 1, 0)


def test_okx_as_it_was_recorded_is_in_the_journal_to_the_digit(log: Log, shared_data: Path) -> None:
    scales = {"BTC-USD-220527": (1, 0), "UNI-USD-SWAP": (3, 0), "BTC-USDT": (1, 8)}
    symbols = dict(zip(scales, ("BTC/USD:BTC-220527", "UNI/USD:UNI", "BTC/USDT"), strict=True))
    frames = recorded.okx_frames(Okx(), shared_data)
    sent = {market: [t for f in frames for t in f.trades if t.market == market] for market in symbols}

    async def test() -> None:
        async with (
            Okx(recorded.okx_listing(shared_data)) as venue,
            collecting(log, at(venue, frames[0].time), list(symbols.values())) as collected,
        ):
            for market in symbols:
                await venue.watched(market)
            await collected.until(lambda: collected.provider.skew_ms is not None)
            await venue.play(frames)
            for market, symbol in symbols.items():
                await collected.has(len(sent[market]), symbol)

    asyncio.run(test())
    assert [len(trades) for trades in sent.values()] == [4, 1, 69]
    for market, symbol in symbols.items():
        assert rows(log, symbol) == expected(sent[market], *scales[market])
    assert not letters(log)
