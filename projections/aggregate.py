"""Candles of any trades that a person has at hand: `aggregate_to_timeframe`.

Exactness without a scale: the kernel only compares and copies prices, so it is given their *ranks*, and a
price comes back as the very value it was. Sizes are summed as whole numbers of their smallest decimal,
which for floats is that of their shortest representation (0.1 is one tenth).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd  # pyright: ignore[reportMissingTypeStubs] - it has none

from projections.fold.candles import TIMEFRAMES, CandleBook
from projections.fold.kernel import TIME_MAX
from streams.events import TIMEFRAMES_NS, Closed, RowKind
from streams.ticks import I8

TIME_NAMES = ("timestamp", "time", "datetime", "date", "ts", "ts_ns", "timestamp_ms", "transact_time", "t")
PRICE_NAMES = ("price", "p", "rate", "px")
SIZE_NAMES = ("size", "amount", "volume", "quantity", "qty", "q", "v", "base_volume")

_to_datetime: Callable[..., Any] = cast(Any, pd).to_datetime  # its types are known in part

_SECOND_NS = 1_000_000_000
_MICROSECOND_NS = 1000
_WHOLE_MAX = 2**53
_SCALE_MAX = 15
_DIGITS = 1000
_EXACTLY = Context(prec=4 * _DIGITS, traps=[Inexact])
_SUM_MAX = 2**62

Column = npt.NDArray[Any]


def aggregate_to_timeframe(
    ticks: Any, timeframe: str, *, closed: Closed = "right"
) -> Iterator[dict[str, Any]]:
    """Candles of `timeframe` (1m, 5m, 15m, 1h, 4h, 1d), from the first trade to the last, in order of
    time.

    ticks: a list of mappings, a pandas DataFrame, a structured array or a mapping of columns, in any order
    of time, with a time (datetimes, ISO 8601 or numbers since 1970 in s, ms, µs or ns, told apart by their
    magnitude; UTC when there is no zone), a price and a size under their usual names (`TIME_NAMES`,
    `PRICE_NAMES`, `SIZE_NAMES`). A negative size is a sale.

    closed: `right` groups (start, end], `left` [start, end); the label is the end either way.

    Yields dicts of timestamp (pandas, UTC: the end), open, high, low, close and volume. Floats give
    floats, correctly rounded from the exact sum; Decimals and strings give Decimals, ints give ints.
    Candles without trades are flat at the close before with volume 0; the last candle, which may be
    unfinished, is included.

    Raises ValueError naming what is unknown, missing or out of range, with its row and value.
    """
    if timeframe not in TIMEFRAMES_NS:
        raise ValueError(f"timeframe {timeframe!r} is unknown; it must be one of {', '.join(TIMEFRAMES)}")
    times, prices, sizes = _columns(ticks)
    if not len(times) == len(prices) == len(sizes):
        raise ValueError(
            f"columns differ in length: {len(times)} times, {len(prices)} prices, {len(sizes)} sizes"
        )
    if len(times) == 0:
        return iter(())
    time = _times(times)
    price = _numbers(prices, "price")
    size = _numbers(sizes, "size")
    _refuse(price <= 0, price, "price", "is not positive")
    _refuse(size == 0, size, "size", "is zero")
    order = np.argsort(time, kind="stable")
    return _candles(time[order], price[order], abs(size[order]), timeframe, closed)


def _candles(
    time: I8, price: Column, size: Column, timeframe: str, closed: Closed
) -> Iterator[dict[str, Any]]:
    values, rank = np.unique(price, return_inverse=True)
    candles = _fold(time, rank.astype(np.int64) + 1, timeframe, closed)
    ends = pd.DatetimeIndex(candles["end"], tz="UTC")
    columns = [_objects(values[candles[name] - 1]) for name in ("open", "high", "low", "close")]
    rows = zip(ends, *columns, _volumes(size, candles["trades"]), strict=True)
    for end, first, high, low, last, volume in rows:
        yield {"timestamp": end, "open": first, "high": high, "low": low, "close": last, "volume": volume}


def _fold(time: I8, rank: I8, timeframe: str, closed: Closed) -> npt.NDArray[np.void]:
    """The candles over trades in order of time, each of size 1, and a clock row which closes the last."""
    length = TIMEFRAMES_NS[timeframe]
    book = CandleBook(closed=closed, grace_ns=0, horizon_ns=0)
    ones, kind = np.ones(len(time), np.int64), np.zeros(len(time), np.uint8)
    last = np.array([(int(time[-1]) // length + 1) * length])
    clock = np.array([RowKind.CLOCK], np.uint8)
    parts = [book.fold(time, rank, ones, kind, 0), book.fold(last, last, last, clock, 0)]
    candles = np.concatenate([part.closed for part in parts])
    candles = candles[candles["timeframe"] == TIMEFRAMES.index(timeframe)]
    filled = np.flatnonzero(candles["trades"])
    return candles[: filled[-1] + 1]


def _volumes(size: Column, trades: I8) -> list[Any]:
    """Exact sums of the sizes of consecutive trades, as numbers of the kind that the sizes are."""
    if size.dtype.kind != "f":
        return _sums(size, trades)
    scaled = _scaled(size)
    if scaled is None:
        exact = _filled([Decimal(repr(value)) for value in size.tolist()])
        return [float(total) for total in _sums(exact, trades)]
    whole, scale = scaled
    return [total / 10**scale for total in _sums(whole, trades)]


def _sums(size: Column, trades: I8) -> list[Any]:
    if size.dtype.kind == "i" and size.sum(dtype=float) > _SUM_MAX:
        size = size.astype(object)
    starts = np.cumsum(trades) - trades
    with localcontext(_EXACTLY):
        sums = np.add.reduceat(size, starts)
    sums[trades == 0] = type(size[0])(0)
    return sums.tolist()


def _scaled(size: Column) -> tuple[I8, int] | None:
    """Floats as whole numbers of 10**-scale, when their shortest representations are such."""
    scale = 0
    for part in (size[:1000], size):
        while not (np.rint(part * 10**scale) / 10**scale == part).all():
            scale += 1
            if scale > _SCALE_MAX:
                return None
    whole = np.rint(size * 10**scale)
    return None if whole.max() > _WHOLE_MAX or whole.sum() > _SUM_MAX else (whole.astype(np.int64), scale)


def _objects(column: Column) -> list[Any]:
    return cast("list[Any]", column.tolist())


# ---------------------------------------------------------------- what people hand in


def _columns(ticks: Any) -> tuple[Any, Any, Any]:
    """Columns of time, price and size, by their names."""
    if isinstance(ticks, pd.DataFrame):
        named: Mapping[Any, Any] = {name: ticks[name] for name in ticks.columns}
        if isinstance(ticks.index, pd.DatetimeIndex) and _find(named, TIME_NAMES) is None:
            named = {**named, "timestamp": ticks.index}
    elif isinstance(ticks, np.ndarray) and (names := cast(Column, ticks).dtype.names):
        named = {name: ticks[name] for name in names}
    elif isinstance(ticks, Mapping):
        named = cast("Mapping[Any, Any]", ticks)
    else:
        return _columns_of_rows(list(cast("Iterable[Any]", ticks)))
    return (
        named[_found(named, TIME_NAMES, "time")],
        named[_found(named, PRICE_NAMES, "price")],
        named[_found(named, SIZE_NAMES, "size")],
    )


def _columns_of_rows(rows: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    if not rows:
        return [], [], []
    names: list[Any] = []
    for what, known in (("time", TIME_NAMES), ("price", PRICE_NAMES), ("size", SIZE_NAMES)):
        if not isinstance(rows[0], Mapping):
            raise ValueError(f"row 0: {rows[0]!r} is no mapping with a time, a price and a size")
        names.append(_found(cast("Mapping[Any, Any]", rows[0]), known, what))
    columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for i, row in enumerate(rows):
        for column, name in zip(columns, names, strict=True):
            try:
                column.append(row[name])
            except (KeyError, TypeError, IndexError):
                raise ValueError(f"row {i}: {name!r} is missing in {row!r}") from None
    return columns


def _find(named: Mapping[Any, Any], known: tuple[str, ...]) -> Any:
    by_name = {str(name).lower(): name for name in named}
    return next((by_name[name] for name in known if name in by_name), None)


def _found(named: Mapping[Any, Any], known: tuple[str, ...], what: str) -> Any:
    name = _find(named, known)
    if name is None:
        raise ValueError(
            f"no column with the {what} among {', '.join(map(str, named))}; name it one of {', '.join(known)}"
        )
    return name


def _refuse(bad: Any, column: Any, what: str, why: str) -> None:
    """Raises ValueError naming the first bad row."""
    rows = np.flatnonzero(bad)
    if len(rows):
        value = column[int(rows[0])]
        raise ValueError(f"row {rows[0]}: {what} {value} {why}")


def _numbers(column: Any, what: str) -> Column:
    """int64, float64, or objects that are all int or all Decimal."""
    array = np.asarray(column)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        _refuse(~np.isfinite(array), array, what, "is not a number")
        return array
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    values = list(column)
    kinds: set[type] = {type(value) for value in values}
    if kinds <= {float, int} and float in kinds:
        return _numbers(np.array(values, np.float64), what)
    decimals = [_decimal(value, row, what) for row, value in enumerate(values)]
    numbers = [int(value) for value in decimals] if kinds == {int} else decimals
    return _filled(numbers)


def _decimal(value: Any, row: int, what: str) -> Decimal:
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"row {row}: {what} {value!r} is not a number") from None
    if isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"row {row}: {what} {value!r} is not a number")
    if max(abs(number.adjusted()), -cast(int, number.as_tuple().exponent)) > _DIGITS:
        raise ValueError(f"row {row}: {what} {value!r} has more than {_DIGITS} digits")
    return number


def _filled(values: list[Any]) -> Column:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _times(column: Any) -> I8:
    """ns since 1970 UTC."""
    index = pd.Index(column)
    if index.dtype.kind in "iuf":
        return _times_of_numbers(np.asarray(index))
    try:
        times = pd.DatetimeIndex(_to_datetime(index, utc=True, format="ISO8601"))
    except (ValueError, TypeError, OverflowError):
        raise _time_error(list(index)) from None
    _refuse(times.isna(), index, "time", "is missing")
    return times.as_unit("ns").asi8


def _times_of_numbers(array: Column) -> I8:
    """The largest tells the unit: s, ms, µs or ns."""
    if array.dtype.kind == "f":
        _refuse(~np.isfinite(array), array, "time", "is missing")
    _refuse(array < 0, array, "time", "is before 1970")
    unit_ns = next((unit for unit, limit in _UNITS if array.max() < limit), 1)
    _refuse(array > TIME_MAX // unit_ns, array, "time", "is after the year 2116")
    if array.dtype.kind != "f":
        return array.astype(np.int64) * unit_ns
    return np.rint(array * (unit_ns / _MICROSECOND_NS)).astype(np.int64) * _MICROSECOND_NS


_UNITS = ((_SECOND_NS, 10**11), (1_000_000, 10**14), (_MICROSECOND_NS, 10**17))


def _time_error(values: list[Any]) -> ValueError:
    for row, value in enumerate(values):
        try:
            _to_datetime(value, utc=True, format="ISO8601" if isinstance(value, str) else None)
        except (ValueError, TypeError, OverflowError):
            return ValueError(
                f"row {row}: time {value!r} is no time; use ISO 8601, datetimes or numbers since 1970"
            )
    return ValueError(
        "the times are of different kinds; use one of ISO 8601, datetimes or numbers since 1970"
    )
