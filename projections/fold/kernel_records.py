"""The records of the compiled fold of candles: what `projections.fold.kernel` works on.

A class names the fields of a record, all int64; its dtype is made of them. Records come in as arrays of int64
and are viewed there: numba takes 70 ns longer to recognise an array of records, and a call with one trade
takes a microsecond.
"""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from streams.events import TIMEFRAMES_NS
from streams.ticks import I8

V = npt.NDArray[np.void]

LENGTHS: Final = tuple(TIMEFRAMES_NS.values())
FRAMES: Final = len(LENGTHS)


class Candle(Protocol):
    """`holes`: how many of its minutes are incomplete. In `out` the row that closed it stands there."""

    holes: int
    timeframe: int  # index into `LENGTHS`
    end: int
    revision: int
    first_time: int  # these two: of its trades; of an empty candle, its end
    open: int
    high: int
    low: int
    last_time: int
    close: int
    volume: int
    trades: int
    flags: int  # `CandleFlag`
    first_offset: int  # in the journal; of an empty candle, of the record that closed or revised it
    last_offset: int


class Head(Protocol):
    """What is not a candle. The first `KEPT` fields are state, the rest follows from the configuration or is
    written by the last call."""

    watermark: int
    first_end: int  # end of the first candle, −1 before the first trade
    next_end: int
    previous_close: int
    left: int
    grace: int
    horizon: int
    queue: int  # the first row behind the rings
    first: int
    last: int
    row: int
    closed: int  # these two: how many the last call wrote
    late: int
    changed: int  # so many closed candles were changed by the record and are not told yet
    changed_from: int  # end of the first minute that the record changed
    unsettled: int  # the same since the last `settle`; 0 for none
    fault: int
    starts: I8  # of the rings, by timeframe
    capacities: I8


KEPT: Final = 4
WIDTH: Final = len(Candle.__annotations__)
CANDLE: Final = np.dtype([(name, np.int64) for name in Candle.__annotations__])
HEAD: Final = np.dtype(
    [(name, np.int64, () if kind is int else FRAMES) for name, kind in Head.__annotations__.items()]
)
GAP: Final = np.dtype([("start", np.int64), ("end", np.int64)])
