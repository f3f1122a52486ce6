"""Columns as files have them → exact integers, a whole column at a time.

Each function gives (values, ok): values where ok. Its fast path takes the column at once and proves
what it did; rows that it cannot prove are converted one by one in decimal arithmetic, which is also
the definition: a text means its decimal value, a float the shortest decimal that reads back as it.
"""

from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from infra.exchange.forms import ISO
from projections.fold.money import INT64_MAX
from streams.events import RowKind
from streams.ticks import NO_ID

pc: Any = pyarrow.compute  # its functions are made when it is imported, so that no type checker finds them

TIME_MAX = 2**62
"""In ns: the year 2116, the last that candles know."""
TEN_EXACT_MAX = 22
"""10**22 is the largest power of ten that a double holds exactly."""
EXACT = Context(prec=80)
DIGITS_MAX = 100
"""A number with more digits before or behind its point is none of a trade."""

UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Units of numeric times, with the decimals of each in nanoseconds."""
SAFE_NUMBER = r"^[+-]?\d{1,18}(\.\d{0,18})?([eE][+-]?\d{1,2})?$"
"""Texts that may be handed to a cast: a long exponent ends the process in it."""
SAFE_TIME = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+-]\d\d(:?\d\d)?)?$"
WITHOUT_ZONE = r"^.{10}([T ][\d:.]*)?$"

SIDES = {"buy": RowKind.BUY, "b": RowKind.BUY, "bid": RowKind.BUY, "true": RowKind.BUY}
SIDES |= {"sell": RowKind.SELL, "s": RowKind.SELL, "ask": RowKind.SELL, "false": RowKind.SELL}
SIDES |= {"1": RowKind.BUY, "-1": RowKind.SELL, "": RowKind.TRADE}
MAKER_SIDES = {"true": RowKind.SELL, "t": RowKind.SELL, "1": RowKind.SELL, "": RowKind.TRADE}
MAKER_SIDES |= {"false": RowKind.BUY, "f": RowKind.BUY, "0": RowKind.BUY}


class Converted(NamedTuple):
    """Values of a column, meaningful where `ok`; both of shape (n,)."""

    values: NDArray[Any]
    ok: NDArray[np.bool_]


def decimals(column: pa.Array, scale: int) -> Converted:
    """Numbers or texts → int64 in 10**-scale. Not ok: null, no number, more decimals, beyond
    int64."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        values, ok = _floats(column.fill_null(float("nan")).to_numpy(zero_copy_only=False), scale)
    elif pa.types.is_integer(column.type):
        values, ok = _integers(column.fill_null(0).to_numpy(zero_copy_only=False), scale)
    elif pa.types.is_null(column.type):
        return Converted(np.zeros(len(column), np.int64), valid)
    else:
        values, ok = _texts(column, scale)
    return Converted(values, ok & valid)


def exact(value: Any, scale: int) -> int | None:
    """One number or text as an integer in 10**-scale; None when it is not one of 64 bits."""
    try:
        text = str(value)
        number = Decimal(text if text.isascii() and "_" not in text else "")
        if not number.is_finite() or abs(number.adjusted()) > DIGITS_MAX:
            return 0 if number == 0 else None
        scaled = number.scaleb(scale, EXACT)
    except ArithmeticError:
        return None
    if not scaled.is_finite() or scaled.adjusted() > 18 or scaled != scaled.to_integral_value():
        return None
    return int(scaled) if abs(scaled) <= INT64_MAX else None


def _floats(x: NDArray[np.floating[Any]], scale: int) -> Converted:
    """With k below 2**52 (float32: 2**23), k / 10**scale is rounded to a float that no other
    decimal of this scale is rounded to; so when it equals x, it is x's shortest decimal.
    """
    info = np.finfo(x.dtype)
    values, ok = np.zeros(len(x), np.int64), np.zeros(len(x), np.bool_)
    if scale <= TEN_EXACT_MAX:
        with np.errstate(over="ignore", invalid="ignore"):
            k = np.rint(x.astype(np.float64) * 10.0**scale)
            ok = (np.abs(k) < 2.0**info.nmant) & ((k / 10.0**scale).astype(x.dtype) == x)
        values = np.where(ok, k, 0).astype(np.int64)
    rows = np.flatnonzero(~ok & np.isfinite(x))
    _one_by_one(values, ok, rows, x[rows].tolist() if x.dtype == np.float64 else x[rows], scale)
    return Converted(values, ok)


def _integers(x: NDArray[np.integer[Any]], scale: int) -> Converted:
    limit = INT64_MAX // 10**scale
    ok = (x <= limit) & (x >= -limit) if x.dtype.kind == "i" else x <= limit
    return Converted(np.where(ok, x, 0).astype(np.int64) * 10**scale, ok)


