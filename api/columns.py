"""The columns of what is exported, with their kinds, for every door and format."""

from collections.abc import Mapping
from typing import Literal

from infra.present.fields import Form, door_fields
from streams import events

Kind = Literal["time", "decimal", "whole", "float", "bool", "text", "json"]
Columns = Mapping[str, Kind]

DECIMAL = (38, 18)
"""Precision and scale of decimals in binary formats: every 64-bit integer at up to 18 decimals fits."""

_KINDS: dict[Form, Kind] = {
    "time": "time", "decimal": "decimal", "integer": "whole", "float": "float", "bool": "bool",
    "json": "json",
}  # fmt: skip


def _of(kind: type[events.Event], **more: Kind) -> Columns:
    return {**{one.name: _KINDS.get(one.form, "text") for one in door_fields(kind)}, **more}


CANDLES = _of(events.Candle)
SIGNALS = _of(events.Signal, cause="text", message="text")
TRADES = _of(events.Fill, cause="text")
LINEAGE: Columns = {
    "signal": "text",
    "candle": "text",
    "candle_timestamp": "time",
    "candle_records": "text",
    "trade": "text",
}
EQUITY = _of(events.Equity, cause="text")
