"""Bars of a file or a DataFrame: read, understood, checked.

>>> data = bars_of_file(Path("btc.csv"), "binance:BTC/USDT", "1h", stamp="open")
>>> result = backtest("sma_cross", data)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.exchange.convert import SAFE_NUMBER, decimals, pc, times
from infra.exchange.forms import ISO, FileOptions, number, time_unit
from infra.exchange.readers import open_rows
from infra.exchange.specification import described, inferred
from infra.research.sources import Data
from projections.research.bars import (
    FILLS,
    PRICE_MAX,
    Bars,
    BarsError,
    Fill,
    above,
    checked,
    columns_of,
    grown,
    opens_are_closes,
)
from projections.research.columns import I8
from projections.research.run import Prepared
from streams.events import TIMEFRAMES_NS, CandleFlag, Market, Timeframe

if TYPE_CHECKING:
    from pandas import DataFrame

Stamp: TypeAlias = Literal["close", "open"]

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "time": (
        "timestamp", "time", "date", "datetime", "ts", "closetime", "opentime", "starttime", "endtime",
        "unix", "index",
    ),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "trades": ("trades", "count", "numberoftrades", "tradecount", "n"),
    "symbol": ("symbol", "market", "instrument", "ticker", "pair"),
}  # fmt: skip
"""Usual names of columns, best first, in small letters without signs."""
PRICES: Final = ("open", "high", "low", "close")
NEEDED: Final = ("time", *PRICES)
STARTS: Final = ("opentime", "starttime")
DECIMALS_MAX: Final = 12
VOLUME_DECIMALS_MAX: Final = 8
VOLUME_MAX: Final = 2**62
SHOWN_CHARACTERS: Final = 200
ASSUMED: Final = "any:BASE/QUOTE"
"""The market of bars that are told to be no other's."""


def bars_of_file(
    file: Path,
    market: Market | str = ASSUMED,
    timeframe: Timeframe | None = None,
    *,
    stamp: Stamp = "close",
    fill: Fill = "next-open",
) -> Data:
    """The bars of a Parquet, CSV or Feather file. `market`: its specification, or its key `venue:symbol`, of
    which the rest is then inferred; without it, a spot market without costs. `timeframe`: without it, the
    usual step of the times. `stamp`: whether times are ends or starts.

    Raises `BarsError` with the row and the value, `FileReadError` for a file that cannot be read, and
    `ValueError` for a market that none can be.
    """
    data = _data(_read(file), market, timeframe, stamp, fill, str(file))
    return replace(data, origin={**data.origin, "source": "file", "file": str(file.absolute())})


def bars_of_frame(
    frame: "DataFrame",
    market: Market | str = ASSUMED,
    timeframe: Timeframe | None = None,
    *,
    stamp: Stamp = "close",
    fill: Fill = "next-open",
) -> Data:
    """The bars of a DataFrame, whose index holds the times unless a column does. As `bars_of_file`."""
    if frame.columns.nlevels > 1:
        raise BarsError("the frame has several levels of columns: take those of one market")
    reset = frame.reset_index() if _column("time", list(map(str, frame.columns))) is None else frame
    try:
        columns = {str(name): pa.array(reset[name]) for name in reset.columns}
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BarsError(f"the frame has a column of mixed values: {error}") from error
    return _data(columns, market, timeframe, stamp, fill, "the frame")


def _read(file: Path) -> dict[str, pa.Array]:
    with open_rows(file, FileOptions(header=True)) as reader:
        wanted = sorted(set(_columns(reader.names, str(file)).values()))
        parts: dict[str, list[pa.Array]] = {name: [] for name in wanted}
        done = 0
        for piece in reader.pieces(wanted):
            if piece.malformed:
                row, text = min(piece.malformed.items())
                raise BarsError(f"{file}: row {done + row + 1} is malformed: {text[:SHOWN_CHARACTERS]!r}")
            done += piece.rows
            for name in wanted:
                parts[name].append(piece.columns[name])
    return {
        name: pa.chunked_array(arrays).combine_chunks() if arrays else pa.nulls(0)
        for name, arrays in parts.items()
    }


def _columns(names: Sequence[str], where: str) -> dict[str, str]:
    """The column of each field that there is."""
    for name in names:
        if names.count(name) > 1:
            raise BarsError(f"{where} has several columns {name!r}; rename all but one")
    found = {field: _column(field, names) for field in NAMES}
    for field in NEEDED:
        if found[field] is None:
            shown = ", ".join(names)[:SHOWN_CHARACTERS]
            raise BarsError(f"{where} has no column known as {field}: call it so; it has {shown}")
    return {field: name for field, name in found.items() if name is not None}


