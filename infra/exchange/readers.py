"""Files of rows, opened by what they hold, whatever they are called.

CSV, JSON lines, one JSON array, Parquet and Feather; each gzipped or not, or a member of a zip. Texts stay
texts, so that decimals keep every digit.
"""

import gzip
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from infra.exchange.forms import FileOptions, FormError
from infra.exchange.pieces import PIECE_BYTES, PIECE_ROWS, FileReadError, Piece, Reader
from infra.exchange.text_rows import Csv, Json

GZIP, ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_rows(path: Path, options: FileOptions) -> Iterator[Reader]:
    """Open a file by what it holds. Raises `FileReadError`, also later when its rows are read."""
    with ExitStack() as resources:
        with reported(path):
            reader = _open(path, options, resources)
        yield _Reported(path, reader)


def _open(path: Path, options: FileOptions, resources: ExitStack) -> Reader:
    raw = resources.enter_context(path.open("rb"))
    size = max(1, path.stat().st_size)
    stream: Any = raw
    if raw.peek(4)[:4] in ZIP:
        stream = io.BufferedReader(_member(resources.enter_context(zipfile.ZipFile(raw)), options.member))
    elif options.member is not None:
        raise FileReadError("is no zip, so it has no members; leave --member out")
    if stream.peek(2)[:2] == GZIP:
        # GzipFile reads as a raw stream does; the buffer above it gives peek and readline
        stream = io.BufferedReader(gzip.GzipFile(fileobj=stream))
    head = stream.peek(16)[:16].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"PAR1", b"ARROW1", b"FEA1")):
        return _columnar(raw if stream is raw else _seekable(stream, resources), head)
    if head.startswith((b"{", b"[")):
        array = head.startswith(b"[") and not _has_lists_a_line(stream)
        return Json(stream, lambda: raw.tell() / size, options, array=array)
    return Csv(stream, lambda: raw.tell() / size, options)


def _has_lists_a_line(stream: Any) -> bool:
    """A list a line, rather than one array: its first line ends as a list, and the next begins as one."""
    first, _, rest = stream.peek(PIECE_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    return first.rstrip().endswith(b"]") and rest.lstrip().startswith(b"[")


def _member(archive: zipfile.ZipFile, name: str | None) -> Any:
    members = [m.filename for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
    if name is None and len(members) == 1:
        return archive.open(members[0])
    shown = ", ".join(members)[:1000] or "none"
    if name is None:
        raise FileReadError(f"holds {len(members)} members ({shown}); say which: --member NAME")
    if name not in members:
        raise FileReadError(f"has no member {name!r}; it has {shown}")
    return archive.open(name)


class _Reported:
    """A reader whose troubles name its file."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path, self._reader = path, reader
        self.names, self.first = reader.names, reader.first

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        with reported(self._path):
            yield from self._reader.pieces(wanted)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a broken file into a `FileReadError` that names it."""
    try:
        yield
    except (FileReadError, FormError) as error:
        named = str(error).startswith(f"{path}: ")
        if named:
            raise
        raise FileReadError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise FileReadError(f"{path}: no such file") from error
    except (
        OSError, EOFError, zlib.error, LZMAError, zipfile.BadZipFile, pa.ArrowException, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise FileReadError(
            f"{path}: unreadable or truncated ({error}); rows before the damage are kept, "
            "get the whole file and import it again, it goes on after them"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: encrypted, or an unknown compression
        raise FileReadError(f"{path}: {error}; unpack it and import what is in it") from error


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
    first: list[str | None] | None = None

    def __init__(self, file: BinaryIO) -> None:
        self._file = pq.ParquetFile(file, buffer_size=PIECE_BYTES, pre_buffer=False)
        self.names = self._file.schema_arrow.names

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]:
        done, rows = 0, max(1, self._file.metadata.num_rows)
        for batch in self._file.iter_batches(PIECE_ROWS, columns=list(wanted)):
            done += batch.num_rows
            yield _piece(batch, wanted, done / rows)


class _Feather:
    first: list[str | None] | None = None

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
