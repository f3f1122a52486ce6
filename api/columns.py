"""The columns of what is exported, with their kinds, for every door and format."""

from collections.abc import Mapping
from typing import Literal

Kind = Literal["time", "decimal", "whole", "float", "bool", "text", "json"]
Columns = Mapping[str, Kind]

DECIMAL = (38, 18)
"""Precision and scale of decimals in binary formats: every 64-bit integer at up to 18 decimals fits."""

CANDLES: Columns = {
    "timestamp": "time",
    **dict.fromkeys(("open", "high", "low", "close", "volume"), "decimal"),
    **dict.fromkeys(("trades", "revision"), "whole"),
    **dict.fromkeys(("empty", "incomplete"), "bool"),
}
SIGNALS: Columns = {
    "time": "time",
    "bot_id": "whole",
    "target": "float",
    "values": "json",
    **dict.fromkeys(("decision", "code", "cause"), "text"),
}
TRADES: Columns = {
    "time": "time",
    "bot_id": "whole",
    **dict.fromkeys(("order_id", "side"), "text"),
    **dict.fromkeys(("price", "size", "fee"), "decimal"),
    "fee_currency": "text",
    **dict.fromkeys(("realised_pnl", "position"), "decimal"),
    "cause": "text",
}
LINEAGE: Columns = dict.fromkeys(("signal", "candle", "candle_rows", "row"), "text")
EQUITY: Columns = {
    "time": "time",
    "bot_id": "whole",
    **dict.fromkeys(("cash", "position", "equity"), "decimal"),
    "cause": "text",
}
