"""OKX: spot, perpetual swaps and futures."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.exchange.venues.venue import Control, Page, Refusal

CHANNEL = "trades-all"
_INSTRUMENT = re.compile(CHANNEL + r",instId:([\w-]+)")


class Okx:
    """Trades of the channel `trades-all`; those of `trades`, ccxt's choice, are put together of several.

    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-all-trades-channel
    """

    name = "okx"
    ccxt_id = "okx"
    kinds: Sequence[str] = ("spot", "swap", "future")
    options: Mapping[str, Any] = {
        "options": {"fetchMarkets": {"types": list(kinds)}},
        "streaming": {"keepAlive": 0},
    }
    grace_ms = 500
    silence_s = 10.0  # it ends a connection after 30 s without a word
    page = 100
    pages_a_minute = 300  # of 20 in 2 s
    confirms_each = True
    is_by_contract = False
    symbols_max = 100  # their names may be 64 KB

    def prepare(self, exchange: Any) -> None:
        """Currencies are told to who has a key."""
        exchange.has["fetchCurrencies"] = False

    async def watch(self, exchange: Any, symbols: Sequence[str]) -> None:
        """Below ccxt's own call, which logs in first; the channel is public."""
        hashes = [f"{CHANNEL}:{symbol}" for symbol in symbols]
        args = [{"channel": CHANNEL, "instId": exchange.market_id(symbol)} for symbol in symbols]
        url = exchange.get_url(CHANNEL, "business")
        await exchange.watch_multiple(url, hashes, {"op": "subscribe", "args": args}, hashes)

    def refusal(self, text: str) -> Refusal | None:
        """`{"event": "error", "msg": "Wrong URL or channel:trades-all,instId:X doesn't exist. …"}`; the other
        symbols of that request are subscribed."""
        frame = json.loads(text) if text != "pong" else None
        if not isinstance(frame, dict) or frame.get("event") != "error":
            return None
        words = str(frame.get("msg"))
        return Refusal(_INSTRUMENT.findall(words), words)

    def ping_text(self, token: bytes) -> str | None:
        return "ping"

    def control(self, text: str) -> Control:
        """`{"event": "subscribe", "arg": …}` confirms one symbol; `notice`, and an `error` that names none,
        end the connection, as ccxt takes them. Other channels say nothing of trades."""
        if text == "pong":
            return "pong"
        frame = json.loads(text)
        if not isinstance(frame, dict):
            return "unknown"
        if (event := frame.get("event")) is not None:
            return "subscribed" if event == "subscribe" else "known"
        argument = frame.get("arg")
        channel = argument.get("channel", CHANNEL) if isinstance(argument, dict) else CHANNEL
        return "unknown" if str(channel).startswith("trades") else "known"

    def confirmed(self, text: str) -> str:
        argument = json.loads(text).get("arg")
        return str(argument.get("instId")) if isinstance(argument, dict) else ""

    def flaw(self, told: Mapping[str, Any]) -> str:
        """The channel `trades` puts those of one order and price together, under the id of the last."""
        count = str(told.get("count") or 1)
        return "" if count == "1" else f"is {count} trades put together"

    async def newest(self, exchange: Any, symbol: str) -> Page:
        return await self._page(exchange, symbol)

    async def trades_from(self, exchange: Any, symbol: str, first: int, stop: int) -> Page:
        most = min(stop - first, self.page)
        return await self._page(exchange, symbol, after=first + most, limit=most)

    async def trades_behind(self, exchange: Any, symbol: str, last: int) -> tuple[Page, bool]:
        """The newest of those behind `last`; where they are more than a page, those next to it as well."""
        newest = await self._page(exchange, symbol, before=last - 1)
        if len(newest) < self.page:
            return newest, True
        return [*await self.trades_from(exchange, symbol, last, last + self.page), *newest], True

    async def _page(self, exchange: Any, symbol: str, **asked: int) -> Page:
        """100 at most, before the id `after`, or the newest, which are behind the id `before`.

        https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
        """
        market = exchange.market(symbol)
        asked_for = {"instId": market["id"], "limit": self.page, **asked}
        answer = await exchange.publicGetMarketHistoryTrades(asked_for)
        if not isinstance(answer, Mapping) or not isinstance(rows := answer.get("data"), list):
            raise ValueError(f"its answer is no page of trades: {str(answer)[:80]!r}")
        return exchange.parse_trades(rows, market)
