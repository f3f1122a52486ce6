"""OKX, version 5: https://www.okx.com/docs-v5/en/

`trades-all` is public on the business address; a login is refused, as with a key that OKX does not know.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.venues.connection import Connection
from tests.venues.fake import FakeVenue, RefusedError
from tests.venues.trades import Frame, Trade, number

HISTORY = "/api/v5/market/history-trades"
CHANNELS = {"/ws/v5/public": "trades", "/ws/v5/business": "trades-all"}
CONN_ID = "a4d3ae55"


class Okx(FakeVenue):
    name = "okx"
    hosts = ("www.okx.com", "ws.okx.com")
    sockets = ("/ws/v5/",)
    rest: ClassVar[dict[str, str]] = {
        "/api/v5/public/instruments": "markets",
        HISTORY: "trades",
        "/api/v5/market/trades": "trades",
        "/api/v5/public/time": "time",
    }

    def made_listing(self) -> list[dict[str, Any]]:
        """Spot, and of Bitcoin a swap of each kind and a future."""
        return [
            *(self.instrument(base, "USDT") for base in ("BTC", "ETH", "SOL")),
            self.contract("BTC-USDT-SWAP", "linear", settle="USDT", value="0.01", size_step="0.01"),
            self.contract("BTC-USD-SWAP", "inverse", settle="BTC", value="100", size_step="1"),
            self.contract("BTC-USD-331230", "inverse", settle="BTC", value="100", size_step="1"),
        ]

    @classmethod
    def contract(cls, id: str, kind: str, *, settle: str, value: str, size_step: str) -> dict[str, Any]:
        """`value` is what one contract is worth, of the base where it is linear, else of the quote."""
        base, quote, term = id.split("-")
        ends = {} if term == "SWAP" else {"instType": "FUTURES", "expTime": "2019542400000"}
        return {
            **cls.instrument(base, quote, "0.1", size_step),
            "instType": "SWAP",
            "instId": id,
            "baseCcy": "",
            "quoteCcy": "",
            "settleCcy": settle,
            "uly": f"{base}-{quote}",
            "ctVal": value,
            "ctMult": "1",
            "ctType": kind,
            "minSz": size_step,
            **ends,
        }

    @staticmethod
    def instrument(
        base: str, quote: str, price_step: str = "0.01", size_step: str = "0.00001"
    ) -> dict[str, Any]:
        return {
            "instType": "SPOT",
            "instId": f"{base}-{quote}",
            "baseCcy": base,
            "quoteCcy": quote,
            "settleCcy": "",
            "uly": "",
            "ctVal": "",
            "ctMult": "",
            "ctType": "",
            "expTime": "",
            "listTime": "1548133413000",
            "lever": "10",
            "lotSz": size_step,
            "minSz": "0.00001",
            "tickSz": price_step,
            "optType": "",
            "stk": "",
            "state": "live",
        }

    @classmethod
    def pair(cls, base: str = "BTC") -> str:
        return f"{base}-USDT"

    def id_of(self, row: dict[str, Any]) -> str:
        return row["instId"]

    def suspend(self, row: dict[str, Any]) -> None:
        row["state"] = "suspend"

    def steps(self, row: dict[str, Any]) -> tuple[str, str]:
        return row["tickSz"], row["lotSz"]

    def set_steps(self, row: dict[str, Any], price: str, size: str) -> None:
        row["tickSz"], row["lotSz"] = price, size

    def texts(self, frame: Frame, channel: str) -> list[str]:
        if f'"channel":"{channel}"' in frame.recorded:
            return [frame.recorded]
        return [self._text(trade, frame.market, channel) for trade in frame.trades]

    def _text(self, trade: Trade, market: str, channel: str) -> str:
        row = self._row(trade) | ({"count": "1"} if channel == "trades" else {"source": "0"})
        message = {"arg": {"channel": channel, "instId": market}, "data": [row]}
        return json.dumps(message, separators=(",", ":"))

    def _row(self, trade: Trade) -> dict[str, str]:
        row = {"instId": trade.market, "tradeId": trade.id, "px": trade.price, "sz": trade.size}
        return row | {"side": trade.side, "ts": str(trade.time)}

    def read(self, text: str) -> list[Trade]:
        message = json.loads(text) if text.startswith("{") else {}
        if message.get("arg", {}).get("channel") not in CHANNELS.values():
            return []
        return [
            Trade(row["instId"], row["tradeId"], int(row["ts"]), row["px"], row["sz"], row["side"])
            for row in message.get("data", ())
        ]

    async def heard(self, connection: Connection, text: str) -> None:
        if text == "ping":
            connection.say("pong")
            return
        request = json.loads(text)
        if request["op"] == "login":
            self._refuse(connection, "60005", "Invalid OK_ACCESS_KEY")
            return
        for arg in request["args"]:
            channel, market = arg["channel"], arg["instId"]
            if CHANNELS.get(connection.path) != channel or self.refuses(market):
                words = f"Wrong URL or channel:{channel},instId:{market} doesn't exist."
                self._refuse(connection, "60018", words)
                continue
            connection.say(json.dumps({"event": request["op"], "arg": arg, "connId": CONN_ID}))
            if request["op"] == "subscribe":
                await self.subscribe(connection, {market: channel})
            else:
                connection.channels.pop(market, None)

    def _refuse(self, connection: Connection, code: str, words: str) -> None:
        connection.say(json.dumps({"event": "error", "code": code, "msg": words, "connId": CONN_ID}))

    def answer(self, kind: str, query: Mapping[str, str]) -> Any:
        if kind == "time":
            return self._data([{"ts": str(self.told_time())}])
        if kind == "markets":
            rows = self.listing.values()
            asked = [row for row in rows if row["instType"] == query["instType"]]
            return self._data([row for row in asked if query.get("uly", row["uly"]) == row["uly"]])
        raise RefusedError(404, {"code": "404", "msg": "this fake does not have it", "data": []})

    def _data(self, rows: list[Any]) -> dict[str, Any]:
        return {"code": "0", "msg": "", "data": rows}

    def empty(self, kind: str) -> Any:
        return self._data([])

    def refusal(self, status: int) -> Any:
        code = {429: "50011", 403: "50027", 451: "50027"}.get(status, "50001")
        words = {"50011": "Too Many Requests", "50027": "The service is restricted where you are"}
        return {"code": code, "msg": words.get(code, "Service temporarily unavailable"), "data": []}

    def page(self, path: str, query: Mapping[str, str]) -> list[Trade]:
        """Those before the id `after`, or after the id `before`, or the newest."""
        market = query.get("instId", "")
        if self.refuses(market):
            raise RefusedError(200, {"code": "51001", "msg": "Instrument ID doesn't exist.", "data": []})
        limit_max = 100 if path == HISTORY else 500
        limit, known = min(limit_max, int(query.get("limit", 100))), self.public.get(market, [])
        if path == HISTORY:
            if query.get("type", "1") != "1":
                raise RefusedError(200, {"code": "51000", "msg": "this fake pages by id alone", "data": []})
            if "after" in query:
                known = known[: bisect_left(known, int(query["after"]), key=number)]
            if "before" in query:
                known = known[bisect_left(known, int(query["before"]) + 1, key=number) :]
        return known[-limit:]

    def rows(self, trades: Sequence[Trade], query: Mapping[str, str]) -> Any:
        return self._data([self._row(trade) for trade in reversed(trades)])
