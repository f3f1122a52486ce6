"""A file of recorded trades: which of its columns is what, and its rows as exact integers of a
market."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.exchange import convert
from infra.exchange.readers import FileReadError, Piece, open_rows
from infra.exchange.specification import described, specification
from streams.events import Closed, Contract, Market, RowKind
from streams.ticks import Ticks

NAMES = {
    "time": "timestamp tradetime transacttime time ts datetime date T",
    "price": "price p rate tradeprice px",
    "size": "size amount qty quantity volume sz q v",
    "side": "side takerside taker aggressor direction",
    "maker": "isbuyermaker buyerismaker m",
    "id": "id tradeid tid t",
}
"""Usual names of columns, best first, written without signs between words and without a unit. Those
of one letter are told apart by case, as Binance does."""
NEEDED = ("time", "price", "size")
SAMPLE_ROWS = 10_000
"""The first rows, from which units, signs and scales are taken."""
VALUE_MAX = 2**53
"""Larger prices and sizes are refused: no market has them, and indicators see them as floats."""
SIZE_SCALE_DEFAULT = 8


class BadRowError(ValueError):
    """A row that is no trade of the market. Rows count from 1, without a header.

    `data`: the row as a line of JSON, which `import` reads once it is mended, or as it stands in the file.
    """

    def __init__(self, file: Path, row: int, column: str, value: Any, hint: str, data: bytes) -> None:
        self.file, self.row, self.column, self.value, self.hint = file, row, column, value, hint
        self.data = data
        super().__init__(f"{file}: row {row}: {column} is {value!r}: {hint}")


@dataclass(frozen=True)
class FileOptions:
    """What the user says about a file. `columns` names a column for `time`, `price`, `size`,
    `side`, `maker` (True: the buyer was the maker) or `id`; `time_unit` is s, ms, us, ns or iso;
    `signed` says whether the sign of a size is the taker's side. None: taken from the first rows.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    time_unit: str | None = None
    signed: bool | None = None


class Layout(NamedTuple):
    """How a file is understood: the column of each field, the unit of its times, signed sizes."""

    columns: dict[str, str]
    time_unit: str
    signed: bool


class Run(NamedTuple):
    """Consecutive trades of a file; `first_row` counts from 0."""

    first_row: int
    ticks: Ticks


class TradeFile:
    """A file of trades at `path`. Raises `FileReadError` when it cannot be understood."""

    def __init__(self, path: Path, options: FileOptions | None = None) -> None:
        self.path = path
        self.layout, self._sample = _recognise(path, options or FileOptions())

    def runs(self, market: Market) -> Iterator[tuple[float, Run | BadRowError]]:
        """The rows in the file's order at the market's scales: (fraction of the file read, trades
        between two bad rows, or a bad row).
        """
        with open_rows(self.path) as reader:
            first_row = 0
            for piece in reader.pieces(list(dict.fromkeys(self.layout.columns.values()))):
                yield from self._piece(piece, market, first_row)
                first_row += piece.rows

    def _piece(
        self, piece: Piece, market: Market, first_row: int
    ) -> Iterator[tuple[float, Run | BadRowError]]:
        ticks, oks = _converted(piece, self.layout, market)
        good = np.logical_and.reduce(list(oks.values()))
        start = 0
        for bad in [*np.flatnonzero(~good).tolist(), piece.rows]:
            if start < bad:
                yield piece.read, Run(first_row + start, ticks.take(slice(start, bad)))
            if bad < piece.rows:
                name = next(name for name, ok in oks.items() if not ok[bad])
                yield piece.read, self._bad_row(piece, market, name, bad, first_row)
            start = bad + 1

    def _bad_row(self, piece: Piece, market: Market, name: str, row: int, first_row: int) -> BadRowError:
        if row in piece.malformed:
            text = piece.malformed[row]
            hint = "no row of this file's form"
            data = text.encode(errors="backslashreplace")
            return BadRowError(self.path, first_row + row + 1, "the row", text[:200], hint, data)
        column = self.layout.columns[name]
        value = piece.columns[column][row].as_py()
        hint = _hint(name, value, self.layout, market)
        values = {name: cells[row].as_py() for name, cells in piece.columns.items()}
        data = msgspec.json.encode(values, enc_hook=str)
        return BadRowError(self.path, first_row + row + 1, column, value, hint, data)

    def infer_market(
        self,
        venue: str,
        symbol: str,
        *,
        contract: Contract | None = None,
        price_step: str | None = None,
        size_step: str | None = None,
        closed: Closed = "right",
        fee: int = 0,
        slippage: int = 0,
    ) -> tuple[Market, str]:
        """A market's specification from its symbol and the file's first rows, and a sentence on
        what was assumed. Steps are decimal texts. Raises `ValueError` for a symbol or step that is
        none.
        """
        price, size = self._step("price", price_step), self._step("size", size_step)
        market = specification(
            venue, symbol, contract=contract, price_step=price, size_step=size,
            closed=closed, fee=fee, slippage=slippage,
        )  # fmt: skip
        assumed = [n for n, given in (("price", price_step), ("size", size_step)) if given is None]
        return market, f"{market.key} is new: {described(market, assumed)}"

    def _step(self, name: str, given: str | None) -> str:
        """As given, or one unit of the last decimal seen."""
        if given is not None:
            return given
        decimals = _decimals(self._sample[self.layout.columns[name]])
        if name == "size" and decimals:
            decimals = max(decimals, SIZE_SCALE_DEFAULT)  # sizes vary more than a sample shows
        return str(Decimal(1).scaleb(-decimals))


