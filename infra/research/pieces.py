"""The rows of a sweep in a home while it runs, piece by piece, so that it can be broken off and go on.

`research/sweeps/KEY/` holds `sweep.json`, what was asked, and `piece-NNNNN-HASH.parquet`: for some sets
their number in the order of the grid, parameters, metrics as integers and floats, error, the returns of their
UTC days as float32, and what is summed of these. KEY is the hash of all that rows depend on, HASH that of the
file's bytes; a piece that was damaged does not count. Whoever sweeps holds a lock.

Why: ADR 34.
"""

import io
import logging
import os
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from infra.process.whole_file import whole_file
from infra.research.disk import FOLDER
from infra.research.identity import data_hash, product_hash
from infra.research.ledger import as_text
from infra.research.over_sets import Done, Row
from infra.research.swept import F8, WHOLE, Swept
from projections.research.daily import BLOCKS
from projections.research.statistics import DEFINITIONS
from streams.events import Params
from streams.locks import held

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

SWEEPS: Final = "sweeps"
ASKED: Final = "sweep.json"
FORM: Final = 1
SOON_S: Final = 0.5
LATE_S: Final = 5.0
"""Seconds that what is done waits to be written: the first time, and later."""
KEY: Final = "tcpdashboard.sweep"
_PIECE = re.compile(r"piece-([0-9]{5,})-([0-9a-f]{64})\.parquet")


class PiecesError(Exception):
    """Rows of a sweep cannot be kept; the message says why, and the way out."""


class Found(NamedTuple):
    """What a piece holds: numbers of sets, their rows, and `blocks` f8[S, 16, 3]."""

    numbers: list[int]
    rows: list[Row]
    blocks: F8


def asked(swept: Swept) -> dict[str, Any]:
    """All that the rows of a sweep depend on, but the sets."""
    setting, columns = swept.setting, swept.setting.data.prepared.columns
    how = setting.asked
    return {
        "form": FORM,
        "product": product_hash(),
        "strategy": swept.code.name,
        "code_hash": swept.code.code_hash,
        "market": columns.market,
        "timeframe": columns.timeframe,
        "source": setting.data.source,
        "data": data_hash(setting.data.prepared, swept.code.higher),
        "bars": [setting.first, setting.last],
        "costs": [[era.fee, era.slippage] for era in columns.eras],
        "cash": setting.cash,
        "sizing": setting.sizing,
        "short": how.short,
        "on_stale": how.on_stale,
        "cold": how.cold,
        "annualise": float(how.annualise),
    }


class Pieces:
    """The folder of a sweep, held by this process. What is added is written within seconds, by a thread.

    `trial`: that of the ledger of which what was kept before is a part."""

    def __init__(self, folder: Path, sets: Sequence[Params], trial: int | None) -> None:
        self.folder, self._sets, self.trial = folder, sets, trial
        self._files = {
            int(named[1]): file for file in folder.iterdir() if (named := _PIECE.fullmatch(file.name))
        }
        self._waiting: list[tuple[list[int], Done, F8]] = []
        self._lock = threading.Lock()
        self._failed: PiecesError | None = None

    def begin(self, swept: Swept) -> None:
        """Say what is asked for, and in which trial. Raises `PiecesError`."""
        told = {"sets": len(swept.sets), "invalid": swept.invalid, "notes": swept.notes}
        text = msgspec.json.encode({**asked(swept), **told, "trial": swept.entry.trial})
        write(self.folder / ASKED, msgspec.json.format(text) + b"\n")

    def clear(self) -> None:
        for file in self._files.values():
            file.unlink()
        self._files.clear()

    def found(self) -> Iterator[Found]:
        """What was kept; what is damaged is told of, and no more there."""
        for number, file in sorted(self._files.items()):
            table = opened(file.name, file.read_bytes(), self.folder.name)
            if table is None:
                logger.warning("%s is damaged or of another sweep: its sets are run again", file)
                file.unlink()
                del self._files[number]
            else:
                yield _found(table)

    def add(self, numbers: list[int], done: Done, blocks: F8) -> None:
        """Raises `PiecesError` where what was added before could not be written."""
        with self._lock:
            self._waiting.append((numbers, done, blocks))
        if self._failed is not None:
            raise self._failed

    @contextmanager
    def writing(self) -> Generator[None]:
        """Write what is added within, and all of it at the end. Raises `PiecesError`."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep_writing, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._write()

    def _keep_writing(self, stop: threading.Event) -> None:
        wait = SOON_S
        while not stop.wait(wait):
            try:
                self._write()
            except PiecesError as error:
                self._failed = error
                return
            wait = min(2 * wait, LATE_S)

    def _write(self) -> None:
        with self._lock:
            if self._waiting:
                number = max(self._files, default=-1) + 1
                name, data = sealed(_table(self._waiting, self._sets), self.folder.name, number)
                file = self.folder / name
                write(file, data)
                self._files[number] = file
                self._waiting = []


def kept_returns(folder: Path, numbers: Sequence[int]) -> dict[int, F8]:
    """The returns f8[D] of these sets, as far as a sweep's folder has them."""
    kept: dict[int, F8] = {}
    for file in folder.glob("piece-*.parquet"):
        table = opened(file.name, file.read_bytes(), folder.name)
        if table is not None:
            rows = {number: row for row, number in enumerate(table["set"].to_pylist())}
            for number in rows.keys() & set(numbers):
                kept[number] = np.array(table["returns"][rows[number]].as_py())
    return kept