def _column(field: str, names: Sequence[str]) -> str | None:
    plain = {"".join(filter(str.isalnum, name)).lower(): name for name in reversed(names)}
    return next((plain[usual] for usual in NAMES[field] if usual in plain), None)


# ------------------------------------------------------------------ values


def _data(
    columns: dict[str, pa.Array],
    market: Market | str,
    timeframe: Timeframe | None,
    stamp: Stamp,
    fill: Fill,
    where: str,
) -> Data:
    named = _columns(list(columns), where)
    _check_one_market(columns, named, where)
    if stamp == "close" and "".join(filter(str.isalnum, named["time"])).lower() in STARTS:
        raise BarsError(
            f"{where}: the times in {named['time']} are starts of bars by their name: say --stamp open"
        )
    try:
        bars, notes = _bars({field: columns[name] for field, name in named.items()})
        if timeframe is None:
            timeframe = _step(bars.ends)
            notes.append(
                f"Its bars are taken for {timeframe}, the usual step of its times, which are their {stamp}s."
            )
        found = checked(bars, timeframe, starts=stamp == "open")
        specified, note = _market(market, found.bars)
        result = columns_of(_at_scales(found.bars, specified), specified, timeframe, fill)
    except BarsError as error:
        raise BarsError(f"{where}: {error}") from error
    notes += [*note, *found.notes]
    if fill == "next-open":
        notes += filter(None, [opens_are_closes(found.bars)])
    words = f"Bars only: {FILLS[fill]}"
    origin = {"source": "frame", "stamp": stamp, "fill": fill}
    return Data(
        Prepared(result),
        "candles",
        words,
        tuple(notes),
        origin,
        lambda higher: [above(result, t) for t in higher],
    )


def _check_one_market(columns: Mapping[str, pa.Array], named: Mapping[str, str], where: str) -> None:
    if "symbol" in named:
        symbols = columns[named["symbol"]].unique().to_pylist()
        if len(symbols) > 1:
            shown = ", ".join(map(str, symbols[:5]))
            raise BarsError(
                f"{where} holds {len(symbols)} markets ({shown}): a backtest has one, take its rows alone"
            )


def _bars(columns: Mapping[str, pa.Array]) -> tuple[Bars, list[str]]:
    """The bars as integers, with what was assumed of them."""
    notes: list[str] = []
    count = len(columns["time"])
    if not count:
        raise BarsError("there is no bar in it")
    scale = max(_decimals(columns[name], name, DECIMALS_MAX) for name in PRICES)
    prices = np.column_stack([_scaled(columns[name], name, scale) for name in PRICES])
    volume, size_scale = np.zeros(count, np.int64), 0
    if "volume" in columns:
        volume, size_scale, notes = _volume(columns["volume"])
    else:
        notes.append("It has no volume: strategies see 0.")
    flags = np.where(_empty(columns, volume), int(CandleFlag.EMPTY), 0)
    rows = np.arange(1, count + 1)
    return Bars(_times(columns["time"]), prices, volume, flags, rows, scale, size_scale), notes


def _times(column: pa.Array) -> I8:
    unit = ISO
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    elif not pa.types.is_timestamp(column.type):
        values = column.drop_null()
        unit = time_unit(values[0].as_py()) if len(values) else ISO
    values, ok = times(column, unit)
    if not ok.all():
        at = int(np.argmin(ok))
        raise BarsError(f"row {at + 1}: time {_shown(column, at)}: it is no time from 1970 to 2116")
    return values


def _step(stamps: I8) -> Timeframe:
    steps, counts = np.unique(np.abs(np.diff(stamps)), return_counts=True)
    if not len(steps):
        raise BarsError("one bar alone does not tell its length: give timeframe, such as '1h'")
    step = int(steps[np.argmax(counts)])
    for timeframe, length in TIMEFRAMES_NS.items():
        if length == step:
            return cast(Timeframe, timeframe)
    raise BarsError(
        f"its times are {step / 1e9:g} s apart, and bars are {', '.join(TIMEFRAMES_NS)}: give timeframe, one"
        " of them that holds these bars whole"
    )


