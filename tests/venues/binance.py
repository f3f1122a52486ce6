"""Binance spot: https://developers.binance.com/docs/binance-spot-api-docs"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.venues.connection import Connection
from tests.venues.fake import FakeVenue, RefusedError
from tests.venues.trades import Frame, Trade, number

INVALID_SYMBOL = {"code": -1121, "msg": "Invalid symbol."}


def unwrapped(text: str) -> str:
    """An event without the name of its stream, which a combined stream puts around it and `/ws` does not."""
    return text[text.index('"data":') + 7 : -1] if text.startswith('{"stream":') else text


class Binance(FakeVenue):
    name = "binance"
    hosts = ("api.binance.com", "stream.binance.com")
    sockets = ("/ws",)
    rest: ClassVar[dict[str, str]] = {
        "/api/v3/exchangeInfo": "markets",
        "/api/v3/historicalTrades": "trades",
        "/api/v3/time": "time",
    }

    def made_listing(self) -> list[dict[str, Any]]:
        return [self.instrument(base, "USDT") for base in ("BTC", "ETH", "SOL")]

    @staticmethod
    def instrument(
        base: str, quote: str, price_step: str = "0.01", size_step: str = "0.00001"
    ) -> dict[str, Any]:
        return {
            "symbol": base + quote,
            "status": "TRADING",
            "baseAsset": base,
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "MARKET"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": price_step,
                    "maxPrice": "1000000",
                    "tickSize": price_step,
                },
                {"filterType": "LOT_SIZE", "minQty": size_step, "maxQty": "9000", "stepSize": size_step},
                {"filterType": "NOTIONAL", "minNotional": "5"},
            ],
            "permissions": ["SPOT"],
        }

    @classmethod
    def pair(cls, base: str = "BTC") -> str:
        return f"{base}USDT"

    def id_of(self, row: dict[str, Any]) -> str:
        return row["symbol"]

    def suspend(self, row: dict[str, Any]) -> None:
        row["status"] = "BREAK"

    def steps(self, row: dict[str, Any]) -> tuple[str, str]:
        rules = {rule["filterType"]: rule for rule in row["filters"]}
        return rules["PRICE_FILTER"]["tickSize"], rules["LOT_SIZE"]["stepSize"]

    def set_steps(self, row: dict[str, Any], price: str, size: str) -> None:
        for rule in row["filters"]:
            if rule["filterType"] == "PRICE_FILTER":
                rule["tickSize"] = price
            if rule["filterType"] == "LOT_SIZE":
                rule["stepSize"] = size

    def texts(self, frame: Frame, channel: str) -> list[str]:
        if frame.recorded:
            return [unwrapped(frame.recorded)]
        return [self._text(trade) for trade in frame.trades]

    def _text(self, trade: Trade) -> str:
        event = {"e": "trade", "E": trade.time + 1, "s": trade.market, "t": int(trade.id), "p": trade.price}
        event |= {"q": trade.size, "T": trade.time, "m": trade.side == "sell", "M": True}
        return json.dumps(event, separators=(",", ":"))

    def read(self, text: str) -> list[Trade]:
        """Also of a combined stream, which wraps each event with its stream's name."""
        event = json.loads(text)
        event = event.get("data", event)
        if event.get("e") != "trade":
            return []
        side = "sell" if event["m"] else "buy"
        return [Trade(event["s"], str(event["t"]), event["T"], event["p"], event["q"], side)]

    async def heard(self, connection: Connection, text: str) -> None:
        request = json.loads(text)
        streams = [stream.partition("@") for stream in request.get("params") or ()]
        if request["method"] == "UNSUBSCRIBE":
            for market, _, _ in streams:
                connection.channels.pop(market.upper(), None)
        elif request["method"] != "SUBSCRIBE" or any(channel != "trade" for _, _, channel in streams):
            error = {"code": 2, "msg": "Invalid request: this fake has <symbol>@trade alone"}
            connection.say(json.dumps({"error": error, "id": request.get("id")}))
            return
        connection.say(json.dumps({"result": None, "id": request["id"]}))
        if request["method"] == "SUBSCRIBE":
            # Binance takes any name of a stream; one that it does not know is silent
            await self.subscribe(connection, {market.upper(): channel for market, _, channel in streams})

    def answer(self, kind: str, query: Mapping[str, str]) -> Any:
        if kind == "time":
            return {"serverTime": self.told_time()}
        if kind == "markets":
            return self.empty(kind) | {"symbols": list(self.listing.values())}
        raise RefusedError(404, {"code": 404, "msg": "this fake does not have it"})

    def empty(self, kind: str) -> Any:
        if kind == "trades":
            return []
        if kind == "time":
            return {}
        told = {"timezone": "UTC", "serverTime": self.told_time(), "rateLimits": [], "exchangeFilters": []}
        return told | {"symbols": []}

    def refusal(self, status: int) -> Any:
        said = {
            418: (-1003, f"Way too much request weight used; IP banned until {self.told_time() + 120_000}."),
            429: (-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."),
            451: (0, "Service unavailable from a restricted location according to 'b. Eligibility'."),
        }
        code, text = said.get(status, (-1000, "An unknown error occurred while processing the request."))
        return {"code": code, "msg": text}

    def page(self, path: str, query: Mapping[str, str]) -> list[Trade]:
        """`fromId` and on, or the newest; at most 1,000."""
        market, limit = query.get("symbol", ""), min(1_000, int(query.get("limit", 500)))
        if self.refuses(market):
            raise RefusedError(400, INVALID_SYMBOL)
        known = self.public.get(market, [])
        if "fromId" not in query:
            return known[-limit:]
        first = bisect_left(known, int(query["fromId"]), key=number)
        return known[first : first + limit]

    def rows(self, trades: Sequence[Trade], query: Mapping[str, str]) -> Any:
        return [
            {
                "id": int(trade.id),
                "price": trade.price,
                "qty": trade.size,
                "quoteQty": "0",
                "time": trade.time,
                "isBuyerMaker": trade.side == "sell",
                "isBestMatch": True,
            }
            for trade in trades
        ]