def _texts(column: pa.Array, scale: int) -> Converted:
    texts = column if pa.types.is_decimal(column.type) else column.cast(pa.large_string())
    values, ok = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    safe = texts
    if not pa.types.is_decimal(texts.type):
        safe = pc.if_else(pc.match_substring_regex(texts, SAFE_NUMBER), texts, None)
    try:
        wide = safe.cast(pa.decimal128(38, scale))
    except pa.ArrowInvalid:
        _one_by_one(values, ok, range(len(column)), column.to_pylist(), scale)
        return Converted(values, ok)
    words = np.frombuffer(wide.buffers()[1], "<i8").reshape(-1, 2)
    words = words[wide.offset : wide.offset + len(wide)]
    done = wide.is_valid().to_numpy(zero_copy_only=False)
    values, ok = np.where(done, words[:, 0], 0), done & (words[:, 1] == words[:, 0] >> 63)
    rest = np.flatnonzero(~done & texts.is_valid().to_numpy(zero_copy_only=False))
    _one_by_one(values, ok, rest, texts.take(pa.array(rest)).to_pylist(), scale)
    return Converted(values, ok)


def _one_by_one(values: NDArray[np.int64], ok: NDArray[np.bool_], rows: Any, raw: Any, scale: int) -> None:
    for row, value in zip(rows, raw, strict=True):
        number = exact(value, scale)
        if number is not None:
            values[row], ok[row] = number, True


def times(column: pa.Array, unit: str) -> Converted:
    """Times → int64 ns UTC. Floats are taken to the microsecond: a double holds no more of seconds.

    Not ok: null, no time, at or before 1970, after 2116.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        values, ok = decimals(column.cast(pa.int64()), UNITS[kind.unit])
    elif pa.types.is_floating(kind):
        values, ok = _float_times(column, UNITS[unit])
    elif unit == ISO:
        values, ok = _iso_times(column)
    else:
        values, ok = decimals(column, UNITS[unit])
    return Converted(values, ok & (values > 0) & (values <= TIME_MAX))


def _float_times(column: pa.Array, digits: int) -> Converted:
    x = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
    unit = 10**digits
    ok = np.abs(x) < INT64_MAX // unit
    x = np.where(ok, x, 0.0)
    whole = np.floor(x)
    part = np.rint((x - whole) * (unit / 1000)).astype(np.int64) * 1000
    return Converted(whole.astype(np.int64) * unit + part, ok)


def _iso_times(column: pa.Array) -> Converted:
    """`2018-01-01T00:00:02.61Z`, with an offset, with a space or BitMEX's D for the T, or naive
    UTC."""
    texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    texts = pc.replace_substring_regex(texts, r"^(\d{4}-\d\d-\d\d)D", r"\1T")
    safe = pc.if_else(pc.match_substring_regex(texts, SAFE_TIME), texts, None)
    safe = pc.replace_substring_regex(safe, r"^(.{10})(Z|$)", r"\1T00:00\2")
    return _instants(pc.replace_substring_regex(safe, WITHOUT_ZONE, r"\0Z"))


def _instants(texts: pa.Array) -> Converted:
    """Times with a zone; of a part in which one is none, such as a 30th of February, each half alone."""
    try:
        found = texts.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return Converted(np.zeros(1, np.int64), np.zeros(1, np.bool_))
        middle = len(texts) // 2
        halves = _instants(texts.slice(0, middle)), _instants(texts.slice(middle))
        return Converted(*(np.concatenate(both) for both in zip(*halves, strict=True)))
    valid = found.is_valid().to_numpy(zero_copy_only=False)
    return Converted(found.fill_null(0).to_numpy(zero_copy_only=False), valid)


def sides(column: pa.Array, *, maker: bool) -> Converted:
    """The taker's side → `RowKind`. `maker`: the column says whether the buyer was the maker."""
    known = MAKER_SIDES if maker else SIDES
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.large_string()).fill_null("")))
    encoded = texts.dictionary_encode()
    kinds = [known.get(word, -1) for word in encoded.dictionary.to_pylist()]
    codes = np.array(kinds, np.int16)[encoded.indices.to_numpy(zero_copy_only=False)]
    return Converted(np.maximum(codes, 0).astype(np.uint8), codes >= 0)


def ids(column: pa.Array) -> Converted:
    """Trade ids → int64, `NO_ID` for null. Not ok: no integer of 64 bits, negative."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values, ok = decimals(column, 0)
    return Converted(np.where(valid, values, NO_ID), (ok & (values >= 0)) | ~valid)
