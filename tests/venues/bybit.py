"""Bybit, version 5: https://bybit-exchange.github.io/docs/v5/intro

A market of another category than spot has the category before its id: `linear:BTCUSDT`.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

from tests.venues.connection import Connection
from tests.venues.fake import FakeVenue, RefusedError
from tests.venues.trades import Frame, Trade

TRADES_A_FRAME = 1_024
TOPIC = "publicTrade."
INVERSE = re.compile(r"USD([FGHJKMNQUVXZ]\d\d)?$")
CONN_ID = "d266o6hqo29sqmnq4vk0-1yus1"


class Bybit(FakeVenue):
    name = "bybit"
    hosts = ("api.bybit.com", "stream.bybit.com")
    sockets = ("/v5/public/",)
    numbered = False
    rest: ClassVar[dict[str, str]] = {
        "/v5/market/instruments-info": "markets",
        "/v5/market/recent-trade": "trades",
        "/v5/market/time": "time",
    }

    def made_listing(self) -> list[dict[str, Any]]:
        spot = [self.instrument(base, "USDT") for base in ("BTC", "ETH", "SOL")]
        return [*spot, self.contract("linear", "BTC", "USDT"), self.contract("inverse", "BTC", "USD")]

    @staticmethod
    def contract(
        category: str, base: str, quote: str, price_step: str = "0.01", size_step: str = "0.00001"
    ) -> dict[str, Any]:
        """A perpetual one."""
        return {
            "category": category,
            "symbol": base + quote,
            "contractType": f"{category.capitalize()}Perpetual",
            "status": "Trading",
            "baseCoin": base,
            "quoteCoin": quote,
            "settleCoin": quote if category == "linear" else base,
            "launchTime": "1584230400000",
            "deliveryTime": "0",
            "priceScale": "2",
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": price_step},
            "lotSizeFilter": {"minOrderQty": size_step, "maxOrderQty": "1190.000", "qtyStep": size_step},
            "fundingInterval": 480,
        }

    @staticmethod
    def instrument(
        base: str, quote: str, price_step: str = "0.01", size_step: str = "0.00001"
    ) -> dict[str, Any]:
        return {
            "category": "spot",
            "symbol": base + quote,
            "baseCoin": base,
            "quoteCoin": quote,
            "status": "Trading",
            "marginTrading": "none",
            "lotSizeFilter": {
                "basePrecision": size_step,
                "quotePrecision": "0.0000001",
                "minOrderQty": size_step,
                "maxOrderQty": "80",
                "minOrderAmt": "5",
                "maxOrderAmt": "8000000",
            },
            "priceFilter": {"tickSize": price_step},
        }

    @classmethod
    def pair(cls, base: str = "BTC") -> str:
        return f"{base}USDT"

    def id_of(self, row: dict[str, Any]) -> str:
        return row["symbol"] if row["category"] == "spot" else f"{row['category']}:{row['symbol']}"

    def suspend(self, row: dict[str, Any]) -> None:
        row["status"] = "Closed"

    def steps(self, row: dict[str, Any]) -> tuple[str, str]:
        return row["priceFilter"]["tickSize"], row["lotSizeFilter"][self._size_step(row)]

    def set_steps(self, row: dict[str, Any], price: str, size: str) -> None:
        row["priceFilter"]["tickSize"] = price
        row["lotSizeFilter"][self._size_step(row)] = size

    @staticmethod
    def _size_step(row: dict[str, Any]) -> str:
        return "basePrecision" if row["category"] == "spot" else "qtyStep"

    def is_about(self, query: Mapping[str, str], market: str) -> bool:
        return market_of(query.get("category", ""), query.get("symbol", "")) == market

    def frames(self, trades: Iterable[Trade]) -> list[Frame]:
        """Trades of one market and millisecond come together; numbered ones get an id as Bybit has them."""
        frames: list[Frame] = []
        for _, group in groupby(map(identified, trades), key=lambda trade: (trade.market, trade.time)):
            together = list(group)
            firsts = range(0, len(together), TRADES_A_FRAME)
            frames += [Frame(together[first : first + TRADES_A_FRAME]) for first in firsts]
        return frames

    def texts(self, frame: Frame, channel: str) -> list[str]:
        if frame.recorded:
            return [frame.recorded]
        rows = [
            {
                "T": trade.time,
                "s": symbol(trade.market),
                "S": trade.side.capitalize(),
                "v": trade.size,
                "p": trade.price,
                "i": trade.id,
                "seq": 34259104155,
                "BT": False,
                "RPI": False,
                **({"L": "PlusTick"} if ":" in trade.market else {}),
            }
            for trade in frame.trades
        ]
        message = {
            "topic": TOPIC + symbol(frame.trades[0].market),
            "ts": frame.time + 1,
            "type": "snapshot",
            "data": rows,
        }
        return [json.dumps(message, separators=(",", ":"))]

    def read(self, text: str) -> list[Trade]:
        """That of a contract alone has `L`, the direction of its price."""
        message = json.loads(text)
        if not message.get("topic", "").startswith(TOPIC):
            return []
        return [
            Trade(told_market(row), row["i"], row["T"], row["p"], row["v"], row["S"].lower())
            for row in message["data"]
        ]

    async def heard(self, connection: Connection, text: str) -> None:
        request = json.loads(text)
        operation = request["op"]
        answer = {"success": True, "ret_msg": "", "conn_id": CONN_ID, "op": operation}
        answer |= {"req_id": request.get("req_id", "")}
        if operation == "ping":
            connection.say(json.dumps(answer | {"ret_msg": "pong"}))
            return
        category = connection.path.rpartition("/")[2]
        markets = [market_of(category, topic.removeprefix(TOPIC)) for topic in request["args"]]
        topics = zip(request["args"], markets, strict=True)
        wrong = [topic for topic, market in topics if not topic.startswith(TOPIC) or self.refuses(market)]
        if wrong:
            spot = f"Invalid symbol :[{wrong[0]}]"
            words = spot if category == "spot" else f"error:handler not found,topic:{wrong[0]}"
            connection.say(json.dumps(answer | {"success": False, "ret_msg": words}))
            return
        connection.say(json.dumps(answer))
        if operation == "subscribe":
            await self.subscribe(connection, dict.fromkeys(markets, "publicTrade"))
        else:
            for market in markets:
                connection.channels.pop(market, None)

    def answer(self, kind: str, query: Mapping[str, str]) -> Any:
        now = self.told_time()
        if kind == "time":
            return self._result({"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)})
        if kind == "markets":
            asked = [row for row in self.listing.values() if row["category"] == query["category"]]
            if "baseCoin" in query:
                asked = [row for row in asked if row["baseCoin"] == query["baseCoin"]]
            if "status" in query:
                asked = [row for row in asked if row["status"] == query["status"]]
            return self._listed(query["category"], asked)
        raise RefusedError(404, {"retCode": 404, "retMsg": "this fake does not have it"})

    def _result(self, result: dict[str, Any]) -> dict[str, Any]:
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.told_time()}

    def _listed(self, category: str, rows: list[Any]) -> dict[str, Any]:
        return self._result({"category": category, "list": rows})

    def empty(self, kind: str) -> Any:
        return self._listed("spot", [])

    def refusal(self, status: int) -> Any:
        said = {
            403: (10009, "IP has been banned."),
            429: (10006, "Too many visits. Exceeded the API Rate Limit."),
        }
        code, words = said.get(status, (10016, "Internal error."))
        return {"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}, "time": self.told_time()}

    def page(self, path: str, query: Mapping[str, str]) -> list[Trade]:
        """The newest: of spot 60, else 1,000 at most."""
        category = query.get("category", "")
        market = market_of(category, query.get("symbol", ""))
        if self.refuses(market):
            raise RefusedError(200, self.refusal(500) | {"retCode": 10001, "retMsg": "Not supported symbols"})
        limit_max, usual = (60, 60) if category == "spot" else (1_000, 500)
        return self.public.get(market, [])[-min(limit_max, int(query.get("limit", usual))) :]

    def rows(self, trades: Sequence[Trade], query: Mapping[str, str]) -> Any:
        rows = [
            {
                "execId": trade.id,
                "symbol": symbol(trade.market),
                "price": trade.price,
                "size": trade.size,
                "side": trade.side.capitalize(),
                "time": str(trade.time),
                "isBlockTrade": False,
            }
            for trade in reversed(trades)
        ]
        return self._listed(query["category"], rows)


def market_of(category: str, symbol: str) -> str:
    return symbol if category == "spot" else f"{category}:{symbol}"


def told_market(row: Mapping[str, Any]) -> str:
    """Inverse contracts are those against USD, a perpetual or one of a month."""
    if "L" not in row:
        return row["s"]
    return market_of("inverse" if INVERSE.search(row["s"]) else "linear", row["s"])


def symbol(market: str) -> str:
    return market.rpartition(":")[2]


def identified(trade: Trade) -> Trade:
    """A number becomes a UUID, always the same."""
    if not trade.id.isdecimal():
        return trade
    return trade._replace(id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{trade.market} {trade.id}")))
