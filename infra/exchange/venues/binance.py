"""Binance's spot market."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.exchange.venues.venue import Control


class Binance:
    """Trades as of the stream `<symbol>@trade`, whose ids `t` are those of `historicalTrades`.

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
    """

    name = "binance"
    ccxt_id = "binance"
    options: Mapping[str, Any] = {
        "apiKey": "none",  # without one ccxt does not ask for `historicalTrades`, which needs none
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False},
    }
    grace_ms = 500
    silence_s = 10.0
    page = 1000
    pages_a_minute = 120  # of 6,000 weight a minute, 25 each
    symbols_max = 100

    def prepare(self, exchange: Any) -> None:
        """No request goes out with the key that is none."""
        sign = exchange.sign

        def unsigned(*args: Any, **kwargs: Any) -> Any:
            return {**sign(*args, **kwargs), "headers": None}

        exchange.sign = unsigned
        exchange.has["fetchCurrencies"] = False

    def control(self, frame: Any) -> Control:
        """`{"result": null, "id": 1}` confirms a subscription; `error` refuses it, which ccxt reports."""
        if isinstance(frame, dict) and "id" in frame:
            return "subscribed" if frame.get("result", frame) is None else "known"
        return "unknown"

    async def trades_from(self, client: Any, symbol: str, first: int | None) -> Sequence[Mapping[str, Any]]:
        """1,000 at most, by id. Its ids are the stream's; those of `aggTrades`, ccxt's choice, are not."""
        asked: dict[str, Any] = {"fetchTradesMethod": "publicGetHistoricalTrades"}
        asked |= {} if first is None else {"fromId": first}
        return await client.fetch_trades(symbol, None, self.page, asked)
