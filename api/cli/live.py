"""The live view of `up`: markets, bots and how far the fold is, from the log and the database."""

import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from api.cli.output import plain
from api.cli.session import Session
from streams.background import Background

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from infra.worker.root import Progress
    from streams.log import Log
    from streams.records import Record

EVERY_S = 1.0
TERMINAL_EVERY_S = 0.5
BOTS_SHOWN = 20
MARKETS_SHOWN = 20
MARKET_COLUMNS = ("market", "time", "price", "trades/s", "1m candle", "volume", "trades")
BOT_COLUMNS = ("bot", "market", "strategy", "timeframe", "status", "position", "equity", "P&L", "currency")


class Price(Struct):
    """The newest trade of a market, and how many there were since the view began."""

    time: int = 0
    price: str = ""
    trades: int = 0


class Board:
    """What is new in the journal, by market; each call of `update` reads on from the last."""

    def __init__(self, log: "Log") -> None:
        from streams.topics import JOURNAL

        self._log = log
        self._journal = JOURNAL
        self._at = {p: log.highwater(JOURNAL, p) for p in range(log.partitions)}
        self.markets: defaultdict[str, Price] = defaultdict(Price)

    @property
    def ends(self) -> dict[int, int]:
        return self._at

    def update(self) -> None:
        for partition, start in self._at.items():
            for record in self._log.read(self._journal, partition, start):
                self._note(record)
                self._at[partition] = record.offset + 1

    def _note(self, record: "Record") -> None:
        import numpy as np

        from infra.present.values import decimal_string
        from streams.codec import UndecodableError, input_of
        from streams.events import RowKind, TickBatch
        from streams.ticks import unpack

        try:
            event = input_of(record).event
            rows = unpack(event) if isinstance(event, TickBatch) else None
        except (UndecodableError, ValueError):
            return  # the fold reports it as a dead letter
        if rows is None or not isinstance(event, TickBatch):
            return
        for index, entry in enumerate(event.markets):
            mine = np.flatnonzero((rows.market == index) & (rows.kind < RowKind.CLOCK))
            if len(mine):
                market, last = self.markets[entry.key], int(mine[-1])
                market.time = int(rows.time[last])
                market.price = decimal_string(int(rows.price[last]), entry.price_scale)
                market.trades += len(mine)


class Live:
    """Shows, in a thread of its own, where things stand; a line a second where there is no terminal."""

    def __init__(self, session: Session, places: str) -> None:
        """`places`: the addresses, which always stand in the view."""
        self._session = session
        self._places = places
        self._board = Board(session.log)
        self._progress: Progress | None = None
        self._thread = Background("view", self._run)
        self._before: dict[str, int] = {}
        self._looked = time.monotonic()

    def observe(self, progress: "Progress") -> None:
        """Told by the worker, on its own loop, so only kept here."""
        self._progress = progress

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def _run(self) -> None:
        from api.http.health import UNREACHABLE

        terminal = sys.stdout.isatty()
        with ExitStack() as stack:
            screen: Any = None
            if terminal:
                from rich.live import Live as Screen

                screen = stack.enter_context(Screen(auto_refresh=False))
            while not self._thread.stopping.wait(TERMINAL_EVERY_S if terminal else EVERY_S):
                try:
                    state = self._state()
                except UNREACHABLE:  # the worker says so; what is shown stays until they answer
                    continue
                if screen is not None:
                    screen.update(_screen(state, self._places), refresh=True)
                else:
                    sys.stdout.write(_line(state) + "\n")
                sys.stdout.flush()

    def _state(self) -> dict[str, Any]:
        """All that is shown."""
        from infra.db import queries
        from infra.db.pages import Window
        from infra.exchange.sources import collected, facts_of
        from infra.present import facts
        from infra.present.values import iso

        self._board.update()
        now, before = time.monotonic(), self._looked
        self._looked = now
        markets: list[dict[str, Any]] = []
        for key, seen in sorted(self._board.markets.items()):
            rate = (seen.trades - self._before.get(key, 0)) / max(now - before, 1e-9)
            self._before[key] = seen.trades
            markets.append(
                {
                    "market": key,
                    "time": iso(seen.time),
                    "price": seen.price,
                    "trades_per_s": round(rate),
                    "candle": self._candle(key),
                }
            )
        database = self._session.database
        return {
            "time": max((market["time"] for market in markets), default=None),
            "trades_per_s": sum(market["trades_per_s"] for market in markets),
            "lag": self._lag(),
            "markets": markets,
            "feeds": [facts_of(row) for row in collected(self._session.settings.home) if row.state != "live"],
            "statuses": queries.statuses(database),
            "bots": [facts.bot(row) for row in queries.bots(database, Window(BOTS_SHOWN)).rows],
        }

    def _candle(self, market: str) -> dict[str, Any] | None:
        """The newest revision of the last closed 1m candle; None before the first."""
        from infra.db import queries
        from infra.db.pages import Window
        from infra.present import facts

        found = queries.candles(self._session.database, market, "1m", Window(1, newest=True)).rows
        return facts.candle(found[0]) if found else None

    def _lag(self) -> int | None:
        """Journal records that are not folded yet; None until the worker has begun."""
        if self._progress is None:
            return None
        applied = self._progress.applied
        return sum(max(0, end - 1 - applied.get(p, end - 1)) for p, end in self._board.ends.items())


