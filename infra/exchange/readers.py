"""Files of rows in pieces of bounded size, whatever their format: the format is known by its
content.

CSV, JSON lines, one JSON array, Parquet and Feather; each gzipped or not. Texts stay texts, so that
decimals keep every digit.
"""

import csv
import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

PIECE_ROWS = 65_536
PIECE_BYTES = 1 << 20
ROW_BYTES_MAX = 1 << 20
GZIP = b"\x1f\x8b"


class FileReadError(ValueError):
    """A file that cannot be read, or not to its end; the message names it and what to do."""


class Piece(NamedTuple):
    """Rows of a file in its order: wanted columns by name, and the texts of rows that are malformed
    (null in every column) by their place in the piece. `read` is the fraction of the file up to
    here.
    """

    columns: dict[str, pa.Array]
    rows: int
    malformed: dict[int, str]
    read: float


class Reader(Protocol):
    """An open file: the names of its columns, and its rows once, from the first."""

    names: list[str]

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]: ...


@contextmanager
def open_rows(path: Path) -> Iterator[Reader]:
    """Open a file by what it holds. Raises `FileReadError`, also later when its rows are read."""
    with ExitStack() as resources:
        with reported(path):
            reader = _open(path, resources)
        yield _Reported(path, reader)


def _open(path: Path, resources: ExitStack) -> Reader:
    raw = resources.enter_context(path.open("rb"))
    size = max(1, path.stat().st_size)
    packed = raw.peek(2)[:2] == GZIP
    # GzipFile reads as a raw stream does; the buffer above it gives peek and readline
    stream: Any = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
    head = stream.peek(16)[:16].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"PAR1", b"ARROW1", b"FEA1")):
        return _columnar(_seekable(stream, resources) if packed else raw, head)
    if head.startswith((b"{", b"[")):
        return _Json(stream, lambda: raw.tell() / size, array=head.startswith(b"["))
    return _Csv(stream, lambda: raw.tell() / size)


class _Reported:
    """A reader whose troubles name its file."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path, self._reader = path, reader
        self.names = reader.names

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        with reported(self._path):
            yield from self._reader.pieces(wanted)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a broken file into a `FileReadError` that names it."""
    try:
        yield
    except FileReadError as error:
        raise FileReadError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise FileReadError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError) as error:
        raise FileReadError(
            f"{path}: unreadable or truncated ({error}); rows before the damage are kept, "
            "get the whole file and import it again, it goes on after them"
        ) from error


def _seekable(stream: BinaryIO, resources: ExitStack) -> BinaryIO:
    """Formats whose index stands at the end need to seek: unpack them to a temporary file."""
    file = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    shutil.copyfileobj(stream, file, PIECE_BYTES)
    file.seek(0)
    return file


def _columnar(file: BinaryIO, head: bytes) -> Reader:
    if head.startswith(b"FEA1"):
        raise FileReadError("is of Feather version 1; write it again as version 2")
    return _Parquet(file) if head.startswith(b"PAR1") else _Feather(file)


class _Parquet:
    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetFile(file, buffer_size=PIECE_BYTES, pre_buffer=False)
        self.names = self._file.schema_arrow.names

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        done, rows = 0, max(1, self._file.metadata.num_rows)
        for batch in self._file.iter_batches(PIECE_ROWS, columns=list(wanted)):
            done += batch.num_rows
            yield _piece(batch, wanted, done / rows)


class _Feather:
    def __init__(self, file: BinaryIO) -> None:
        self._file = pa.PythonFile(file, "r")
        self.names = pa.ipc.open_file(self._file).schema.names

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        fields = [self.names.index(name) for name in wanted]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        reader = pa.ipc.open_file(self._file, options=options)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for start in range(0, batch.num_rows, PIECE_ROWS):
                piece = batch.slice(start, PIECE_ROWS)
                yield _piece(piece, wanted, (number + 1) / reader.num_record_batches)


def _piece(batch: pa.RecordBatch, wanted: Sequence[str], read: float) -> Piece:
    columns = {name: batch.column(name) for name in wanted}
    for name, column in columns.items():
        if pa.types.is_dictionary(column.type):
            columns[name] = column.dictionary_decode()
        elif pa.types.is_string_view(column.type):
            columns[name] = column.cast(pa.large_string())
    return Piece(columns, batch.num_rows, {}, read)


