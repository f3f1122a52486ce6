"""Import of recorded trades: a file → records of the journal, once each, whatever interrupts it."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra.exchange.provider import Delivery, clock_rows, is_new
from infra.exchange.readers import FileReadError, reported
from infra.exchange.trade_file import BadRowError, FileOptions, Run, TradeFile
from streams.events import BACKFILL, MINUTE_NS, JournalEvent, Market, RowMarket
from streams.journal import JournalWriter, Reached, SourceState, lost_entry, next_epoch, scan
from streams.log import Log
from streams.records import Entry, partition_of
from streams.ticks import Ticks, concatenate, pack

RECORD_ROWS = 5_000
SEND_RECORDS = 16
"""Records of one append: enough to hide its price, few enough to stay small in memory."""
IDENTITY_BYTES = 64 * 1024


class OldFileError(ValueError):
    """A file that begins before the market's watermark."""


class ImportResult(NamedTuple):
    """ticks: appended by this run; total: of this file in the journal; records: appended by this
    run, a market's specification among them; bad_rows: passed over, each a dead letter.
    """

    ticks: int
    total: int
    records: int
    bad_rows: int


Progress = Callable[[float, int], None]
"""Called with the fraction of the file that is read, and the ticks appended so far."""


def file_source(path: Path, market: str) -> str:
    """The name of a file's content as a source: a file that was moved, or has grown, goes on."""
    with reported(path), path.open("rb") as file:
        return f"file:{hashlib.sha256(file.read(IDENTITY_BYTES)).hexdigest()}:{market}"


def import_file(
    log: Log,
    path: Path,
    market: Market,
    *,
    options: FileOptions | None = None,
    known: Market | None = None,
    scan_from: int = 0,
    watermark: int | None = None,
    backfill: bool = False,
    skip_bad: bool = False,
    record_rows: int = RECORD_ROWS,
    progress: Progress | None = None,
) -> ImportResult:
    """Append a file's trades to its market's journal partition, after those that are already there.

    `known` is the market's specification at the journal offset `scan_from`, which must not be after
    the last record of this file; without them the partition is read from its start. `watermark` is
    the market's, in ns. `backfill` marks the trades as fetched afterwards. With `skip_bad` a bad
    row becomes a dead letter.

    Raises `FileReadError` and `BadRowError` (the rows before are then in the journal),
    `OldFileError` (nothing is), `LogError`, and `ValueError` when the market's scales would
    shrink.
    """
    file = TradeFile(path, options)
    source = file_source(path, market.key)
    state = scan(log, [_partition(log, market)], start=scan_from, source=source)
    place = state.source(source)
    reached = max(watermark or 0, state.newest.get(market.key, Reached()).time)
    job = _Import(
        log,
        JournalWriter(log, source, next_epoch(place.epoch), {market.key: Reached(reached)}),
        market,
        place,
        kind_bits=BACKFILL if backfill else 0,
        record_rows=record_rows,
    )
    if is_new(market, state.markets.get(market.key, known)):
        job.pending.append(market)
    not_before = None if backfill or place.epoch >= 0 else watermark
    _append(job, file, not_before, skip_bad=skip_bad, progress=progress)
    job.finish()
    return ImportResult(job.ticks, job.total, job.records, job.bad_rows)


def _append(
    job: "_Import", file: TradeFile, not_before: int | None, *, skip_bad: bool, progress: Progress | None
) -> None:
    """The rows of the file, up to a damage; the first trade may not be before `not_before`, in ns."""
    try:
        for fraction, found in file.runs(job.market):
            if isinstance(found, BadRowError):
                job.bad(found, skip=skip_bad)
            else:
                _check_age(file.path, found.ticks, not_before)
                not_before = None
                job.good(found)
            if progress is not None:
                progress(fraction, job.ticks)
    except (BadRowError, FileReadError):
        job.stop()
        raise


class FileReplay:
    """A `DataProvider` that hands out a recorded file as a live exchange would: for a collector,
    among other providers. Register it under its `source`, so that it goes on after the last row.
    """

    def __init__(self, path: Path, market: Market, options: FileOptions | None = None) -> None:
        self._file, self._market = TradeFile(path, options), market
        self.source = file_source(path, market.key)

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [self._market] if self._market.symbol in symbols else []

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Run | BadRowError | int, None]:
        """The trades and bad rows that are not in the journal, and the end (ns) of the last minute begun.

        Raises `FileReadError`.
        """
        known = reached.get(self._market.key, Reached()).row
        runs, last_time = self._file.runs(self._market), 0
        while (found := await asyncio.to_thread(next, runs, None)) is not None:
            if isinstance(found[1], BadRowError):
                if found[1].row > known:  # else an earlier run has told of it
                    yield found[1]
                continue
            first_row, ticks = found[1]
            last_time = max(last_time, int(ticks.time.max()))
            for start in range(max(0, known - first_row), ticks.rows, RECORD_ROWS):
                yield Run(first_row + start, ticks.take(slice(start, start + RECORD_ROWS)))
        yield _minute_end(last_time, self._market)

    def parse(self, raw: Run | BadRowError | int) -> Delivery:
        if isinstance(raw, BadRowError):
            raise raw
        keys = (self._market.key,)
        if isinstance(raw, int):
            return Delivery(keys, clock_rows(np.empty(0, np.uint16), raw), clock=raw)
        return Delivery(keys, raw.ticks, first_row=raw.first_row)


