"""The columns of a home's markets on disk, so that the ticks are read once.

`research/<market> <timeframe>.columns` holds the SHA-256 of what follows, what the columns depend on, and the
tables as in `.npy` files. It counts only where all of that is as it was: its bytes, the journal's range and
newest record, the newest checkpoint, the dead letters, and the code. Where it is not, the journal is read
again and the file replaced.

Why: ADR 31.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from infra.commands.journal_view import view
from infra.research.disk import Disk
from infra.research.identity import code_hash
from infra.research.recorded import checkpoints, dead_letters
from projections.research.columns import BAR, TRADE, At, Columns, Vouched
from projections.research.gather import gather, linked
from streams.codec import decode_input, encode
from streams.events import Bars, Command, Market
from streams.log import Log
from streams.records import Input, Record, partition_of
from streams.topics import BOTS, JOURNAL, SYSTEM

Progress = Callable[[int, int], None]
"""Told how many of how many records are read."""
TOLD_EVERY = 256
FORM = 1
WINDOW_RECORDS = 256
"""Records read at once, going back for a checkpoint: at first so many, then more."""
ALIGNED = 64
DIGEST_BYTES = 32


class Basis(Struct, frozen=True):
    """What columns were made of: the code, the journal's records first ≤ offset < stop, the hash of the
    newest, offset and chain of the newest checkpoint among them, and those that were dead letters."""

    code: str
    first: int
    stop: int
    newest: str
    checkpoint: tuple[int, str]
    dead: list[int]


class Kept(Struct, frozen=True):
    """The head of a file. `system`: up to there the stream `system` was read for dead letters."""

    form: int
    market: str
    timeframe: str
    basis: Basis
    system: int
    eras: list[bytes]
    events: list[tuple[int, int, bytes | bool, int, int, int, int]]
    first: int
    last: int
    chain: str
    revised: bool


def columns_of(
    log: Log, market: str, timeframes: Sequence[str], folder: Path, progress: Progress | None = None
) -> list[Columns]:
    """The columns of a market over all that the journal holds, for each timeframe, from `folder` or made and
    kept there.

    Raises `LookupError` for a market that is not in the journal, naming those that are, `ChainError` where
    the journal is not what the engine folded, and `OSError`; `folder` then holds what it held.
    """
    partition = partition_of(market.encode(), log.partitions)
    now = _Now(log, partition)
    found = {name: _loaded(_file(folder, market, name), market, name, now) for name in timeframes}
    missing = [name for name, columns in found.items() if columns is None]
    if missing:
        _check_known(log, market, partition)
        basis, system = now.basis(), now.system
        records = telling(log.read(JOURNAL, partition, basis.first, basis.stop), basis.stop, progress)
        checkpoints = dict([basis.checkpoint])
        zeros = Disk(folder).zeros
        for columns in gather(records, market, missing, frozenset(basis.dead), checkpoints, zeros):
            found[columns.timeframe] = columns
            _keep(_file(folder, market, columns.timeframe), columns, basis, system)
    return [columns for columns in found.values() if columns is not None]


def telling(records: Iterator[Record], stop: int, progress: Progress | None) -> Iterator[Record]:
    """The records, and at intervals how many of `stop` they were."""
    for record in records:
        yield record
        if progress is not None and (record.offset % TOLD_EVERY == 0 or record.offset == stop - 1):
            progress(record.offset + 1, stop)


def _check_known(log: Log, market: str, partition: int) -> None:
    """Raises `LookupError`."""
    if market in view(log, partition).markets:
        return
    known = sorted(key for p in range(log.partitions) for key in view(log, p).markets)
    raise LookupError(f"market {market} is not in the journal; there are {', '.join(known) or 'none'}")


# ------------------------------------------------------------ what they are made of


class _Now:
    """A partition as it stands now."""

    def __init__(self, log: Log, partition: int) -> None:
        self._log, self._partition = log, partition
        self.first, self.stop = log.earliest(JOURNAL, partition), log.highwater(JOURNAL, partition)
        self.system = log.highwater(SYSTEM, partition)

    def basis(self, kept: Kept | None = None) -> Basis:
        """`kept`: whose dead letters are known up to its `system`."""
        known, start = ([], 0) if kept is None else (kept.basis.dead, kept.system)
        found = dead_letters(self._log, self._partition, start, self.system)
        dead = sorted({*known, *(offset for offset in found if 0 <= offset < self.stop)})
        return Basis(code_hash(), self.first, self.stop, self._newest(), self._checkpoint(), dead)

    def _newest(self) -> str:
        records = self._log.read(JOURNAL, self._partition, max(self.stop - 1, self.first), self.stop)
        return "".join(linked(bytes(32), record).hex() for record in records)

    def _checkpoint(self) -> tuple[int, str]:
        """(−1, "") before the first."""
        earliest, stop = self._log.earliest(BOTS, self._partition), self._log.highwater(BOTS, self._partition)
        window = WINDOW_RECORDS
        while stop > earliest:
            start = max(earliest, stop - window)
            found = list(checkpoints(self._log.read(BOTS, self._partition, start, stop)))
            within = [(offset, chain) for offset, chain in found if offset < self.stop]
            if within:
                return max(within)
            stop, window = start, 2 * window
        return -1, ""


# ------------------------------------------------------------ files


def _file(folder: Path, market: str, timeframe: str) -> Path:
    return folder / f"{quote(market, safe='')} {timeframe}.columns"


def _loaded(file: Path, market: str, timeframe: str, now: _Now) -> Columns | None:
    """What a file holds; None where it is not there, is damaged, or was made of something else."""
    with suppress(FileNotFoundError, ValueError, msgspec.MsgspecError), file.open("rb") as source:
        if source.read(DIGEST_BYTES) != file_digest(source, "sha256").digest():
            return None
        source.seek(DIGEST_BYTES)
        kept = msgspec.msgpack.decode(_block(source), type=Kept)
        if (kept.form, kept.market, kept.timeframe) != (FORM, market, timeframe):
            return None
        if (kept.basis.first, kept.basis.stop) != (now.first, now.stop) or kept.basis != now.basis(kept):
            return None
        bars, final, revisions, trades = (_mapped(source, file) for _ in range(4))
        if (bars.dtype, trades.dtype) != (BAR, TRADE):
            return None
        return Columns(
            market, timeframe, tuple(_market(era) for era in kept.eras), bars,
            final if kept.revised else bars, revisions, trades, tuple(_at(*event) for event in kept.events),
            kept.first, kept.last, kept.chain,
        )  # fmt: skip
    return None


def _keep(file: Path, columns: Columns, basis: Basis, system: int) -> None:
    """Raises `OSError`; the file is then as it was."""
    revised = bool(columns.revisions.any())
    kept = Kept(
        FORM, columns.market, columns.timeframe, basis, system, [_encoded(era) for era in columns.eras],
        [
            (at.place, at.offset, _told_as(at.event), at.watermark, at.close, at.trade, at.bar)
            for at in columns.events
        ],
        columns.first, columns.last, columns.chain, revised,
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as target:
            target.write(bytes(DIGEST_BYTES))
            _write_block(target, msgspec.msgpack.encode(kept))
            final = columns.final if revised else columns.final[:0]
            for table in (columns.bars, final, columns.revisions, columns.trades):
                _write_table(target, table)
            target.seek(DIGEST_BYTES)
            digest = file_digest(target, "sha256").digest()
            target.seek(0)
            target.write(digest)
            target.flush()
            os.fsync(target.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _block(source: IO[bytes]) -> bytes:
    size = int.from_bytes(source.read(8), "little")
    data = source.read(size)
    source.seek(-source.tell() % ALIGNED, os.SEEK_CUR)
    return data


def _write_block(target: IO[bytes], data: bytes) -> None:
    target.write(len(data).to_bytes(8, "little") + data)
    target.write(bytes(-target.tell() % ALIGNED))


def _write_table(target: IO[bytes], table: npt.NDArray[Any]) -> None:
    np.lib.format.write_array_header_1_0(target, np.lib.format.header_data_from_array_1_0(table))
    target.write(table.tobytes() if len(table) < 1 else table.view(np.uint8).data)
    target.write(bytes(-target.tell() % ALIGNED))


def _mapped(source: IO[bytes], file: Path) -> npt.NDArray[Any]:
    """The table that stands next, mapped: what is written into it stays in this process. Raises
    `ValueError`."""
    np.lib.format.read_magic(source)
    shape, _, dtype = np.lib.format.read_array_header_1_0(source)
    at, size = source.tell(), shape[0] * dtype.itemsize
    source.seek(at + size + -(at + size) % ALIGNED)
    if not size:
        return np.empty(0, dtype)
    return np.memmap(file, dtype, "c", at, shape).view(np.ndarray)


def _encoded(event: Command | Bars | Market) -> bytes:
    return encode(Input("", 0, 0, event))  # type: ignore[arg-type] - of commands there are only those of ours


def _market(data: bytes) -> Market:
    event = decode_input(data).event
    assert isinstance(event, Market)
    return event


def _told_as(event: Command | Bars | Market | Vouched) -> bytes | bool:
    return event.live if isinstance(event, Vouched) else _encoded(event)


def _at(place: int, offset: int, told: bytes | bool, watermark: int, close: int, trade: int, bar: int) -> At:
    event = Vouched(told) if isinstance(told, bool) else decode_input(told).event
    assert isinstance(event, Command | Bars | Market | Vouched)
    return At(place, offset, event, watermark, close, trade, bar)