class _Csv:
    """Lines of text with a header. Quoted line breaks are not known in files of trades."""

    def __init__(self, stream: Any, read: Any) -> None:
        self._stream, self._read = stream, read
        header = stream.readline(ROW_BYTES_MAX).decode("utf-8-sig").rstrip("\r\n")
        if not header:
            raise FileReadError("is empty")
        self._separator = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=self._separator))
        self.names = [name.strip() for name in names]
        if all(_is_number(name) for name in self.names):
            raise FileReadError(f"has no header; write one above its first line {header!r}")

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        while block := _lines(self._stream):
            yield self._parsed(block, wanted)

    def _parsed(self, block: bytes, wanted: Sequence[str]) -> Piece:
        texts = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            null_values=[""],
            strings_can_be_null=True,
        )
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(block),
                pa_csv.ReadOptions(use_threads=False, column_names=self.names),
                pa_csv.ParseOptions(delimiter=self._separator),
                texts,
            )
        except pa.ArrowInvalid:
            return self._line_by_line(block, wanted)
        columns = {name: table.column(name).combine_chunks() for name in wanted}
        return Piece(columns, table.num_rows, {}, self._read())

    def _line_by_line(self, block: bytes, wanted: Sequence[str]) -> Piece:
        rows: list[dict[str, str | None]] = []
        malformed: dict[int, str] = {}
        for line in filter(None, block.decode("utf-8", "backslashreplace").splitlines()):
            fields = next(csv.reader([line], delimiter=self._separator))
            if len(fields) == len(self.names):
                rows.append({n: f or None for n, f in zip(self.names, fields, strict=True)})
            else:
                malformed[len(rows)] = line
                rows.append({})
        return _texts(rows, wanted, malformed, self._read())


class _Json:
    """Objects, one a line or in one array. Numbers are kept as the texts they are."""

    def __init__(self, stream: Any, read: Any, *, array: bool) -> None:
        self._read = read
        decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
        rows = _array_pieces(stream, decoder) if array else _line_pieces(stream, decoder)
        self._first = next(rows, ([], {}))
        self._rest = rows
        self.names = list(dict.fromkeys(name for row in self._first[0][:1000] for name in row))

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        yield _texts(self._first[0], wanted, self._first[1], self._read())
        for rows, malformed in self._rest:
            yield _texts(rows, wanted, malformed, self._read())


Rows = tuple[list[dict[str, Any]], dict[int, str]]


def _line_pieces(stream: Any, decoder: json.JSONDecoder) -> Iterator[Rows]:
    while block := _lines(stream):
        rows: list[dict[str, Any]] = []
        malformed: dict[int, str] = {}
        for line in filter(None, map(str.strip, _text_of(block).splitlines())):
            try:
                row = decoder.decode(line)
            except json.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                malformed[len(rows)] = line
            rows.append(row if isinstance(row, dict) else {})
        yield rows, malformed


def _array_pieces(stream: Any, decoder: json.JSONDecoder) -> Iterator[Rows]:
    text = io.TextIOWrapper(stream, "utf-8-sig")
    buffer, at, done = text.read(PIECE_BYTES).lstrip()[1:], 0, 0
    while True:
        rows: list[dict[str, Any]] = []
        malformed: dict[int, str] = {}
        while (at := _next_row(buffer, at)) < len(buffer) and buffer[at] != "]":
            try:
                row, end = decoder.raw_decode(buffer, at)
            except json.JSONDecodeError:
                break
            if not isinstance(row, dict):
                malformed[len(rows)] = buffer[at:end]
            rows.append(row if isinstance(row, dict) else {})
            at = end
        if rows:
            yield rows, malformed
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


def _texts(
    rows: list[dict[str, Any]], wanted: Sequence[str], malformed: dict[int, str], read: float
) -> Piece:
    columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in wanted}
    return Piece(columns, len(rows), malformed, read)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _text_of(block: bytes) -> str:
    return block.decode("utf-8", "backslashreplace").removeprefix("\ufeff")


def _lines(stream: Any) -> bytes:
    """About `PIECE_BYTES` of whole lines; empty at the end."""
    block = stream.read(PIECE_BYTES)
    if block and not block.endswith(b"\n"):
        rest = stream.readline(ROW_BYTES_MAX)
        if len(rest) == ROW_BYTES_MAX and not rest.endswith(b"\n"):
            raise FileReadError(f"has a line of more than {ROW_BYTES_MAX} bytes: no text of trades")
        block += rest
    return block


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
