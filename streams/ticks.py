"""Rows of a `TickBatch` as numpy columns, and back.

The columns of the record are the columns of the arrays: reading copies nothing, and no Python
object is made for a row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.events import BACKFILL, RowKind, RowMarket, TickBatch

I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]

NO_ID = -1
"""The id of a row without one, where others of its batch have one; of 128 bits: `NO_WIDE_ID`."""

WIDE_BYTES = 16
NO_WIDE_ID = b"\xff" * WIDE_BYTES

_LOW = 2**64 - 1
_MARKET = np.dtype("<u2")
_KIND = np.dtype("u1")
_INT = np.dtype("<i8")
KIND_MASK = np.uint8(0xFF ^ BACKFILL)
_WIDE = np.dtype("<u8")

Ids = NDArray[np.int64 | np.uint64]
"""Ids of n rows: int64 (n,), or, of 128 bits, uint64 (n, 2), the low half first."""


class Ticks(NamedTuple):
    """Columns of n rows, in their order of arrival; see `TickBatch` for their meaning.

    Those of `unpack` are read-only views of the record's bytes. `id` is None where no row has one.
    """

    market: U2
    kind: U1
    time: I8
    price: I8
    size: I8
    id: Ids | None

    @property
    def rows(self) -> int:
        return len(self.kind)

    def take(self, rows: "slice | NDArray[np.intp | np.bool_]") -> "Ticks":
        """These rows; those of a slice are views."""
        ids = None if self.id is None else self.id[rows]
        return Ticks(
            self.market[rows],
            self.kind[rows],
            self.time[rows],
            self.price[rows],
            self.size[rows],
            ids,
        )


def unpack(batch: TickBatch) -> Ticks:
    """The columns of a batch, without copying.

    Raises `ValueError` naming the column that has not `rows` rows, or the first row whose market is
    not in the batch's table or whose kind is unknown: such a record is not to be folded at all.
    """
    rows = batch.rows
    if rows < 0:
        raise ValueError(f"tick batch: rows is {rows}")
    if not batch.markets:
        raise ValueError("tick batch: its table of markets is empty")
    if len({market.key for market in batch.markets}) < len(batch.markets):
        raise ValueError(f"tick batch: its table names a market twice: {[m.key for m in batch.markets]}")
    one_market = not batch.market and len(batch.markets) == 1
    kind = _column("kind", batch.kind, _KIND, rows)  # first: a length that is a lie must allocate nothing
    ticks = Ticks(
        np.zeros(rows, _MARKET) if one_market else _column("market", batch.market, _MARKET, rows),
        kind,
        _column("time", batch.time, _INT, rows),
        _column("price", batch.price, _INT, rows),
        _column("size", batch.size, _INT, rows),
        _ids(batch) if batch.id else None,
    )
    if not one_market:
        _within("market", ticks.market, len(batch.markets))
    _within("kind", ticks.kind & KIND_MASK, len(RowKind))
    return ticks


def pack(markets: Sequence[RowMarket], ticks: Ticks, *, first_row: int = -1, received: int = 0) -> TickBatch:
    """A batch of the given columns, `ticks.market` indexing `markets`; checked as in `unpack`."""
    one_market = len(markets) == 1 and not ticks.market.any()
    batch = TickBatch(
        markets=tuple(markets),
        rows=ticks.rows,
        kind=_bytes(ticks.kind, _KIND),
        time=_bytes(ticks.time, _INT),
        price=_bytes(ticks.price, _INT),
        size=_bytes(ticks.size, _INT),
        market=b"" if one_market else _bytes(ticks.market, _MARKET),
        id=b"" if ticks.id is None else _bytes(ticks.id, _INT if ticks.id.ndim == 1 else _WIDE),
        id_bits=64 if ticks.id is None or ticks.id.ndim == 1 else 128,
        first_row=first_row,
        received=received,
    )
    unpack(batch)
    return batch


def part(batch: TickBatch, ticks: Ticks, start: int, stop: int) -> TickBatch:
    """The rows [start, stop) of a batch whose columns `ticks` are; it knows its own first row of the file."""
    first_row = batch.first_row if batch.first_row < 0 else batch.first_row + trades(ticks.kind[:start])
    rows = ticks.take(slice(start, stop))
    return pack(batch.markets, rows, first_row=first_row, received=batch.received)


def halves(batch: TickBatch) -> tuple[TickBatch, TickBatch]:
    """The rows of a batch in two batches; the second knows its own first row of the file."""
    ticks, middle = unpack(batch), batch.rows // 2
    return part(batch, ticks, 0, middle), part(batch, ticks, middle, batch.rows)


def trades(kinds: U1) -> int:
    """How many rows are trades, not clock rows."""
    return int(np.count_nonzero(is_trade(kinds)))


def is_trade(kinds: U1) -> NDArray[np.bool_]:
    """Which rows are trades."""
    return (kinds & KIND_MASK) != RowKind.CLOCK


def newest_wide(ticks: Ticks, count: int) -> tuple[tuple[int, int], ...]:
    """Time and key of the newest trades, `count` at most, where ids are of 128 bits; the newest last."""
    if ticks.id is None or ticks.id.ndim == 1:
        return ()
    newest = ticks.take(is_trade(ticks.kind)).take(slice(-count, None))
    assert newest.id is not None
    keys = keys_of(newest.id.astype(np.uint64, copy=False))
    return tuple(zip(newest.time.tolist(), keys.tolist(), strict=True))


def concatenate(parts: Sequence[Ticks]) -> Ticks:
    """The rows of all parts in turn; a part without ids gets none of the width that others have.

    Raises `ValueError` where parts have ids of both widths.
    """
    widths = {part.id.shape[1:] for part in parts if part.id is not None}
    ids: Ids | None = None
    if widths:
        (width,) = widths
        ids = np.concatenate([_no_ids(part.rows, width) if part.id is None else part.id for part in parts])
    return Ticks(
        np.concatenate([part.market for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.price for part in parts]),
        np.concatenate([part.size for part in parts]),
        ids,
    )


def trade_id(ids: Ids, row: int) -> str:
    """The id of a row as a text: a number, or of 128 bits 32 hexadecimal digits."""
    if ids.ndim == 1:
        return str(int(ids[row]))
    low, high = ids[row].tolist()
    return f"{high:016x}{low:016x}"


def wide_ids(ids: Sequence[int]) -> NDArray[np.uint64]:
    """Numbers below 2**128 as ids of 128 bits."""
    halves = [(number & _LOW, number >> 64) for number in ids]
    return np.array(halves, _WIDE).reshape(-1, 2)


def key_of(wide_id: int) -> int:
    """A hash of 64 bits of an id of 128: that of `projections.fold.identities`."""
    return _mixed(_mixed(0, wide_id & _LOW), wide_id >> 64)


def keys_of(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same of a column [n, 2]."""
    return _mixed(_mixed(0, ids[:, 0]), ids[:, 1])


