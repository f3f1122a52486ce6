"""Frames in all forms in which venues send them: what is a trade is in the journal once, in order and to the
digit; what is none is a dead letter, and the trades that it stood for are fetched."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infra.exchange.venues.raw import RawFrames
from streams.events import Market
from streams.log import Log
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.collected import (
    Collected,
    collecting,
    events,
    expected,
    letters,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.connection import Connection, text_frame
from tests.venues.fake import FakeVenue
from tests.venues.okx import Okx
from tests.venues.serve import stepped
from tests.venues.trades import Frame, Trade, made

START = 1_700_006_399_998
"""In ms; a midnight is 2 ms later."""


def trades_from(
    first: int, market: str, count: int = 6, start: int = START, every_ms: int = 1
) -> list[Trade]:
    return [
        Trade(
            market,
            str(first + n),
            start + n * every_ms,
            f"6000{n % 10}.01",
            f"0.0{n % 10}1",
            ("buy", "sell")[n % 2],
        )
        for n in range(count)
    ]


def binance(trade: Trade, **other: Any) -> dict[str, Any]:
    event = {"e": "trade", "E": START, "s": trade.market, "t": int(trade.id), "p": trade.price}
    return event | {"q": trade.size, "T": trade.time, "m": trade.side == "sell"} | other


def streamed(event: dict[str, Any], stream: str = "trade") -> dict[str, Any]:
    return {"stream": f"btcusdt@{stream}", "data": event}


def okx(*trades: Trade, channel: str = "trades-all", **other: Any) -> dict[str, Any]:
    rows = [
        {"instId": t.market, "tradeId": t.id, "px": t.price, "sz": t.size, "side": t.side, "ts": str(t.time)}
        | other
        for t in trades
    ]
    return {"arg": {"channel": channel, "instId": trades[0].market}, "data": rows}


def bybit(*trades: Trade, **other: Any) -> dict[str, Any]:
    rows = [
        {"i": t.id, "T": t.time, "p": t.price, "v": t.size, "S": t.side.capitalize(), "s": t.market}
        | {"seq": 34259104155, "BT": False, "RPI": False}
        | other
        for t in trades
    ]
    return {"topic": f"publicTrade.{trades[0].market}", "type": "snapshot", "ts": START, "data": rows}


def without(frame: dict[str, Any], name: str) -> dict[str, Any]:
    if "data" not in frame:
        return {key: value for key, value in frame.items() if key != name}
    return frame | {"data": [without(row, name) for row in frame["data"]]}


class Step(NamedTuple):
    """A frame comes when so many of the trades have happened, which REST has."""

    happened: int
    frame: Any


def each(trades: Sequence[Trade], of: Callable[..., Any], **other: Any) -> list[Step]:
    """A frame a trade."""
    return [Step(n + 1, of(trade, **other)) for n, trade in enumerate(trades)]


def among(trades: Sequence[Trade], of: Callable[..., Any], *others: Any) -> list[Step]:
    """After the third trade there are other frames."""
    steps = each(trades, of)
    return [*steps[:3], *(Step(3, other) for other in others), *steps[3:]]


def instead(trades: Sequence[Trade], of: Callable[..., Any], other: Any) -> list[Step]:
    """In the place of the third trade another frame comes."""
    steps = each(trades, of)
    return [*steps[:2], Step(3, other), *steps[3:]]


BOOK = {"e": "depthUpdate", "E": START, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1.0", "2.0"]], "a": []}
TICKER = {"u": 5, "s": "BTCUSDT", "b": "1.0", "B": "3", "a": "2.0", "A": "1"}
KLINE = {"e": "kline", "E": START, "s": "BTCUSDT", "k": {"t": START, "s": "BTCUSDT", "i": "1m", "x": False}}
GOING = {"e": "serverShutdown", "E": START}
AGGREGATED = {"e": "aggTrade", "E": START, "s": "BTCUSDT", "a": 7, "p": "60002.01", "q": "0.5", "f": 99}
AGGREGATED |= {"l": 102, "T": START + 2, "m": True, "M": True}
OKX_BOOK = {"asks": [["1", "1", "0", "1"]], "bids": [], "ts": str(START), "checksum": -5, "seqId": 1}
OKX_ARG = {"channel": "trades-all", "instId": "BTC-USDT"}
BYBIT_BOOK = {"topic": "orderbook.50.BTCUSDT", "type": "snapshot", "ts": START, "cts": START}
BYBIT_BOOK |= {"data": {"s": "BTCUSDT", "b": [["1", "1"]], "a": [["2", "1"]], "u": 1, "seq": 1}}
ACK = {"success": True, "ret_msg": "subscribe", "conn_id": "x", "req_id": "9", "op": "subscribe"}
PONG = {"success": True, "ret_msg": "pong", "conn_id": "x", "req_id": "1", "op": "ping"}

Steps = Callable[[Sequence[Trade]], list[Step]]
"""How six trades come."""

FORMS: dict[type[FakeVenue], dict[str, Steps]] = {
    Binance: {
        "a single stream without M": lambda t: each(t, binance),
        "a single stream with orders": lambda t: each(t, binance, a=587001, b=588001, M=True),
        "a combined stream": lambda t: each(t, lambda trade: streamed(binance(trade))),
        "other streams of a combined one": lambda t: among(
            t, binance, streamed(BOOK, "depth@100ms"), streamed(TICKER, "bookTicker")
        ),
        "other events": lambda t: among(t, binance, BOOK, TICKER, KLINE, GOING, {"event": GOING}),
        "a second confirmation": lambda t: among(t, binance, {"result": None, "id": "3"}),
        "a refusal of another request": lambda t: among(t, binance, {"code": 2, "msg": "no", "id": 7}),
        "repeats": lambda t: [step for step in each(t, binance) for _ in range(3)],
    },
    Okx: {
        "several rows a frame": lambda t: [Step(4, okx(*t[:4])), Step(6, okx(*t[4:]))],
        "rows of a frame in no order": lambda t: [Step(1, okx(t[0])), Step(6, okx(*t[:0:-1]))],
        "a source": lambda t: each(t, okx, source="1"),
        "the other channel, one by one": lambda t: each(t, okx, channel="trades", count="1", seqId=1234),
        "other channels": lambda t: among(
            t,
            okx,
            {"arg": {"channel": "tickers", "instId": "BTC-USDT"}, "data": [{"instId": "BTC-USDT"}]},
            {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "update", "data": [OKX_BOOK]},
        ),
        "words of the protocol": lambda t: among(
            t,
            okx,
            {"event": "channel-conn-count", "channel": "trades-all", "connCount": "2", "connId": "ab"},
            {"event": "subscribe", "arg": OKX_ARG, "connId": "accb8e21"},
            {"event": "unsubscribe", "arg": OKX_ARG, "connId": "accb8e21"},
            "pong",
        ),
    },
    Bybit: {
        "many rows a frame": lambda t: [Step(5, bybit(*t[:5])), Step(6, bybit(*t[5:]))],
        "block trades and RPI": lambda t: each(t, bybit, BT=True, RPI=True),
        "rows as they once were": lambda t: each(
            t, lambda trade: without(without(bybit(trade), "BT"), "seq")
        ),
        "other topics": lambda t: among(t, bybit, BYBIT_BOOK, BYBIT_BOOK | {"type": "delta"}),
        "confirmations and pongs": lambda t: among(
            t, bybit, ACK, PONG, {"req_id": "2", "op": "pong", "args": ["1757405570352"], "conn_id": "d2"}
        ),
    },
}
Refused = dict[str, tuple[Steps, str]]
REFUSED: dict[type[FakeVenue], Refused] = {
    Binance: {
        "at first an id below 0": (
            lambda t: [Step(0, binance(t[0]._replace(id="-5"))), *each(t, binance)],
            "'-5'",
        ),
        "trades put together": (lambda t: among(t, binance, AGGREGATED), "several trades"),
        "no id but those of orders": (
            lambda t: instead(t, binance, without(binance(t[2], a=587001, b=588001), "t")),
            "no id",
        ),
        "an id of 65 bits": (
            lambda t: among(t, binance, binance(t[2]._replace(id=str(2**63)))),
            "64 bits",
        ),
        "more than there is room for": (
            lambda t: instead(t, binance, binance(t[2]._replace(size="90071992547.40993"))),
            "no number that there is room for",
        ),
        "microseconds": (
            lambda t: instead(t, binance, binance(t[2]._replace(time=t[2].time * 1_000))),
            "ahead of the venue's clock",
        ),
        "seconds": (
            lambda t: instead(t, binance, binance(t[2]._replace(time=t[2].time // 1_000))),
            "before 2009",
        ),
        "no time": (lambda t: instead(t, binance, without(binance(t[2]), "T")), "int"),
        "a digit far behind the point": (
            lambda t: instead(t, binance, binance(t[2]._replace(price=f"60002.01{'0' * 40}1"))),
            "finer than its market's scales",
        ),
        "a market that was not asked for": (
            lambda t: among(t, binance, binance(t[2]._replace(market="ETHUSDT"))),
            "unknown symbol 'ETH/USDT'",
        ),
    },
    Okx: {
        "several under the id of the last": (
            lambda t: instead(t, okx, okx(t[2], channel="trades", count="2")),
            "2 trades put together",
        ),
        "a row of another instrument": (
            lambda t: among(t, okx, okx(t[2]._replace(market="ETH-USDT"))),
            "unknown symbol 'ETH/USDT'",
        ),
        "a price that is none": (lambda t: instead(t, okx, okx(t[2], px=None)), "no number"),
    },
    Bybit: {
        "no trade id": (lambda t: instead(t, bybit, without(bybit(t[2]), "i")), "no id"),
        "no side": (lambda t: instead(t, bybit, without(bybit(t[2]), "S")), "side None"),
    },
}
ENDING: dict[type[FakeVenue], dict[str, Steps]] = {
    Binance: {
        "several frames in one": lambda t: instead(t, binance, [binance(t[2])]),
        "an error of nothing": lambda t: among(t, binance, {"error": {"code": 3, "msg": "Invalid JSON"}}),
    },
    Okx: {
        "a notice of an end": lambda t: among(
            t, okx, {"event": "notice", "code": "64008", "msg": "The connection will soon be closed"}
        ),
        "a failed request": lambda t: among(
            t, okx, {"event": "error", "code": "60012", "msg": "Invalid request"}
        ),
        "no row": lambda t: among(t, okx, {"arg": OKX_ARG, "data": []}),
    },
    Bybit: {
        "a failed operation": lambda t: among(
            t, bybit, {"success": False, "ret_msg": "error:invalid op", "request": {"op": ""}}
        ),
    },
}


def sent(venue: FakeVenue, frame: Any) -> None:
    """To all that are connected, as it is."""
    text = frame if isinstance(frame, str) else json.dumps(frame, separators=(",", ":"))
    for connection in venue.connections:
        connection.put(text_frame(text))
    venue.flush()


@asynccontextmanager
async def at_work(log: Log, kind: type[FakeVenue], **options: Any) -> AsyncIterator[Collected]:
    async with kind(options.pop("listing", ())) as venue:
        venue.stand_at(START)
        async with collecting(log, venue, **options) as collected:
            await collected.live()
            yield collected


@dataclass
class Playing:
    """Forms after one another, each with the six trades that follow."""

    log: Log
    collected: Collected
    first: int = 100
    trades: list[Trade] = field(default_factory=list[Trade])

    async def play(self, steps: Steps) -> None:
        venue, known = self.collected.venue, list(self.trades)
        count = len(known)
        trades = trades_from(self.first + count, venue.pair(), start=START + count)
        self.trades += trades
        for happened, frame in steps(trades):
            venue.public[venue.pair()] = [*known, *trades[:happened]]
            sent(venue, frame)
        await self.collected.has(len(self.trades))

    @property
    def is_right(self) -> bool:
        return without_origin(rows(self.log)) == expected(self.trades) and not open_gaps(self.log)


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.name)
def test_what_is_a_trade_is_in_the_journal_and_nothing_else_is_said(kind: type[FakeVenue], log: Log) -> None:
    async def test() -> None:
        async with at_work(log, kind) as collected:
            playing = Playing(log, collected)
            for form, steps in FORMS[kind].items():
                await playing.play(steps)
                assert playing.is_right and not letters(log), form
                assert not any(row.fetched for row in rows(log)), form
                assert len(collected.venue.asked("socket")) == 1, f"{form}: it was dialled again"

    asyncio.run(test())


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.name)
def test_what_is_none_is_a_dead_letter_and_what_it_stood_for_is_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    async def test() -> None:
        async with at_work(log, kind) as collected:
            playing = Playing(log, collected)
            for form, (steps, reason) in REFUSED[kind].items():
                before = len(letters(log))
                await playing.play(steps)
                assert playing.is_right, form
                assert [reason in letter.reason for letter in letters(log)[before:]] == [True], form
                assert len(collected.venue.asked("socket")) == 1, f"{form}: it was dialled again"

    asyncio.run(test())


@pytest.mark.parametrize("kind", ENDING, ids=lambda kind: kind.name)
def test_what_ends_a_connection_costs_no_trade(kind: type[FakeVenue], log: Log) -> None:
    async def test() -> None:
        async with at_work(log, kind) as collected:
            playing = Playing(log, collected)
            for dialled, (form, steps) in enumerate(ENDING[kind].items(), 1):
                await playing.play(steps)
                assert playing.is_right, form
                await collected.until(lambda dialled=dialled: len(collected.venue.asked("socket")) > dialled)
                await collected.until(lambda: collected.state == "live")

    asyncio.run(test())


# ------------------------------------------------------------ many at once, and ids of every size


@pytest.mark.parametrize("first", [0, 2**31 - 3, 2**53 - 3, 2**63 - 6])
def test_an_id_of_any_size_is_exact(first: int, log: Log) -> None:
    async def test() -> None:
        async with at_work(log, Binance) as collected:
            playing = Playing(log, collected, first)
            await playing.play(lambda trades: each(trades, binance))
            assert playing.is_right

    asyncio.run(test())


@pytest.mark.parametrize(("kind", "form"), [(Binance, binance), (Okx, okx), (Bybit, bybit)])
def test_20_000_trades_of_a_millisecond_are_all_there_in_their_order(
    kind: type[FakeVenue], form: Callable[..., Any], log: Log
) -> None:
    trades = trades_from(10**15, kind.pair(), 20_000, every_ms=0)

    async def test() -> None:
        async with at_work(log, kind) as collected:
            collected.venue.public[kind.pair()] = trades[:1]
            for trade in trades[:1]:
                sent(collected.venue, form(trade))
            await collected.has(1)
            collected.venue.public[kind.pair()] = trades
            together = 1 if kind is Binance else 500
            for place in range(1, len(trades), together):
                sent(collected.venue, form(*trades[place : place + together]))
            await collected.has(len(trades))

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


# ------------------------------------------------------------ several markets, and a recording of our own

MARKETS: dict[type[FakeVenue], dict[str, str]] = {
    Binance: {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT", "SOL/USDT": "SOLUSDT"},
    Okx: {
        "BTC/USDT": "BTC-USDT",
        "BTC/USDT:USDT": "BTC-USDT-SWAP",
        "BTC/USD:BTC": "BTC-USD-SWAP",
        "BTC/USD:BTC-331230": "BTC-USD-331230",
        "PEPE/USDT": "PEPE-USDT",
    },
    Bybit: {
        "BTC/USDT": "BTCUSDT",
        "BTC/USDT:USDT": "linear:BTCUSDT",
        "BTC/USD:BTC": "inverse:BTCUSD",
        "1000PEPE/USDT:USDT": "linear:1000PEPEUSDT",
    },
}
TINY: dict[type[FakeVenue], list[dict[str, Any]]] = {
    Okx: [Okx.instrument("PEPE", "USDT", "1e-9", "1")],
    Bybit: [Bybit.contract("linear", "1000PEPE", "USDT", "0.0000001", "100")],
}


def interleaved(venue: FakeVenue, markets: Iterable[str]) -> list[Trade]:
    """Trades at the steps of their markets; where these are tiny, prices as 8E-7 and sizes of ten digits."""
    found: list[Trade] = []
    for n in range(60):
        for place, market in enumerate(markets):
            (trade,) = made(market, 1, start=START + n, first_id=10**9 * place + n, seed=n)
            if "PEPE" in market:
                trade = trade._replace(price=f"{8_124 + n}E-7", size=f"98765432{n:02}.0")
            found.append(trade if "PEPE" in market else stepped(venue, trade))
    return found


async def collect(log: Log, venue: FakeVenue, frames: Sequence[Frame], **options: Any) -> list[Trade]:
    """Returns the trades that were sent."""
    symbols = MARKETS[type(venue)]
    venue.stand_at(START)
    async with collecting(log, venue, list(symbols), **options) as collected:
        for market in symbols.values():
            await collected.live(market)
        await venue.play(frames)
        for symbol in symbols:
            await collected.has(60, symbol)
    return venue.published


@pytest.mark.parametrize("kind", MARKETS, ids=lambda kind: kind.name)
def test_what_was_kept_of_several_markets_as_it_came_makes_the_same_journal_when_it_is_played(
    kind: type[FakeVenue], log: Log, other_log: Log, tmp_path: Path
) -> None:
    listing = [*kind().listing.values(), *TINY.get(kind, ())]

    async def test() -> list[Trade]:
        with RawFrames(tmp_path, kind.name) as raw:
            async with kind(listing) as venue:
                frames = venue.frames(interleaved(venue, MARKETS[kind].values()))
                trades = await collect(log, venue, frames, raw=raw)
        async with kind(listing) as again:
            frames = recorded.raw_frames(again, *raw.folder.iterdir())
            await collect(other_log, again, frames)
        return trades

    trades = asyncio.run(test())
    told = {event.symbol: event for event in events(log) if isinstance(event, Market)}
    for symbol, market in MARKETS[kind].items():
        scales = told[symbol].price_scale, told[symbol].size_scale
        assert rows(log, symbol) == expected([t for t in trades if t.market == market], *scales)
        assert rows(other_log, symbol) == rows(log, symbol)
    assert not letters(log) and not letters(other_log)


# ------------------------------------------------------------ a venue that takes no notice


@pytest.mark.parametrize("kind", [Binance, Okx, Bybit], ids=lambda kind: kind.name)
def test_a_connection_whose_subscription_is_never_confirmed_is_dialled_again(
    kind: type[FakeVenue], log: Log
) -> None:
    class Mute(kind):
        async def heard(self, connection: Connection, text: str) -> None:
            if len(self.asked("socket")) > 1:
                await super().heard(connection, text)

    async def test() -> None:
        async with Mute() as venue:
            venue.stand_at(START)
            async with collecting(log, venue) as collected:
                await collected.until(lambda: venue.asked("socket"))
                collected.pass_by(31)
                await collected.live()

    asyncio.run(test())