@contextmanager
def keeping(home: Path, swept: Swept, *, resume: bool) -> Generator[Pieces]:
    """Hold the folder of a sweep, and write what is added, also where it is broken off. What was kept before
    goes unless it is to be resumed. Raises `PiecesError`."""
    what = asked(swept)
    key = sha256(msgspec.msgpack.encode((what, swept.sets))).hexdigest()
    folder = home / FOLDER / SWEEPS / key

    def refusal(holder: str) -> PiecesError:
        return PiecesError(f"this sweep is run already, by {holder}: wait for it, or end it and resume")

    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "lock", f"of the sweep {key[:12]}", "sweep", refusal):
        pieces = Pieces(folder, swept.sets, _trial(folder / ASKED) if resume else None)
        if not resume:
            pieces.clear()
        with pieces.writing():
            yield pieces


def _trial(file: Path) -> int | None:
    """That of which what is kept is a part; None where it was none, or the file is not whole."""
    try:
        trial = msgspec.json.decode(file.read_bytes()).get("trial")
    except (FileNotFoundError, msgspec.MsgspecError, AttributeError):
        return None
    return trial if isinstance(trial, int) else None


# ------------------------------------------------------------------ files


def write(file: Path, data: bytes) -> None:
    """It is there, and on the disk, or as it was. Raises `PiecesError`."""
    try:
        with whole_file(file) as target:
            target.write(data)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise PiecesError(
            f"{file} cannot be written: {error.strerror}; what was kept before stays: make room and resume"
        ) from error


def sealed(table: "pa.Table", key: str, number: int) -> tuple[str, bytes]:
    """The name and the bytes of a piece of the sweep `key`: a Parquet file that bears it."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - for those who keep pieces

    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({KEY: key}), buffer, compression="zstd")
    data = buffer.getvalue()
    return f"piece-{number:05d}-{sha256(data).hexdigest()}.parquet", data


def opened(name: str, data: bytes, key: str) -> "pa.Table | None":
    """What a file of `sealed` holds; None where it is not as it was written, or of another sweep."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    named = _PIECE.fullmatch(name)
    if named is None or sha256(data).hexdigest() != named[2]:
        return None
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    return table if (table.schema.metadata or {}).get(KEY.encode()) == key.encode() else None


def _table(waiting: Sequence[tuple[list[int], Done, F8]], sets: Sequence[Params]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - as above

    numbers = [number for batch, _, _ in waiting for number in batch]
    rows = [row for _, done, _ in waiting for row in done.rows]
    columns: dict[str, Any] = {"set": pa.array(numbers, pa.int64())}
    if sets[0]:
        columns["params"] = pa.array([sets[number] for number in numbers])
    for name, metric in DEFINITIONS.items():
        kind = pa.int64() if metric.unit in WHOLE else pa.float64()
        columns[name] = pa.array([row.values.get(name) for row in rows], kind)
    columns["error"] = pa.array([as_text(row.error) for row in rows], pa.string())
    columns["returns"] = _fixed([done.returns.astype(np.float32) for _, done, _ in waiting])
    columns["blocks"] = _fixed([blocks.reshape(len(blocks), -1) for _, _, blocks in waiting])
    return pa.table(columns)


def _fixed(parts: Sequence[np.ndarray[Any, Any]]) -> "pa.Array":
    """Parts [s, n] as one column with n numbers in each row."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    whole = np.concatenate(parts)
    return pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), whole.shape[1])


def _found(table: "pa.Table") -> Found:
    values = {name: table[name].to_pylist() for name in DEFINITIONS}
    rows = [
        Row({name: values[name][at] for name in DEFINITIONS}, error)
        for at, error in enumerate(table["error"].to_pylist())
    ]
    blocks = np.array(table["blocks"].combine_chunks().flatten())
    return Found(table["set"].to_pylist(), rows, blocks.reshape(len(rows), BLOCKS, 3))
