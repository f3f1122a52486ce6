"""Recorded candles without the trades that they were made of: a home whose journal one need not read."""

from array import array

import numpy as np

from infra.commands.journal_view import view
from infra.research.sources import Data, in_last_revision
from projections.history import END, PRICE_SCALE, PRICES, SIZE_SCALE, VOLUME, WIDTH, Rows, row_of, scaled
from projections.research.bars import Bars, BarsError, Fill, columns_of, grown, opens_are_closes
from projections.research.columns import Columns
from projections.research.run import Prepared
from streams.codec import UndecodableError, decode_output
from streams.events import Candle, CandleFlag, Market, Timeframe
from streams.log import Log
from streams.records import partition_of
from streams.topics import CANDLES

REVISION, FLAGS = WIDTH, WIDTH + 1
"""Of a candle, behind its numbers."""


def recorded_bars(
    log: Log, key: str, timeframe: Timeframe, *, fill: Fill = "next-open", final: bool = False
) -> Data:
    """The recorded candles of a market; `final`: in their last revision, which no bot saw.

    Its specification is the newest. Raises `LookupError` for a market that is not in the journal, `BarsError`
    where none of its candles is recorded.
    """
    columns, known = _columns(log, key, timeframe, fill)
    note = opens_are_closes(known) if fill == "next-open" else ""
    words, origin = f"Bars only: {columns.assumed}", {"source": "candles", "fill": fill}
    data = Data(
        Prepared(columns), "candles", words, (note,) if note else (), origin,
        lambda higher: [_columns(log, key, one, fill)[0] for one in higher],
    )  # fmt: skip
    return in_last_revision(data) if final else data


def _columns(log: Log, key: str, timeframe: Timeframe, fill: Fill) -> tuple[Columns, Bars]:
    """And the bars that they are made of."""
    partition = partition_of(key.encode(), log.partitions)
    market = view(log, partition).markets.get(key)
    if market is None:
        raise LookupError(f"market {key} is not in the journal")
    rows = _candles(log, partition, key, timeframe)
    if not len(rows):
        raise BarsError(f"{key}: no candle of {timeframe} is recorded yet: let a worker fold its journal")
    rows = scaled(rows)
    market = grown(market, int(rows[0, PRICE_SCALE]), int(rows[0, SIZE_SCALE]))
    rows[:, PRICES] *= 10 ** (market.price_scale - rows[:, PRICE_SCALE, None])
    rows[:, VOLUME] *= 10 ** (market.size_scale - rows[:, SIZE_SCALE])
    order = np.lexsort((rows[:, REVISION], rows[:, END]))
    rows = rows[order]
    begins = np.append(True, np.diff(rows[:, END]) > 0)
    known, revised = (_bars(rows[which], market) for which in (begins, np.append(begins[1:], True)))
    return columns_of(known, market, timeframe, fill, revised), known


def _candles(log: Log, partition: int, key: str, timeframe: str) -> Rows:
    """All revisions as they stand in the stream; a killed worker records some again."""
    found = array("q")
    for record in log.read(CANDLES, partition, log.earliest(CANDLES, partition)):
        if record.key != key.encode():
            continue
        try:
            events = decode_output(record.value).events
        except UndecodableError:
            continue
        for one in events:
            if isinstance(one, Candle) and one.timeframe == timeframe:
                flags = one.empty * CandleFlag.EMPTY | one.incomplete * CandleFlag.INCOMPLETE
                found.extend((*row_of(one), one.revision, int(flags)))
    return np.array(found, np.int64).reshape(-1, FLAGS + 1)


def _bars(rows: Rows, market: Market) -> Bars:
    ends, volume, flags = rows[:, END], rows[:, VOLUME], rows[:, FLAGS]
    numbers = np.arange(1, len(rows) + 1)
    return Bars(ends, rows[:, PRICES], volume, flags, numbers, market.price_scale, market.size_scale)