def _line(state: dict[str, Any]) -> str:
    prices = ", ".join(f"{m['market']} {m['price']}" for m in state["markets"][:4]) or "no trade yet"
    bots = ", ".join(f"{count} {status}" for status, count in state["statuses"].items()) or "none"
    equity = " ".join(f"#{b['bot_id']} {b['equity']}" for b in state["bots"][:4])
    lag = "starting" if state["lag"] is None else f"lag {state['lag']}"
    head = f"{state['time'] or '-'} {state['trades_per_s']} trades/s, {lag}"
    feeds = "".join(
        f"; {feed['market']} is {feed['state'].replace('_', ' ')}" for feed in state["feeds"][:MARKETS_SHOWN]
    )
    return f"{head}; {prices}{feeds}; bots: {bots} {equity}".rstrip()


def _screen(state: dict[str, Any], places: str) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    lag = "starting" if state["lag"] is None else f"{state['lag']} records behind"
    bots = ", ".join(f"{count} {status}" for status, count in state["statuses"].items()) or "no bots"
    head = Text(f"{state['time'] or '-'}   {state['trades_per_s']} trades/s   {lag}   {bots}   Ctrl-C ends")
    parts = [Text(places), head, Text(), _markets(state["markets"]), Text(), _bots(state["bots"])]
    if feeds := _feeds(state["feeds"])[:MARKETS_SHOWN]:
        parts[4:4] = [Text(), *feeds]
    return Group(*parts)


def _feeds(feeds: list[dict[str, Any]]) -> "list[Text]":
    """What nobody vouches for, so that bots open nothing on it, and why."""
    from infra.exchange.sources import sentences

    texts = [plain(sentence) for sentence in sentences(feeds)]
    for text in texts:
        text.stylize("yellow")
    return texts


def _markets(markets: list[dict[str, Any]]) -> "Table":
    table = _table(MARKET_COLUMNS)
    for market in markets[:MARKETS_SHOWN]:
        candle = market["candle"]
        bar = " ".join(candle[name] for name in ("open", "high", "low", "close")) if candle else "-"
        volume, trades = (candle["volume"], str(candle["trades"])) if candle else ("-", "-")
        table.add_row(
            plain(market["market"]),
            market["time"],
            market["price"],
            str(market["trades_per_s"]),
            bar,
            volume,
            trades,
        )
    return table


def _bots(bots: list[dict[str, Any]]) -> "Table":
    table = _table(BOT_COLUMNS)
    for bot in bots:
        colour = "red" if bot["pnl"].startswith("-") else "green"
        table.add_row(
            str(bot["bot_id"]), plain(f"{bot['venue']}:{bot['symbol']}"), plain(bot["strategy"]),
            bot["timeframe"], plain(_status(bot)), bot["position"], bot["equity"],
            f"[{colour}]{bot['pnl']}[/]", plain(bot["currency"]),
        )  # fmt: skip
    return table


def _status(bot: dict[str, Any]) -> str:
    """The status, and of a bot that was halted why."""
    return f"halted: {bot['message']}" if bot["status"] == "halted" else bot["status"]


def _table(columns: tuple[str, ...]) -> "Table":
    from rich.table import Table

    return Table(*columns, box=None, header_style="bold", pad_edge=False)
