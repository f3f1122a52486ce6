"""The compiled part of `projections.research.gather`: what waits for its trade, and the trades that come.

Everything compiled stands in this one file: numba's disk cache does not notice a change in another.

What is decided at a row, or by a command, *waits* for the first trade behind it that is not older than the
decision. Of the waiting ones the earliest decided stands first; a trade serves all that were decided by its
time, so one walk over the rows of a record is enough, and of the rows nothing is kept.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import from_dtype, njit, types

from projections.fold.candles import CLOSED
from projections.research.columns import NONE_YET, NOT_KEPT, TRADE
from streams.events import RowKind
from streams.ticks import I8, U1

V = npt.NDArray[np.void]

TOLD, TRADES, WAITING, CLOSE = range(4)
"""Of `head`: how many rows of the tables are in use, and the market's last close, 0 before the first."""

PLACE, OFFSET, ERA, LIVE = range(4)
"""Of `record`: the place of its first row, its offset, the market's era, and whether it is vouched for."""

MET = np.dtype([(name, np.int64) for name in ("place", "now", "offset", "era", "live", "trade")])
"""Of a candle that was told, what of a `BAR` is beside the candle."""

BY_CLOSE, BY_EVENT, BY_TRADE = range(3)
WAIT = np.dtype([(name, np.int64) for name in ("decided", "by", "first", "stop")])
"""What waits: rows first ≤ row < stop of `met`, of `events` or of `trades` take the number of the trade."""

_CLOCK: Final = int(RowKind.CLOCK)
_NONE_YET: Final = NONE_YET
_NOT_KEPT: Final = NOT_KEPT
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


def _table(dtype: np.dtype[Any]) -> Any:
    return from_dtype(dtype)[::1]


_INTS = types.int64[::1]
_COLUMN = types.Array(types.int64, 1, "C", readonly=True)
_KINDS = types.Array(types.uint8, 1, "C", readonly=True)


@njit(types.void(_INTS, _table(WAIT), types.int64, types.int64, types.int64, types.int64), **_OPTIONS)
def wait(head: I8, waiting: V, decided: int, by: int, first: int, stop: int) -> None:
    """Put one among the waiting, behind those decided by then."""
    at = head[WAITING]
    while at > 0 and waiting["decided"][at - 1] > decided:
        waiting[at] = waiting[at - 1]
        at -= 1
    waiting["decided"][at] = decided
    waiting["by"][at] = by
    waiting["first"][at] = first
    waiting["stop"][at] = stop
    head[WAITING] += 1


@njit(**_OPTIONS)
def serve(head: I8, waiting: V, met: V, events: I8, trades: V) -> None:
    """The newest of `trades` serves all that wait for one of its time. Behind one that may fill something the
    next is waited for."""
    trade = head[TRADES] - 1
    time: Any = trades["time"][trade]
    served, fills = 0, False
    while served < head[WAITING] and waiting["decided"][served] <= time:
        by = waiting["by"][served]
        for k in range(waiting["first"][served], waiting["stop"][served]):
            if by == BY_CLOSE:
                met["trade"][k] = trade
            elif by == BY_EVENT:
                events[k] = trade
            else:
                trades["next"][k] = trade
        fills |= by != BY_TRADE
        served += 1
    for k in range(served, head[WAITING]):
        waiting[k - served] = waiting[k]
    head[WAITING] -= served
    trades["next"][trade] = _NOT_KEPT
    if fills:
        trades["next"][trade] = _NONE_YET
        wait(head, waiting, time, BY_TRADE, trade, trade + 1)


@njit(**_OPTIONS)
def note(head: I8, closed: V, c: int, row: int, now: int, record: I8, told: V, met: V) -> None:
    """Write down a candle that closed or was revised at a row."""
    n = head[TOLD]
    told[n] = closed[c]
    met["place"][n] = record[PLACE] + row
    met["now"][n] = now
    met["offset"][n] = record[OFFSET]
    met["era"][n] = record[ERA]
    met["live"][n] = record[LIVE]
    met["trade"][n] = _NONE_YET
    head[TOLD] = n + 1


@njit(**_OPTIONS)
def write_trade(
    head: I8, time: int, price: int, size: int, row: int, number: int, record: I8, trades: V
) -> None:
    n = head[TRADES]
    trades["time"][n] = time
    trades["price"][n] = price
    trades["size"][n] = size
    trades["place"][n] = record[PLACE] + row
    trades["offset"][n] = record[OFFSET]
    trades["row"][n] = number
    trades["live"][n] = record[LIVE]
    trades["era"][n] = record[ERA]
    head[TRADES] = n + 1


_SIGNATURE = types.void(
    _INTS, _table(CLOSED), *[_COLUMN] * 3, _KINDS, _COLUMN, _INTS, types.int64,
    _table(CLOSED), _table(MET), _INTS, _table(TRADE), _table(WAIT),
)  # fmt: skip


@njit(_SIGNATURE, **_OPTIONS)
def walk(
    head: I8, closed: V, time: I8, price: I8, size: I8, kind: U1, number: I8, record: I8, wanted: int,
    told: V, met: V, events: I8, trades: V, waiting: V,
) -> None:  # fmt: skip
    """Go over the rows [n] of a record, of which `closed` says what they closed; a row closes candles before
    it fills. Those that may not fill have a kind from `CLOCK` on. `number`: of the rows in the record, empty
    for 0 … n − 1. Candles of timeframes without their bit in `wanted` are passed over.

    There must be room for `closed` in `told` and `met`, and for twice of what waits and closes in the rest.
    """
    row, c = 0, 0
    while row < len(time) or c < len(closed):
        stop = closed["row"][c] if c < len(closed) else len(time)
        first, closes = head[TOLD], False
        while row == stop and c < len(closed) and closed["row"][c] == row:
            if closed["revision"][c] == 0:
                head[CLOSE] = closed["close"][c]
            if wanted >> closed["timeframe"][c] & 1:
                closes |= closed["revision"][c] == 0
                note(head, closed, c, row, time[row] if row < len(time) else 0, record, told, met)
            c += 1
        if row == len(time):
            continue
        if head[WAITING] == 0 and row < stop:
            row = stop
            continue
        if kind[row] < _CLOCK and head[WAITING] > 0 and waiting["decided"][0] <= time[row]:
            n = number[row] if len(number) > 0 else row
            write_trade(head, time[row], price[row], size[row], row, n, record, trades)
            serve(head, waiting, met, events, trades)
        if closes:
            wait(head, waiting, time[row], BY_CLOSE, first, head[TOLD])
        row += 1
