"""Rows of text: CSV and JSON, in pieces of whole lines. Nothing that a line holds ends the reading of it.

A row is a line that is not blank, or an element of the one JSON array. What a parser makes of a piece is
taken only where it has as many rows as the piece has lines, for a stray quote swallows the lines behind it.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from infra.exchange.forms import FileOptions, bare_form, has_names
from infra.exchange.pieces import PIECE_BYTES, ROW_BYTES_MAX, FileReadError, Piece

Row = list[str | None]
Fraction = Callable[[], float]
"""How much of the file is read."""


class Csv:
    """Lines of text, with or without a header. A value has no line break: no trade has one."""

    def __init__(self, stream: Any, read: Fraction, options: FileOptions) -> None:
        self._stream, self._read = stream, read
        line = _line(stream)
        text = line.decode("utf-8-sig").rstrip("\r\n")
        if not text:
            raise FileReadError("is empty" if not line else "begins with an empty line; remove it")
        if "\r" in text:
            raise FileReadError("has lines that end in CR alone; write it with LF, as `tr '\\r' '\\n'` does")
        self._separator = max(",;\t", key=text.count)
        cells = _cells(text, self._separator)
        if cells is None:
            raise FileReadError(f"is no CSV: its first line is {text[:200]!r}")
        headed = options.header if options.header is not None else not options.names and has_names(cells)
        self._head = b"" if headed else line.removeprefix(b"\xef\xbb\xbf")
        self.first: Row | None = None if headed else [cell or None for cell in cells]
        self.names = [cell.strip() for cell in cells] if headed else _named(options.names, self.first, text)

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        while block := self._head + _lines(self._stream):
            self._head = b""
            yield self._parsed(block, wanted)

    def _parsed(self, block: bytes, wanted: Sequence[str]) -> Piece:
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        # to pyarrow a lone CR ends a line, and a blank one is none
        plain = block.count(b"\r") == block.count(b"\r\n") and not _has_blank(block)
        table = self._table(block, wanted) if plain else None
        if table is None or table.num_rows != lines:
            return self._line_by_line(block, wanted)
        columns = {name: table.column(name).combine_chunks() for name in wanted}
        return Piece(columns, table.num_rows, {}, self._read())

    def _table(self, block: bytes, wanted: Sequence[str]) -> pa.Table | None:
        texts = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            null_values=[""],
            strings_can_be_null=True,
        )
        try:
            return pa_csv.read_csv(
                pa.BufferReader(block),
                pa_csv.ReadOptions(use_threads=False, column_names=self.names),
                pa_csv.ParseOptions(delimiter=self._separator),
                texts,
            )
        except pa.ArrowInvalid:
            return None

    def _line_by_line(self, block: bytes, wanted: Sequence[str]) -> Piece:
        rows: list[Row] = []
        malformed: dict[int, str] = {}
        places = [self.names.index(name) for name in wanted]
        for line in _text_of(block).split("\n"):
            if not line.rstrip("\r"):
                continue
            cells = _cells(line.removesuffix("\r"), self._separator)
            if cells is None or len(cells) != len(self.names) or "\r" in line[:-1]:
                malformed[len(rows)] = line
                rows.append([None] * len(wanted))
            else:
                rows.append([cells[at] or None for at in places])
        return _texts(rows, wanted, malformed, self._read())


class Json:
    """Objects or lists, one a line or in one array. Numbers are kept as the texts they are."""

    def __init__(self, stream: Any, read: Fraction, options: FileOptions, *, array: bool) -> None:
        self._read = read
        self._rest = _array_pieces(stream) if array else _line_pieces(stream)
        self._first = next(self._rest, ([], {}))
        rows = self._first[0]
        self._lists = next((isinstance(row, list) for row in rows if row is not None), False)
        self.first: Row | None = None
        if self._lists:
            self.first = next([_text(cell) for cell in row] for row in rows if isinstance(row, list))
            self.names = _named(options.names, self.first, str(self.first))
        else:
            self.names = list(
                dict.fromkeys(name for row in rows[:1000] if isinstance(row, dict) for name in row)
            )

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        yield self._piece(*self._first, wanted)
        for values, texts in self._rest:
            yield self._piece(values, texts, wanted)

    def _piece(self, values: list[Any], texts: dict[int, str], wanted: Sequence[str]) -> Piece:
        rows: list[Row] = []
        malformed = dict(texts)
        places = [self.names.index(name) for name in wanted]
        for value in values:
            if self._lists and isinstance(value, list) and len(value) == len(self.names):
                rows.append([_text(value[at]) for at in places])
            elif not self._lists and isinstance(value, dict):
                rows.append([_text(value.get(name)) for name in wanted])
            else:
                malformed.setdefault(len(rows), _shown(value))
                rows.append([None] * len(wanted))
        return _texts(rows, wanted, malformed, self._read())


Values = tuple[list[Any], dict[int, str]]
"""Decoded rows, and the texts of those that are no JSON, by place."""
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


def _line_pieces(stream: Any) -> Iterator[Values]:
    while block := _lines(stream):
        rows: list[Any] = []
        malformed: dict[int, str] = {}
        for line in filter(None, map(str.strip, _text_of(block).split("\n"))):
            try:
                rows.append(_DECODER.decode(line))
            except (json.JSONDecodeError, RecursionError):
                malformed[len(rows)] = line
                rows.append(None)
        yield rows, malformed


def _array_pieces(stream: Any) -> Iterator[Values]:
    text = io.TextIOWrapper(stream, "utf-8-sig")
    buffer, at, done = text.read(PIECE_BYTES).lstrip()[1:], 0, 0
    while True:
        rows: list[Any] = []
        while (at := _next_row(buffer, at)) < len(buffer) and buffer[at] != "]":
            try:
                row, end = _DECODER.raw_decode(buffer, at)
            except json.JSONDecodeError:
                break
            except RecursionError:
                raise FileReadError(f"is nested too deeply in row {done + len(rows) + 1}") from None
            rows.append(row)
            at = end
        if rows:
            yield rows, {}
        done += len(rows)
        if buffer[at : at + 1] == "]":
            return
        more = text.read(PIECE_BYTES) if len(buffer) - at <= ROW_BYTES_MAX else ""
        if not more:
            raise FileReadError(f"is no JSON or truncated after row {done} (… {buffer[at : at + 40]!r})")
        buffer, at = buffer[at:] + more, 0


def _next_row(buffer: str, at: int) -> int:
    while at < len(buffer) and buffer[at] in ", \t\r\n":
        at += 1
    return at


def _named(given: Sequence[str], first: Row | None, shown: str) -> list[str]:
    """The columns of a file without names: as given, by its form, or by number from 1."""
    cells = first or []
    if given:
        if len(given) != len(cells):
            raise FileReadError(
                f"has {len(cells)} columns in its first row {shown[:200]!r}, and --columns names {len(given)}"
            )
        return [name.strip() or str(number) for number, name in enumerate(given, 1)]
    form = bare_form(cells)
    if form is None:
        raise FileReadError(
            f"has no header, and its first row {shown[:200]!r} is of no form that is known: name its"
            f" {len(cells)} columns in their order, as --header none --columns time,price,size"
        )
    return list(form.columns)


def _texts(rows: list[Row], wanted: Sequence[str], malformed: dict[int, str], read: float) -> Piece:
    cells = zip(*rows, strict=True) if rows else [()] * len(wanted)
    columns = {name: pa.array(column, pa.string()) for name, column in zip(wanted, cells, strict=True)}
    return Piece(columns, len(rows), malformed, read)


def _text(value: Any) -> str | None:
    """A cell as the text that stands in the file, as nearly as one can be kept."""
    if value is None:
        return None
    text = value if isinstance(value, str) else _shown(value)
    return text.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair is no text


def _shown(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "(nested too deeply)"


def _cells(line: str, separator: str) -> list[str] | None:
    """The cells of a line; None where it is none of CSV, as with a quote that is not closed."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), None)
    except csv.Error:
        return None


def _has_blank(block: bytes) -> bool:
    return b"\n\n" in block or b"\n\r\n" in block or block.startswith((b"\n", b"\r\n"))


def _text_of(block: bytes) -> str:
    return block.decode("utf-8", "backslashreplace").removeprefix("\ufeff")


def _lines(stream: Any) -> bytes:
    """About `PIECE_BYTES` of whole lines; empty at the end."""
    block = stream.read(PIECE_BYTES)
    if block and not block.endswith(b"\n"):
        block += _line(stream)
    return block


def _line(stream: Any) -> bytes:
    line = stream.readline(ROW_BYTES_MAX)
    if len(line) == ROW_BYTES_MAX and not line.endswith(b"\n"):
        raise FileReadError(f"has a line of more than {ROW_BYTES_MAX} bytes: no text of trades")
    return line
