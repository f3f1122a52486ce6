"""Bars of a file or a DataFrame: read, understood, checked.

>>> data = bars_of_file(Path("btc.csv"), "binance:BTC/USDT", "1h", stamp="open")
>>> result = backtest("sma_cross", data)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import numpy as np
import pyarrow as pa

from infra.exchange.forms import FileOptions
from infra.exchange.pieces import Reader
from infra.exchange.readers import open_rows
from infra.exchange.specification import described, inferred
from infra.research.disk import disk
from infra.research.reading import PRICES, SHOWN_CHARACTERS, VOLUME_MAX, Reading
from infra.research.sources import Data
from projections.research.arrays import IN_MEMORY, Zeros
from projections.research.bars import FILLS, PRICE_MAX, Bars, BarsError, Fill, above, columns_of, grown
from projections.research.checks import checked, opens_are_closes, steps_of
from projections.research.columns import I8
from projections.research.run import Prepared
from streams.events import TIMEFRAMES_NS, Market, Timeframe

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
NEEDED: Final = ("time", *PRICES)
STARTS: Final = ("opentime", "starttime")
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
    with open_rows(file, FileOptions(header=True)) as reader:
        named = _columns(reader.names, str(file))
        data = _data(_pieces(reader, named), named, market, timeframe, stamp, fill, str(file), disk().zeros)
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
    named = _columns(list(columns), "the frame")
    piece = {field: columns[name] for field, name in named.items()}
    return _data([piece], named, market, timeframe, stamp, fill, "the frame", IN_MEMORY)


def _pieces(reader: Reader, named: Mapping[str, str]) -> Iterator[Mapping[str, pa.Array]]:
    """The columns of a file by their fields, piece by piece."""
    done = 0
    for piece in reader.pieces(sorted(set(named.values()))):
        if piece.malformed:
            row, text = min(piece.malformed.items())
            raise BarsError(f"row {done + row + 1} is malformed: {text[:SHOWN_CHARACTERS]!r}")
        done += piece.rows
        yield {field: piece.columns[name] for field, name in named.items()}


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


def _data(
    pieces: Iterable[Mapping[str, pa.Array]],
    named: Mapping[str, str],
    market: Market | str,
    timeframe: Timeframe | None,
    stamp: Stamp,
    fill: Fill,
    where: str,
    zeros: Zeros,
) -> Data:
    if stamp == "close" and "".join(filter(str.isalnum, named["time"])).lower() in STARTS:
        raise BarsError(
            f"{where}: the times in {named['time']} are starts of bars by their name: say --stamp open"
        )
    reading = Reading(zeros)
    try:
        for piece in pieces:
            reading.add(piece)
        bars, notes = reading.read()
        if timeframe is None:
            timeframe = _step(bars.ends)
            notes.append(
                f"Its bars are taken for {timeframe}, the usual step of its times, which are their {stamp}s."
            )
        found = checked(bars, timeframe, zeros, starts=stamp == "open")
        specified, note = _market(market, found.bars)
        result = columns_of(_at_scales(found.bars, specified), specified, timeframe, fill, zeros)
    except BarsError as error:
        raise BarsError(f"{where}: {error}") from error
    notes += [*note, *found.notes]
    if fill == "next-open":
        notes += filter(None, [opens_are_closes(found.bars)])
    words = f"Bars only: {FILLS[fill]}"
    origin = {"source": "frame", "stamp": stamp, "fill": fill}
    return Data(
        Prepared(result, zeros=zeros),
        "candles",
        words,
        tuple(notes),
        origin,
        lambda higher: [above(result, t, zeros) for t in higher],
    )


def _step(stamps: I8) -> Timeframe:
    """The usual step, whichever bar stands first."""
    found, times = steps_of(stamps)
    if not len(found):
        raise BarsError("one bar alone does not tell its length: give timeframe, such as '1h'")
    steps, which = np.unique(np.abs(found), return_inverse=True)
    step = int(steps[np.argmax(np.bincount(which, times))])
    for timeframe, length in TIMEFRAMES_NS.items():
        if length == step:
            return cast(Timeframe, timeframe)
    raise BarsError(
        f"its times are {step / 1e9:g} s apart, and bars are {', '.join(TIMEFRAMES_NS)}: give timeframe, one"
        " of them that holds these bars whole"
    )


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
    """Bars at the scales of a market that are at least theirs, in place."""
    price, size = 10 ** (market.price_scale - bars.price_scale), 10 ** (market.size_scale - bars.size_scale)
    if int(bars.prices.max()) > PRICE_MAX // price or int(bars.volume.max()) > VOLUME_MAX // size:
        raise BarsError(
            f"prices or volumes do not fit the scales of {market.key}: give the market with smaller ones"
        )
    for part in bars.parts():
        np.multiply(part.prices, price, out=part.prices)
        np.multiply(part.volume, size, out=part.volume)
    return bars._replace(price_scale=market.price_scale, size_scale=market.size_scale)
