"""Bybit: spot, perpetual contracts and futures."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.exchange.venues.venue import Control, Page, Refusal

TOPIC = "publicTrade"
_TOPIC = re.compile(TOPIC + r"\.([\w-]+)")
SIDES = ("Buy", "Sell")


class Bybit:
    """Trades of the topics `publicTrade`, whose ids tell one trade from another and no more.

    https://bybit-exchange.github.io/docs/v5/websocket/public/trade
    """

    name = "bybit"
    ccxt_id = "bybit"
    kinds: Sequence[str] = ("spot", "linear", "inverse")
    options: Mapping[str, Any] = {
        "options": {"fetchMarkets": {"types": list(kinds)}},
        "streaming": {"keepAlive": 0},
    }
    grace_ms = 500
    silence_s = 10.0
    page = 1_000  # of spot 60
    pages_a_minute = 300  # ccxt lets 600 through, the venue 600 in 5 s
    symbols_max = 10  # of spot in one request
    confirms_each = False
    is_by_contract = True

    def prepare(self, exchange: Any) -> None:
        """Currencies are told to who has a key."""
        exchange.has["fetchCurrencies"] = False

    async def watch(self, exchange: Any, symbols: Sequence[str]) -> None:
        await exchange.watch_trades_for_symbols(list(symbols))

    def refusal(self, text: str) -> Refusal | None:
        """`{"success": false, "op": "subscribe", "ret_msg": …}`, which says `Invalid symbol :[publicTrade.X]`
        for spot, else `error:handler not found,topic:publicTrade.X`. Nothing of its request is subscribed."""
        frame = json.loads(text)
        if not isinstance(frame, dict) or frame.get("op") != "subscribe" or frame.get("success") is not False:
            return None
        words = str(frame.get("ret_msg"))
        return Refusal(_TOPIC.findall(words), words)

    def ping_text(self, token: bytes) -> str | None:
        return json.dumps({"op": "ping", "req_id": token.decode()})

    def control(self, text: str) -> Control:
        """`{"success": true, "op": "subscribe", …}` confirms all symbols; of `false` ccxt makes an error. A
        pong is `{"op": "ping", "ret_msg": "pong", …}` or `{"op": "pong", …}`. Other topics say nothing of
        trades."""
        frame = json.loads(text)
        if not isinstance(frame, dict):
            return "unknown"
        if not str(frame.get("topic", TOPIC)).startswith(TOPIC):
            return "known"
        operation = frame.get("op")
        if operation == "pong" or (operation == "ping" and frame.get("ret_msg") == "pong"):
            return "pong"
        if operation is None:
            return "unknown"
        return "subscribed" if operation == "subscribe" and frame.get("success") is True else "known"

    def confirmed(self, text: str) -> str:
        return ""

    def flaw(self, told: Mapping[str, Any]) -> str:
        """In the place of an id or a side that is missing ccxt takes something else."""
        if not told.get("i", told.get("execId")):
            return "has no id"
        side = told.get("S", told.get("side"))
        return "" if side in SIDES else f"has the side {side!r}, which is none"

    async def newest(self, exchange: Any, symbol: str) -> Page:
        """The oldest first, as the venue has them: ccxt would put those of a millisecond in the order of
        their ids, which is none.

        https://bybit-exchange.github.io/docs/v5/market/recent-trade
        """
        market = exchange.market(symbol)
        category = next(kind for kind in self.kinds if market[kind])
        asked = {"category": category, "symbol": market["id"], "limit": 60 if market["spot"] else self.page}
        answer = await exchange.publicGetV5MarketRecentTrade(asked)
        result = answer.get("result") if isinstance(answer, Mapping) else None
        if not isinstance(result, Mapping) or not isinstance(rows := result.get("list"), list):
            raise ValueError(f"its answer is no page of trades: {str(answer)[:80]!r}")
        return [exchange.parse_trade(row, market) for row in reversed(rows)]
