"""A file of recorded trades: its rows, oldest first, as exact integers of a market.

    reader ─ pieces ─► those of the symbol ─► converted ─► good and bad rows in turn ─► strays taken out

What a file is, is taken from its first rows (`TradeFile.layout`) and never changes behind them.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.exchange import convert, forms
from infra.exchange.convert import pc
from infra.exchange.forms import FileOptions, Form, Side
from infra.exchange.newest_first import from_the_end
from infra.exchange.pieces import FileReadError, Piece, Reader
from infra.exchange.readers import open_rows, reported
from projections.fold.specification import SCALE_MAX
from streams.events import Market, RowKind
from streams.ticks import Ticks

SAMPLE_ROWS = 10_000
"""The first rows, from which units, signs and scales are taken."""
VALUE_MAX = 2**53
"""Larger prices and sizes are refused: no market has them, and indicators see them as floats."""
SHOWN_CHARACTERS = 200


class BadRowError(ValueError):
    """A row that is no trade of the market. Rows count from 1, without a header, and from the end where that
    is the oldest; `place` is its number among the rows of its symbol.

    `data`: the row as a line of JSON, which `import` reads once it is mended, or as it stands in the file.
    """

    def __init__(
        self, file: Path, row: int, column: str, value: Any, hint: str, data: bytes, *, place: int = 0
    ) -> None:
        self.file, self.row, self.column, self.value, self.hint = file, row, column, value, hint
        self.data, self.place = data, place or row
        shown = value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
        super().__init__(f"{file}: row {row}: {column} is {shown!r}: {hint}")


class NoRowsError(FileReadError):
    """A file without a single row."""


class Layout(NamedTuple):
    """How a file is understood: the column of each field, the unit of its times, signed sizes, whose `side`
    it is, the symbol whose rows are taken (None: it names none), and its form where that is known."""

    columns: dict[str, str]
    time_unit: str
    signed: bool
    side: Side
    symbol: str | None
    newest_first: bool
    form: Form | None


class Sample(NamedTuple):
    """What the first rows say: the decimals of prices and sizes, and the earliest time (ns)."""

    decimals: dict[str, int]
    first_time: int


class Run(NamedTuple):
    """Consecutive trades; `first_row` counts those of the symbol from 0, `rows` are their numbers in the
    file."""

    first_row: int
    ticks: Ticks
    rows: NDArray[np.int64]

    def part(self, start: int, end: int) -> "Run":
        """The trades from `start` to before `end`."""
        rows = slice(start, end)
        return Run(self.first_row + start, self.ticks.take(rows), self.rows[rows])


class Others(NamedTuple):
    """So many rows of other symbols."""

    rows: int


Found = Run | BadRowError | Others


class TradeFile:
    """A file of trades at `path`. Raises `FileReadError` when it cannot be understood."""

    def __init__(self, path: Path, options: FileOptions | None = None) -> None:
        self.path, self.options = path, options or FileOptions()
        self.layout, self.sample = _recognise(path, self.options)

    def rows(self, market: Market) -> Iterator[tuple[float, Found]]:
        """The rows from the oldest at the market's scales: (fraction of the file read, trades between two bad
        rows, a bad row, or how many there were of other symbols). Raises `FileReadError`."""
        with open_rows(self.path, self.options) as reader, reported(self.path):
            wanted = list(dict.fromkeys(self.layout.columns.values()))
            backwards = self.layout.newest_first
            first_row = place = 0
            for piece in from_the_end(reader, wanted) if backwards else reader.pieces(wanted):
                mine = self._mine(piece, first_row)
                others = piece.rows - len(mine.rows)
                if others:
                    yield piece.read, Others(others)
                for found in self._converted(mine, market, place):
                    yield piece.read, found
                first_row += piece.rows
                place += len(mine.rows)

    def _mine(self, piece: Piece, first_row: int) -> "_Mine":
        """The rows of a piece that are of the symbol, and those that are malformed."""
        numbers = np.arange(first_row, first_row + piece.rows)
        if self.layout.symbol is None:
            return _Mine(piece.columns, piece.malformed, numbers)
        symbols = _symbols(piece.columns[self.layout.columns["symbol"]])
        mine = pc.equal(symbols, self.layout.symbol).to_numpy(zero_copy_only=False)
        mine[list(piece.malformed)] = True
        if mine.all():
            return _Mine(piece.columns, piece.malformed, numbers)
        if self.options.only is None:
            row = int(np.argmin(mine))
            raise FileReadError(
                f"row {first_row + row + 1} is of {symbols[row].as_py()!r}, and those before are of"
                f" {self.layout.symbol!r}: say whose rows to take, as --only {self.layout.symbol}"
            )
        kept = np.flatnonzero(mine)
        places = {int(row): at for at, row in enumerate(kept)}
        malformed = {places[row]: text for row, text in piece.malformed.items()}
        columns = {name: column.take(pa.array(kept)) for name, column in piece.columns.items()}
        return _Mine(columns, malformed, numbers[kept])

    def _converted(self, mine: "_Mine", market: Market, place: int) -> Iterator[Run | BadRowError]:
        rows = len(mine.rows)
        ticks, oks = _converted(mine, self.layout, market)
        good = np.logical_and.reduce(list(oks.values()))
        start = 0
        for bad in [*np.flatnonzero(~good).tolist(), rows]:
            if start < bad:
                between = slice(start, bad)
                yield Run(place + start, ticks.take(between), mine.rows[between])
            if bad < rows:
                name = next(name for name, ok in oks.items() if not ok[bad])
                yield self._bad_row(mine, market, name, bad, place)
            start = bad + 1

    def _bad_row(self, mine: "_Mine", market: Market, name: str, row: int, place: int) -> BadRowError:
        number, place = int(mine.rows[row]) + 1, place + row + 1
        if row in mine.malformed:
            text = mine.malformed[row]
            hint = "no row of this file's form"
            data = text.encode(errors="backslashreplace")
            return BadRowError(self.path, number, "the row", text, hint, data, place=place)
        column = self.layout.columns[name]
        value = mine.columns[column][row].as_py()
        hint = _hint(name, value, self.layout, market)
        values = {name: cells[row].as_py() for name, cells in mine.columns.items()}
        data = msgspec.json.encode(values, enc_hook=str)
        return BadRowError(self.path, number, column, value, hint, data, place=place)


class _Mine(NamedTuple):
    """Rows of a piece that are to be taken: their columns, the malformed by place, their numbers in the
    file from 0."""

    columns: dict[str, pa.Array]
    malformed: dict[int, str]
    rows: NDArray[np.int64]


def _recognise(path: Path, options: FileOptions) -> tuple[Layout, Sample]:
    with open_rows(path, options) as reader, reported(path):
        columns = forms.field_columns(reader.names, options)
        wanted = list(dict.fromkeys(columns.values()))
        piece = next((piece for piece in reader.pieces(wanted) if piece.rows), None)
        if piece is None:
            raise NoRowsError(f"{path}: has no rows")
        cells = {name: piece.columns[column] for name, column in columns.items()}
        sample = {name: column.slice(0, SAMPLE_ROWS) for name, column in cells.items()}
        for name, column in columns.items():
            _check_type(name, column, sample[name].type)
        if "id" in columns and not _has_integer_ids(sample["id"]):
            del columns["id"]
        unit = options.time_unit or _unit(sample["time"])
        if unit not in (*convert.UNITS, convert.ISO):
            raise FileReadError(f"time unit {unit!r} is unknown; use s, ms, us, ns or iso")
        form = _form(reader, unit, options)
        side = options.side or ("taker" if form is None else form.side)
        signed = options.signed
        if signed is None:
            signed = not {"side", "maker"} & columns.keys() and _any_negative(sample["size"])
        symbol = _symbol(cells, options)
        times, ok = convert.times(cells["time"], unit)
        newest_first = _descends(times[ok])
        layout = Layout(columns, unit, signed, side, symbol, newest_first, form)
        decimals = {name: _decimals(sample[name]) for name in ("price", "size")}
        return layout, Sample(decimals, int(times[ok].min(initial=convert.TIME_MAX)))


def _form(reader: Reader, unit: str, options: FileOptions) -> Form | None:
    if options.names:
        return None
    return forms.headed_form(reader.names, unit) if reader.first is None else forms.bare_form(reader.first)


def _symbol(cells: dict[str, pa.Array], options: FileOptions) -> str | None:
    """The symbol whose rows are taken."""
    if "symbol" not in cells:
        if options.only is not None:
            raise FileReadError("has no column of symbols for --only; name it: --column symbol=COLUMN")
        return None
    if options.only is not None:
        return options.only
    found = _symbols(cells["symbol"]).unique().to_pylist()
    if len(found) > 1:
        raise FileReadError(
            f"has trades of {len(found)} symbols ({', '.join(found)[:1000]}): say whose to take, as"
            f" --only {found[0]}"
        )
    return found[0]


def _symbols(column: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(column.cast(pa.large_string()).fill_null(""))


def _descends(times: NDArray[np.int64]) -> bool:
    """Whether the first rows go back in time, from newer to older."""
    steps = np.diff(times)
    return len(times) > 1 and bool(times[-1] < times[0]) and int((steps < 0).sum()) > int((steps > 0).sum())


def _check_type(name: str, column: str, kind: pa.DataType) -> None:
    tests = ["integer", "floating", "decimal", "string", "large_string", "null"]
    tests += {"time": ["timestamp"], "side": ["boolean"], "maker": ["boolean"]}.get(name, [])
    if not any(getattr(pa.types, f"is_{test}")(kind) for test in tests):
        raise FileReadError(f"column {column!r} for the {name} holds {kind}; name another: {name}=COLUMN")


def _converted(mine: _Mine, layout: Layout, market: Market) -> tuple[Ticks, dict[str, NDArray[np.bool_]]]:
    """Rows, and by field which of them are right."""
    column = {name: mine.columns[column] for name, column in layout.columns.items()}
    rows = len(mine.rows)
    time, time_ok = convert.times(column["time"], layout.time_unit)
    price, price_ok = convert.decimals(column["price"], market.price_scale)
    size, size_ok = convert.decimals(column["size"], market.size_scale)
    oks = {"time": time_ok}
    oks["price"] = price_ok & (price > 0) & (price <= VALUE_MAX) & (price % market.price_step == 0)
    kind = np.full(rows, RowKind.TRADE, np.uint8)
    if layout.signed:
        kind = np.where(size < 0, RowKind.SELL, RowKind.BUY).astype(np.uint8)
        size = np.abs(size)
    oks["size"] = size_ok & (size > 0) & (size <= VALUE_MAX) & (size % market.size_step == 0)
    for name in ("side", "maker"):
        if name in column:
            kind, oks[name] = convert.sides(column[name], maker=name == "maker")
    if layout.side == "maker" and "maker" not in column:
        kind = _OTHER_SIDE[kind]
    ids = None
    if "id" in column:
        ids, oks["id"] = convert.ids(column["id"])
    return Ticks(np.zeros(rows, np.uint16), kind, time, price, size, ids), oks


_OTHER_SIDE = np.arange(len(RowKind), dtype=np.uint8)
_OTHER_SIDE[[RowKind.BUY, RowKind.SELL]] = RowKind.SELL, RowKind.BUY


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
    return _number_hint(name, str(value), market)


def _number_hint(name: str, text: str, market: Market) -> str:
    scale = market.price_scale if name == "price" else market.size_scale
    step = market.price_step if name == "price" else market.size_step
    try:
        finite = Decimal(text).is_finite()
    except ArithmeticError:
        return "no number"
    number = forms.number(text)
    if number is None:
        return "no number" if finite else "no finite number"
    if number == 0:
        return f"a trade has a {name} above 0"
    if number < 0:
        return f"a trade has a {name} above 0" + (
            "; if the sign is the taker's side, say so: --signed" if name == "size" else ""
        )
    if number.adjusted() + scale > 16 or number.scaleb(scale, convert.EXACT) > VALUE_MAX:
        return f"beyond 2**53 in units of 10**-{scale}"
    finer = max(1, -int(number.normalize(convert.EXACT).as_tuple().exponent))
    known = f"no multiple of the market's {name} step {Decimal(step).scaleb(-scale):f}"
    if finer > SCALE_MAX:
        return known
    return f"{known}; if the market has finer ones, say --{name}-step {Decimal(1).scaleb(-finer):f}"


def _has_integer_ids(column: pa.Array) -> bool:
    values = column.drop_null()
    return len(values) > 0 and bool(convert.ids(values.slice(0, 1)).ok[0])


def _unit(column: pa.Array) -> str:
    if pa.types.is_timestamp(column.type):
        return convert.ISO
    values = column.drop_null()
    return forms.time_unit(values[0].as_py()) if len(values) else convert.ISO


def _any_negative(column: pa.Array) -> bool:
    return any(str(value).startswith("-") for value in column.drop_null().unique().to_pylist())


def _decimals(column: pa.Array) -> int:
    """The most decimals of any number in a column, trailing zeros left out."""
    most = 0
    for value in column.drop_null().unique().to_pylist():
        number = forms.number(str(value))
        if number is None or abs(number.adjusted()) > SCALE_MAX:
            continue  # a bad row; the rows are judged one by one when they are read
        most = max(most, -int(number.normalize(convert.EXACT).as_tuple().exponent))
    return min(most, SCALE_MAX)