def _mixed(seed: Any, value: Any) -> Any:
    """64 bits of both, ints or columns, well mixed (the finaliser of MurmurHash3)."""
    h = seed ^ value
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _LOW
    h ^= h >> 33
    h = h * 0xC4CEB9FE1A85EC53 & _LOW
    return h ^ (h >> 33)


def _no_ids(rows: int, width: tuple[int, ...]) -> Ids:
    if width:
        return np.full((rows, *width), np.iinfo(np.uint64).max, _WIDE)
    return np.full(rows, NO_ID, _INT)


def _ids(batch: TickBatch) -> Ids:
    if batch.id_bits == 64:
        return _column("id", batch.id, _INT, batch.rows)
    return _column("id", batch.id, _WIDE, 2 * batch.rows).reshape(-1, 2)


def _column(name: str, data: bytes, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
    if len(data) != rows * dtype.itemsize:
        raise ValueError(
            f"tick batch of {rows} rows: column {name!r} has {len(data)} bytes, not {rows} × {dtype.itemsize}"
        )
    return np.frombuffer(data, dtype)


def _within(name: str, column: NDArray[Any], count: int) -> None:
    if len(column) and int(column.max()) >= count:
        row = int(np.argmax(column >= count))
        raise ValueError(f"tick batch: row {row} has {name} {int(column[row])}, known are 0 to {count - 1}")


def _bytes(column: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    return np.ascontiguousarray(column, dtype).tobytes()