def _partition(log: Log, market: Market) -> int:
    return partition_of(market.key.encode(), log.partitions)


def _check_age(path: Path, ticks: Ticks, not_before: int | None) -> None:
    first = int(ticks.time[0])
    if not_before is not None and first < not_before:
        raise OldFileError(
            f"{path}: its first trade is of {_iso(first)}, and the market's candles are closed up to "
            f"{_iso(not_before)}: import it into a fresh home (TCPD_HOME), or as a backfill "
            "(--backfill), which revises candles and never fills an order"
        )


def _iso(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns')}Z"


@dataclass
class _Import:
    """One run of an import. The last trades are held back, because the clock row rides with
    them."""

    log: Log
    writer: JournalWriter
    market: Market
    place: SourceState
    kind_bits: int
    record_rows: int
    pending: list[JournalEvent] = field(default_factory=list[JournalEvent])
    letters: list[Entry] = field(default_factory=list[Entry])
    held: Run | None = None
    last_time: int = 0
    ticks: int = 0
    total: int = 0
    records: int = 0
    bad_rows: int = 0

    def good(self, run: Run) -> None:
        """Trades; those that the journal holds already count in `total` only."""
        self.total += run.ticks.rows
        self.last_time = max(self.last_time, int(run.ticks.time.max()))
        known = min(run.ticks.rows, max(0, self.next_row - run.first_row))
        for start in range(known, run.ticks.rows, self.record_rows):
            self._release()
            rows = run.ticks.take(slice(start, start + self.record_rows))
            self.held = Run(run.first_row + start, rows)

    def bad(self, error: BadRowError, *, skip: bool) -> None:
        """A row that is no trade. Raises it unless it is to be skipped."""
        if error.row <= self.next_row:
            return  # an earlier run has told of it
        if not skip:
            raise error
        self.bad_rows += 1
        partition = _partition(self.log, self.market)
        key, source = self.market.key.encode(), file_source(error.file, self.market.key)
        self.letters.append(
            lost_entry(str(error), key, partition, error.data, source=source, sequence=error.row)
        )

    def stop(self) -> None:
        """Write what came before the damage, without the promise that it was all."""
        self._release()
        self._send(sync=True)

    def finish(self) -> None:
        """Write what is left, with a clock row at the end of the last minute begun."""
        if self.held is not None or (self.total and not self.place.finished):
            ticks = [] if self.held is None else [self._marked(self.held.ticks)]
            first_row = self.next_row if self.held is None else self.held.first_row
            clock = clock_rows(np.zeros(1, np.uint16), _minute_end(self.last_time, self.market))
            self.pending.append(pack(self._table, concatenate([*ticks, clock]), first_row=first_row))
            self.ticks += sum(part.rows for part in ticks)
            self.held = None
        self._send(sync=True)

    @property
    def next_row(self) -> int:
        """The first row that the journal did not hold when this run began."""
        return self.place.reached.get(self.market.key, Reached()).row

    @property
    def _table(self) -> tuple[RowMarket]:
        return (RowMarket(self.market.key, self.market.price_scale, self.market.size_scale),)

    def _release(self) -> None:
        if self.held is None:
            return
        ticks = self._marked(self.held.ticks)
        self.pending.append(pack(self._table, ticks, first_row=self.held.first_row))
        self.ticks += ticks.rows
        self.held = None
        if len(self.pending) >= SEND_RECORDS:
            self._send(sync=False)

    def _marked(self, ticks: Ticks) -> Ticks:
        return ticks._replace(kind=ticks.kind | np.uint8(self.kind_bits))

    def _send(self, *, sync: bool) -> None:
        """Dead letters go first: a run that ends in between tells of a bad row twice, never not."""
        if self.letters:
            self.log.append(self.letters, sync=sync)
            self.letters = []
        positions = self.writer.append_all([(self.market.key, e) for e in self.pending], sync=sync)
        self.records += len(positions)
        self.pending = []


def _minute_end(time_ns: int, market: Market) -> int:
    """The end of the minute that a trade belongs to, by the market's `closed`."""
    shift = MINUTE_NS if market.closed == "left" else MINUTE_NS - 1
    return (time_ns + shift) // MINUTE_NS * MINUTE_NS