def _recognise(path: Path, options: FileOptions) -> tuple[Layout, dict[str, pa.Array]]:
    with open_rows(path) as reader:
        columns = _columns(path, reader.names, options)
        wanted = list(dict.fromkeys(columns.values()))
        piece = next((piece for piece in reader.pieces(wanted) if piece.rows), None)
    if piece is None:
        raise FileReadError(f"{path}: has no rows")
    sample = {name: column.slice(0, SAMPLE_ROWS) for name, column in piece.columns.items()}
    for name, column in columns.items():
        _check_type(path, name, column, sample[column].type)
    if "id" in columns and not _has_integer_ids(sample[columns["id"]]):
        del columns["id"]
    unit = options.time_unit or _unit(sample[columns["time"]])
    if unit not in (*convert.UNITS, convert.ISO):
        raise FileReadError(f"{path}: time unit {unit!r} is unknown; use s, ms, us, ns or iso")
    signed = options.signed
    if signed is None:
        signed = not {"side", "maker"} & columns.keys() and _any_negative(sample[columns["size"]])
    return Layout(columns, unit, signed), sample


def _columns(path: Path, names: list[str], options: FileOptions) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, usual in NAMES.items():
        given = options.columns.get(name)
        if given is not None and given not in names:
            raise FileReadError(f"{path}: has no column {given!r}; it has {', '.join(names)}")
        column = given or _usual(usual.split(), names)
        if column is not None:
            found[name] = column
    if unknown := options.columns.keys() - NAMES.keys():
        raise ValueError(f"{min(unknown)!r} is no field of a trade; use one of {', '.join(NAMES)}")
    for name in NEEDED:
        if name not in found:
            raise FileReadError(
                f"{path}: none of its columns {', '.join(names)} is known as the {name}; "
                f"say which is: {name}=COLUMN"
            )
        if names.count(found[name]) > 1:
            raise FileReadError(f"{path}: has several columns {found[name]!r}; rename all but one")
    return found


def _check_type(path: Path, name: str, column: str, kind: pa.DataType) -> None:
    tests = ["integer", "floating", "decimal", "string", "large_string", "null"]
    tests += {"time": ["timestamp"], "side": ["boolean"], "maker": ["boolean"]}.get(name, [])
    if not any(getattr(pa.types, f"is_{test}")(kind) for test in tests):
        raise FileReadError(
            f"{path}: column {column!r} for the {name} holds {kind}; name another: {name}=COLUMN"
        )