def _decimals(column: pa.Array, name: str, most: int) -> int:
    """The decimals that hold every number of a column."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return 0
    left, x = np.arange(len(column)), _floats(column)
    for scale in range(most + 1):
        k = np.rint(x.astype(np.float64) * 10.0**scale)
        # as `convert` proves it: no other decimal of this scale is that float
        ok = (np.abs(k) < 2.0 ** np.finfo(x.dtype).nmant) & ((k / 10.0**scale).astype(x.dtype) == x)
        left, x = left[~ok], x[~ok]
        if not len(left):
            return scale
    ok = decimals(column.take(pa.array(left)), most).ok
    if ok.all():
        return most
    at = int(left[~ok][0])
    raise BarsError(f"row {at + 1}: {name} {_shown(column, at)}: {_why(column[at].as_py(), most)}")


def _floats(column: pa.Array) -> npt.NDArray[np.floating[Any]]:
    """NaN for what is no plain number."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.match_substring_regex(column, SAFE_NUMBER), column, None)
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    return column.fill_null(float("nan")).to_numpy(zero_copy_only=False)


def _why(value: Any, most: int) -> str:
    found = None if value is None else number(str(value))
    if found is None:
        return "it is no number; mend or take out the row"
    return f"it does not fit {most} decimals and 64 bits; round it"


def _scaled(column: pa.Array, name: str, scale: int) -> I8:
    values, ok = decimals(column, scale)
    if not ok.all():
        at = int(np.argmin(ok))
        raise BarsError(f"row {at + 1}: {name} {_shown(column, at)}: {_why(column[at].as_py(), scale)}")
    return values


def _volume(column: pa.Array) -> tuple[I8, int, list[str]]:
    """Exactly where few decimals do it, else rounded: no money is made of volume."""
    try:
        scale = _decimals(column, "volume", VOLUME_DECIMALS_MAX)
        return _scaled(column, "volume", scale), scale, []
    except BarsError:
        values = [number(str(value)) for value in column.to_pylist()]
        if any(value is None for value in values):
            raise
    rounded = [
        round(value, VOLUME_DECIMALS_MAX).scaleb(VOLUME_DECIMALS_MAX) for value in values if value is not None
    ]
    if max(map(abs, rounded)) > VOLUME_MAX:
        raise BarsError(
            f"a volume is beyond 64 bits at {VOLUME_DECIMALS_MAX} decimals; give it in larger units"
        )
    note = f"Its volumes are rounded to {VOLUME_DECIMALS_MAX} decimals."
    return np.array(list(map(int, rounded)), np.int64), VOLUME_DECIMALS_MAX, [note]


def _empty(columns: Mapping[str, pa.Array], volume: I8) -> npt.NDArray[np.bool_]:
    """Which bars have no trade, as far as that is said."""
    if "trades" in columns:
        return _scaled(columns["trades"], "trades", 0) == 0
    return (volume == 0) & ("volume" in columns) & bool(volume.any())


def _shown(column: pa.Array, at: int) -> str:
    value = column[at].as_py()
    return "is missing" if value is None else f"is {str(value)[:SHOWN_CHARACTERS]!r}"


# ------------------------------------------------------------------ market


def _market(given: Market | str, bars: Bars) -> tuple[Market, list[str]]:
    """The market at scales that hold the bars, and what was assumed of it."""
    if isinstance(given, Market):
        return grown(given, bars.price_scale, bars.size_scale), []
    venue, _, symbol = given.partition(":")
    seen = {"price": bars.price_scale, "size": 0}
    market, _ = inferred(venue, symbol, seen)
    if market.contract != "inverse":  # whose sizes are contracts
        market, _ = inferred(venue, symbol, seen | {"size": bars.size_scale or 1})
    return grown(market, 0, bars.size_scale), [
        f"{market.key} is taken for {described(market, ('price', 'size'))}"
    ]


def _at_scales(bars: Bars, market: Market) -> Bars:
    """Bars at the scales of a market that are at least theirs."""
    price, size = 10 ** (market.price_scale - bars.price_scale), 10 ** (market.size_scale - bars.size_scale)
    if int(bars.prices.max()) > PRICE_MAX // price or int(bars.volume.max()) > VOLUME_MAX // size:
        raise BarsError(
            f"prices or volumes do not fit the scales of {market.key}: give the market with smaller ones"
        )
    return bars._replace(
        prices=bars.prices * price,
        volume=bars.volume * size,
        price_scale=market.price_scale,
        size_scale=market.size_scale,
    )
