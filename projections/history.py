"""A market's candles as they were when they closed (revision 0), read from their stream, from its end on."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from streams.codec import UndecodableError, decode_output
from streams.events import Bars, Candle, Timeframe
from streams.log import Log
from streams.records import Record, partition_of
from streams.topics import CANDLES

Rows: TypeAlias = npt.NDArray[np.int64]
"""(n, 8), oldest first: end in ns, open, high, low, close, volume, price and size scale."""
END, PRICES, VOLUME, PRICE_SCALE, SIZE_SCALE = 0, slice(1, 5), 5, 6, 7
WIDTH = 8
NONE: Rows = np.empty((0, WIDTH), np.int64)

WINDOW_RECORDS = 256
WINDOW_RECORDS_MAX = 65_536
"""Records read at once, going back: at first few, then more."""
BARS_MAX = 15_000
"""Candles in a record: at most 54 bytes each, so that it stays below the limit."""


def closed(
    log: Log,
    key: str,
    timeframe: str,
    *,
    count: int | None = None,
    since: int | None = None,
    stop: int | None = None,
) -> Rows:
    """The newest `count` candles before offset `stop` of the stream, or those that end from `since` ns on."""
    partition = partition_of(key.encode(), log.partitions)
    earliest = log.earliest(CANDLES, partition)
    stop = log.highwater(CANDLES, partition) if stop is None else stop
    rows, window = NONE, WINDOW_RECORDS
    while stop > earliest and (count is None or len(rows) < count):
        start = max(earliest, stop - window)
        rows = joined(rows_of(log.read(CANDLES, partition, start, stop), key, timeframe), rows)
        if since is not None and len(rows) and rows[0, END] <= since:
            break
        stop, window = start, min(2 * window, WINDOW_RECORDS_MAX)
    if since is not None:
        rows = rows[rows[:, END] >= since]
    return rows if count is None else rows[max(len(rows) - count, 0) :]


def rows_of(records: Iterable[Record], key: str, timeframe: str) -> Rows:
    """The candles of a market and timeframe in records of the stream; what cannot be decoded holds none."""
    rows = [
        row_of(c)
        for record in records
        if record.key == key.encode()
        for c in _candles(record.value)
        if c.timeframe == timeframe and c.revision == 0
    ]
    return np.array(rows, np.int64).reshape(-1, WIDTH)


def row_of(c: Candle) -> tuple[int, int, int, int, int, int, int, int]:
    return c.timestamp, c.open, c.high, c.low, c.close, c.volume, c.price_scale, c.size_scale


def joined(*parts: Rows) -> Rows:
    """By end, each once: a worker that was killed records some candles again."""
    rows = np.concatenate([NONE, *parts])
    _, first = np.unique(rows[:, END], return_index=True)
    return rows[first]


def bars_of(rows: Rows, market: str, timeframe: Timeframe, warm_up: str) -> Iterator[Bars]:
    """Candles as events below the size limit; one without candles where there are none."""
    for first in range(0, max(len(rows), 1), BARS_MAX):
        part = scaled(rows[first : first + BARS_MAX])
        price_scale, size_scale = part[:, PRICE_SCALE:].max(axis=0, initial=0).tolist()
        end, open_, high, low, close, volume = map(tuple, part[:, : VOLUME + 1].T.tolist())
        yield Bars(
            market=market,
            timeframe=timeframe,
            timestamp=end,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            price_scale=price_scale,
            size_scale=size_scale,
            warm_up=warm_up,
        )


def scaled(rows: Rows) -> Rows:
    """All at the largest scales of the rows."""
    rows = rows.copy()
    for scale, columns in ((PRICE_SCALE, PRICES), (SIZE_SCALE, slice(VOLUME, VOLUME + 1))):
        largest = rows[:, scale].max(initial=0)
        rows[:, columns] *= 10 ** (largest - rows[:, scale, None])
        rows[:, scale] = largest
    return rows


def _candles(value: bytes) -> list[Candle]:
    try:
        return [event for event in decode_output(value).events if isinstance(event, Candle)]
    except UndecodableError:
        return []