def _usual(usual: list[str], names: list[str]) -> str | None:
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[name] for name in usual if name in plain), None)


def _plain(name: str) -> str:
    name = name.strip()
    if len(name) == 1:
        return name
    return re.sub(r"[\W_]", "", re.sub(r"_(s|ms|us|ns)$", "", name.lower()))


def _converted(piece: Piece, layout: Layout, market: Market) -> tuple[Ticks, dict[str, NDArray[np.bool_]]]:
    """The rows of a piece, and by field which of them are right."""
    column = {name: piece.columns[column] for name, column in layout.columns.items()}
    time, time_ok = convert.times(column["time"], layout.time_unit)
    price, price_ok = convert.decimals(column["price"], market.price_scale)
    size, size_ok = convert.decimals(column["size"], market.size_scale)
    oks = {"time": time_ok}
    oks["price"] = price_ok & (price > 0) & (price <= VALUE_MAX) & (price % market.price_step == 0)
    kind = np.full(piece.rows, RowKind.TRADE, np.uint8)
    if layout.signed:
        kind = np.where(size < 0, RowKind.SELL, RowKind.BUY).astype(np.uint8)
        size = np.abs(size)
    oks["size"] = size_ok & (size > 0) & (size <= VALUE_MAX) & (size % market.size_step == 0)
    for name in ("side", "maker"):
        if name in column:
            kind, oks[name] = convert.sides(column[name], maker=name == "maker")
    ids = None
    if "id" in column:
        ids, oks["id"] = convert.ids(column["id"])
    return Ticks(np.zeros(piece.rows, np.uint16), kind, time, price, size, ids), oks


def _hint(name: str, value: Any, layout: Layout, market: Market) -> str:
    if value is None:
        return "the value is missing"
    if name == "time":
        unit = layout.time_unit
        return (
            "no ISO time between 1970 and 2116"
            if unit == convert.ISO
            else f"no time between 1970 and 2116 in {unit}"
        )
    if name in ("side", "maker"):
        return "no side that is known: buy or sell, true or false"
    if name == "id":
        return "no trade id: a whole number from 0"
    return _number_hint(name, value, market)


def _number_hint(name: str, value: Any, market: Market) -> str:
    scale = market.price_scale if name == "price" else market.size_scale
    step = market.price_step if name == "price" else market.size_step
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return "no number"
    if not number.is_finite():
        return "no finite number"
    if number == 0:
        return f"a trade has a {name} above 0"
    if number < 0:
        return f"a trade has a {name} above 0" + (
            "; if the sign is the taker's side, say so: signed" if name == "size" else ""
        )
    if number.scaleb(scale, convert.EXACT) > VALUE_MAX:
        return f"beyond 2**53 in units of 10**-{scale}"
    return f"no multiple of the market's {name} step {Decimal(step).scaleb(-scale):f}"


def _has_integer_ids(column: pa.Array) -> bool:
    values = column.drop_null()
    return len(values) > 0 and bool(convert.ids(values.slice(0, 1)).ok[0])


def _unit(column: pa.Array) -> str:
    if pa.types.is_timestamp(column.type):
        return convert.ISO
    values = column.drop_null()
    return convert.time_unit(values[0].as_py()) if len(values) else convert.ISO


def _any_negative(column: pa.Array) -> bool:
    return any(str(value).startswith("-") for value in column.drop_null().to_pylist())


def _decimals(column: pa.Array) -> int:
    """The most decimals of any number in a column, trailing zeros left out."""
    most = 0
    for value in column.drop_null().to_pylist():
        try:
            exponent = Decimal(str(value)).normalize(convert.EXACT).as_tuple().exponent
        except InvalidOperation:
            continue  # a bad row; the rows are judged one by one when they are read
        if isinstance(exponent, int):
            most = max(most, -exponent)
    return most
