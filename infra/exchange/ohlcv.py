"""Rows of a market, folded by themselves: the OHLCV of a provider's message."""

import numpy as np

from infra.exchange.provider import clock_rows
from projections.fold.candles import TIMEFRAMES, CandleBook, candle_event
from streams.events import MINUTE_NS, Candle, Market, RowKind
from streams.ticks import Ticks, concatenate


def minutes(market: Market, rows: Ticks) -> list[Candle]:
    """The 1m candles of these trades alone, by time, each as far as its trades go.

    They stand at no place of the journal; the candles of the whole market are in the log. Raises
    `ValueError` for rows that no candles can hold, such as five years without a trade.
    """
    rows = rows.take(np.argsort(rows.time, kind="stable"))
    if not rows.rows:
        return []
    book = CandleBook(closed=market.closed, grace_ns=0, horizon_ns=0)
    end = clock_rows(np.zeros(1, np.uint16), int(rows.time[-1]) + MINUTE_NS)
    rows = concatenate([rows._replace(market=np.zeros(rows.rows, np.uint16)), end])
    closed = book.fold(rows.time, rows.price, rows.size, rows.kind & np.uint8(RowKind.CLOCK), -1).closed
    wanted = (closed["timeframe"] == TIMEFRAMES.index("1m")) & (closed["trades"] > 0)
    return [candle_event(row, market) for row in closed[wanted].tolist()]
