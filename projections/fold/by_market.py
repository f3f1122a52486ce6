"""The rows of a batch put together by market, each market's in their order: one compiled pass."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types

from streams.ticks import I8, U1, U2, Ids, Ticks


class MarketRows(NamedTuple):
    """Columns [n] of one market's rows, as in `Ticks`. `row`: their numbers in the batch; None: 0 … n − 1."""

    time: I8
    price: I8
    size: I8
    kind: U1
    id: Ids | None
    row: I8 | None


def by_market(ticks: Ticks, markets: int) -> list[MarketRows]:
    """The rows of market 0, 1, … `markets` − 1; `ticks.market` holds no other."""
    if markets == 1:
        return [MarketRows(ticks.time, ticks.price, ticks.size, ticks.kind, ticks.id, None)]
    starts = np.zeros(markets + 1, np.int64)
    kind = np.empty(ticks.rows, np.uint8)
    time, price, size, row = columns = np.empty((4, ticks.rows), np.int64)
    _put_together(ticks.market, ticks.time, ticks.price, ticks.size, ticks.kind, starts, columns, kind)
    ids = None if ticks.id is None else ticks.id[row]
    bounds: list[int] = starts.tolist()
    return [
        MarketRows(
            time[start:stop],
            price[start:stop],
            size[start:stop],
            kind[start:stop],
            None if ids is None else ids[start:stop],
            row[start:stop],
        )
        for start, stop in pairwise(bounds)
    ]


_MARKETS = types.Array(types.uint16, 1, "C", readonly=True)
_ROWS = types.Array(types.int64, 1, "C", readonly=True)
_KINDS = types.Array(types.uint8, 1, "C", readonly=True)
_SIGNATURE = types.void(
    _MARKETS, _ROWS, _ROWS, _ROWS, _KINDS, types.int64[::1], types.int64[:, ::1], types.uint8[::1]
)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


@njit(_SIGNATURE, **_OPTIONS)
def _put_together(
    market: U2, time: I8, price: I8, size: I8, kind: U1, starts: I8, columns: I8, kinds: U1
) -> None:
    """A counting sort. `starts`, zeros before, then holds where each market's rows start, and the end."""
    for i in range(market.size):
        starts[market[i] + 1] += 1
    for m in range(1, starts.size):
        starts[m] += starts[m - 1]
    following = starts.copy()
    for i in range(market.size):
        to = following[market[i]]
        following[market[i]] = to + 1
        columns[0, to] = time[i]
        columns[1, to] = price[i]
        columns[2, to] = size[i]
        columns[3, to] = i
        kinds[to] = kind[i]
