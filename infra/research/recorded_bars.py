"""Recorded candles without the trades that they were made of: a home whose journal one need not read."""

from array import array
from collections.abc import Iterator

import numpy as np

from infra.commands.journal_view import view
from infra.research.disk import disk
from infra.research.sources import Data, in_last_revision
from projections.history import END, PRICE_SCALE, PRICES, SIZE_SCALE, VOLUME, WIDTH, Rows, row_of, scaled
from projections.research.arrays import STRETCH, Growing, Zeros, stretches
from projections.research.bars import Bars, BarsError, Fill, columns_of, grown
from projections.research.checks import opens_are_closes
from projections.research.columns import Columns
from projections.research.run import Prepared
from streams.codec import UndecodableError, decode_output
from streams.events import Candle, CandleFlag, Market, Timeframe
from streams.log import Log
from streams.records import partition_of
from streams.topics import CANDLES

REVISION, FLAGS = WIDTH, WIDTH + 1
"""Of a candle, behind its numbers."""
NUMBERS = WIDTH + 2


def recorded_bars(
    log: Log, key: str, timeframe: Timeframe, *, fill: Fill = "next-open", final: bool = False
) -> Data:
    """The recorded candles of a market; `final`: in their last revision, which no bot saw.

    Its specification is the newest. Raises `LookupError` for a market that is not in the journal, `BarsError`
    where none of its candles is recorded.
    """
    zeros = disk().zeros
    columns, known = _columns(log, key, timeframe, fill, zeros)
    note = opens_are_closes(known) if fill == "next-open" else ""
    words, origin = f"Bars only: {columns.assumed}", {"source": "candles", "fill": fill}
    data = Data(
        Prepared(columns, zeros=zeros), "candles", words, (note,) if note else (), origin,
        lambda higher: [_columns(log, key, one, fill, zeros)[0] for one in higher],
    )  # fmt: skip
    return in_last_revision(data) if final else data


def _columns(log: Log, key: str, timeframe: Timeframe, fill: Fill, zeros: Zeros) -> tuple[Columns, Bars]:
    """And the bars that they are made of."""
    partition = partition_of(key.encode(), log.partitions)
    market = view(log, partition).markets.get(key)
    if market is None:
        raise LookupError(f"market {key} is not in the journal")
    candles = _Candles(zeros)
    for rows in _told(log, partition, key, timeframe):
        candles.add(rows)
    if not candles.count:
        raise BarsError(f"{key}: no candle of {timeframe} is recorded yet: let a worker fold its journal")
    market = grown(market, *candles.scales)
    known, revised = candles.bars(market, zeros)
    return columns_of(known, market, timeframe, fill, zeros, revised), known


def _told(log: Log, partition: int, key: str, timeframe: str) -> Iterator[Rows]:
    """All revisions as they stand in the stream, many at once."""
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
        if len(found) >= STRETCH * NUMBERS:
            yield np.array(found, np.int64).reshape(-1, NUMBERS)
            found = array("q")
    yield np.array(found, np.int64).reshape(-1, NUMBERS)


class _Candles:
    """The first of each end, which come in order, and `others`: revisions, and what a killed worker records
    again. `scales`: the largest, of prices and sizes."""

    def __init__(self, zeros: Zeros) -> None:
        self._first = Growing(np.int64, zeros, (NUMBERS,))
        self._others: Rows = np.empty((0, NUMBERS), np.int64)
        self.scales = (0, 0)

    @property
    def count(self) -> int:
        return len(self._first.rows)

    def add(self, rows: Rows) -> None:
        ends = rows[:, END]
        newest = np.maximum.accumulate(np.append(self._first.rows[-1:, END].max(initial=0), ends))
        ahead = ends > newest[:-1]
        self._first.add(rows[ahead])
        self._others = np.concatenate([self._others, rows[~ahead]])
        price, size = (
            int(rows[:, scale].max(initial=known))
            for scale, known in zip((PRICE_SCALE, SIZE_SCALE), self.scales, strict=True)
        )
        self.scales = price, size

    def bars(self, market: Market, zeros: Zeros) -> tuple[Bars, Bars]:
        """As they closed, and in their last revision, at the scales of a market."""
        known, last = (Growing(np.int64, zeros, (NUMBERS,)) for _ in range(2))
        others, before = self._others[:, END], 0
        for part in stretches(self.count):
            rows = self._first.rows[part]
            to = int(rows[-1, END])
            rows = np.concatenate([rows, self._others[(others > before) & (others <= to)]])
            rows = _at_scales(rows[np.lexsort((rows[:, REVISION], rows[:, END]))], market)
            begins = np.append(True, np.diff(rows[:, END]) > 0)
            known.add(rows[begins])
            last.add(rows[np.append(begins[1:], True)])
            before = to
        return _bars(known.rows, market), _bars(last.rows, market)


def _at_scales(rows: Rows, market: Market) -> Rows:
    rows = scaled(rows)
    rows[:, PRICES] *= 10 ** (market.price_scale - rows[:, PRICE_SCALE, None])
    rows[:, VOLUME] *= 10 ** (market.size_scale - rows[:, SIZE_SCALE])
    return rows


def _bars(rows: Rows, market: Market) -> Bars:
    numbers = range(1, len(rows) + 1)
    prices, volume, flags = rows[:, PRICES], rows[:, VOLUME], rows[:, FLAGS]
    return Bars(rows[:, END], prices, volume, flags, numbers, market.price_scale, market.size_scale)
