"""Binance's spot market."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.exchange.venues.venue import Control, Page, Refusal

BOOKS = {"u", "lastUpdateId"}
"""One of them is in a frame of a book, which has no `e`."""


class Binance:
    """Trades as of the stream `<symbol>@trade`, whose ids `t` are those of `historicalTrades`.

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
    """

    name = "binance"
    ccxt_id = "binance"
    kinds: Sequence[str] = ("spot",)
    options: Mapping[str, Any] = {
        "apiKey": "none",  # without one ccxt does not ask for `historicalTrades`, which needs none
        "options": {"fetchMarkets": {"types": list(kinds)}, "fetchMargins": False, "fetchCurrencies": False},
    }
    grace_ms = 500
    silence_s = 10.0
    page = 1000
    pages_a_minute = 120  # of 6,000 weight a minute, 25 each
    symbols_max = 100
    confirms_each = False
    is_by_contract = False

    def prepare(self, exchange: Any) -> None:
        """No request goes out with the key that is none."""
        sign = exchange.sign

        def unsigned(*args: Any, **kwargs: Any) -> Any:
            return {**sign(*args, **kwargs), "headers": None}

        exchange.sign = unsigned
        exchange.has["fetchCurrencies"] = False

    async def watch(self, exchange: Any, symbols: Sequence[str]) -> None:
        await exchange.watch_trades_for_symbols(list(symbols))

    def refusal(self, text: str) -> Refusal | None:
        """None: of a stream that it does not have nothing comes, and REST says why."""
        return None

    def ping_text(self, token: bytes) -> str | None:
        return None

    def control(self, text: str) -> Control:
        """`{"result": null, "id": 1}` confirms a subscription; `error` refuses it, which ccxt reports. Other
        streams, and events such as `serverShutdown` ten minutes before an end, say nothing of trades."""
        frame = json.loads(text)
        if not isinstance(frame, dict):
            return "unknown"
        if "id" in frame:
            return "subscribed" if frame.get("result", frame) is None else "known"
        event = frame.get("data", frame)
        event = event.get("event", event) if isinstance(event, dict) else None
        if not isinstance(event, dict):
            return "unknown"
        kind = event.get("e", "trade" if BOOKS.isdisjoint(event) else "book")
        return "unknown" if kind == "trade" else "known"

    def confirmed(self, text: str) -> str:
        return ""

    def flaw(self, told: Mapping[str, Any]) -> str:
        """An `aggTrade` has an id of another count; a trade without one would get that of an order."""
        if told.get("e", "trade") != "trade":
            return f"is of {told['e']}, several trades put together"
        return "has no id" if told.get("t", told.get("id")) is None else ""

    async def newest(self, exchange: Any, symbol: str) -> Page:
        return await self._page(exchange, symbol)

    async def trades_from(self, exchange: Any, symbol: str, first: int, stop: int) -> Page:
        return await self._page(exchange, symbol, min(stop - first, self.page), fromId=first)

    async def trades_behind(self, exchange: Any, symbol: str, last: int) -> tuple[Page, bool]:
        page = await self.trades_from(exchange, symbol, last, last + self.page)
        return page, len(page) < self.page

    async def _page(self, exchange: Any, symbol: str, most: int = page, **asked: Any) -> Page:
        """By id, 1,000 at most. Its ids are the stream's; those of `aggTrades`, ccxt's choice, are not."""
        asked["fetchTradesMethod"] = "publicGetHistoricalTrades"
        return await exchange.fetch_trades(symbol, None, most, asked)
