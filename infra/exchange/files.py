"""Import of recorded trades: files → records of the journal, once each, whatever interrupts it.

    files in the order of their first trades ─► rows (`without_strays`) ─► records ─► journal

Each file is a source of its own, so that every one goes on where it ended. The minute stays open between
them, and is closed behind the last. Why: ADR 28.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infra.exchange.pieces import FileReadError
from infra.exchange.provider import clock_rows, is_new
from infra.exchange.readers import reported
from infra.exchange.strays import without_strays
from infra.exchange.trade_file import BadRowError, Others, Run, TradeFile
from infra.present.values import iso
from streams.events import BACKFILL, MINUTE_NS, Gap, JournalEvent, Market, RowMarket
from streams.journal import JournalState, JournalWriter, Reached, SourceState, lost_entry, next_epoch
from streams.log import Log
from streams.pace import DAY_NS
from streams.records import Entry, partition_of
from streams.ticks import I8, Ticks, concatenate, pack

RECORD_ROWS = 5_000
SEND_RECORDS = 16
"""Records of one append: enough to hide its price, few enough to stay small in memory."""
IDENTITY_BYTES = 64 * 1024


class OldFileError(ValueError):
    """A file that begins before the market's watermark."""


@dataclass(frozen=True)
class ImportOptions:
    """`backfill` marks the trades as fetched afterwards, `skip_bad` makes a bad row a dead letter, `gaps`
    records what seems to be missing. `more` leaves the last minute open; `until` (ns) closes up to there."""

    backfill: bool = False
    skip_bad: bool = False
    gaps: bool = False
    more: bool = False
    until: int | None = None
    record_rows: int = RECORD_ROWS


@dataclass
class Imported:
    """What became of the rows that were read: `rows` is the sum of the next four.

    `there`: the journal held them already. `records` were appended at the `offsets` of the market's
    partition, a market's specification among them. `missing` says what seems to be missing.
    """

    rows: int = 0
    appended: int = 0
    there: int = 0
    others: int = 0
    bad: int = 0
    records: int = 0
    offsets: list[range] = field(default_factory=list[range])
    missing: list[str] = field(default_factory=list[str])


Progress = Callable[[float, Path], None]
"""Called with the fraction of all files that is read, and the file that is being read."""


def file_source(file: TradeFile, market: str) -> str:
    """The name of a file's content as a source: a file that was moved, or has grown, goes on.

    One that is read from its end has its rows numbered from there, so it is known by all of its content.
    """
    with reported(file.path), file.path.open("rb") as raw:
        if file.layout.newest_first:
            what = hashlib.file_digest(raw, "sha256")
        else:
            what = hashlib.sha256(raw.read(IDENTITY_BYTES))
    for part in (file.options.member, file.layout.symbol):
        if part is not None:
            what.update(b"\0" + part.encode())
    return f"file:{what.hexdigest()}:{market}"


def in_order(files: Sequence[TradeFile]) -> list[TradeFile]:
    """By their first trades."""
    return sorted(files, key=lambda file: file.sample.first_time)


def import_files(
    log: Log,
    files: Sequence[TradeFile],
    market: Market,
    state: JournalState,
    options: ImportOptions,
    imported: Imported,
    progress: Progress | None = None,
) -> None:
    """Append the trades of files to their market's journal partition, after those that are already there.

    `state` is what the journal holds of the market and of each file as a source. `imported` says at any
    time what became of the rows. Raises `FileReadError` and `BadRowError` (the rows before are then in the
    journal), `OldFileError`, `LogError`, and `ValueError` when the market's scales would shrink.
    """
    newest = state.newest.get(market.key, Reached()).time
    job = _Import(log, market, options, imported, newest)
    if is_new(market, state.markets.get(market.key)):
        job.pending.append(market)
    before = SourceState()
    for number, file in enumerate(files):
        source = file_source(file, market.key)
        place = state.source(source)
        # where the file before was left open, an import was interrupted, or goes on as `more` said
        goes_on = place.epoch >= 0 or (before.epoch >= 0 and not before.finished)
        writer = JournalWriter(log, source, next_epoch(place.epoch), {market.key: Reached(job.newest)})
        job.begin(file, writer, place)
        for read in job.read(None if options.backfill or goes_on else newest):
            if progress is not None:
                progress((number + read) / len(files), file.path)
        before = place
    job.finish()


@dataclass
class _Import:
    """One run of an import. The last trades are held back, because the clock row rides with them.

    `newest`: how far the market's time has come (ns), 0 where it has none.
    """

    log: Log
    market: Market
    options: ImportOptions
    imported: Imported
    newest: int
    pending: list[JournalEvent] = field(default_factory=list[JournalEvent])
    letters: list[Entry] = field(default_factory=list[Entry])
    held: Run | None = None
    last_time: int = 0
    numbered: "_Numbered | None" = None
    before: "_Numbered | None" = None
    file: TradeFile = field(init=False)
    writer: JournalWriter = field(init=False)
    place: SourceState = field(init=False)
    next_row: int = field(init=False)
    """The first row of the file that the journal did not hold when this run began."""

    def begin(self, file: TradeFile, writer: JournalWriter, place: SourceState) -> None:
        """Go on with a file, of which the journal holds the rows before `place`."""
        if self.held is not None or self.numbered is not None:
            self.stop()
        self.file, self.writer, self.place = file, writer, place
        self.next_row = place.reached.get(self.market.key, Reached()).row
        self.before, self.numbered = self.numbered, None

    def read(self, not_before: int | None) -> Iterator[float]:
        """The rows of the file, up to a damage; the first trade may not be before `not_before`, in ns."""
        try:
            for read, found in without_strays(self.file, self.market, self.options.until):
                if isinstance(found, Others):
                    self.imported.rows += found.rows
                    self.imported.others += found.rows
                elif isinstance(found, BadRowError):
                    self._bad(found)
                else:
                    _check_age(self.file, found.ticks, not_before)
                    not_before = None
                    self._good(found)
                yield read
        except (BadRowError, FileReadError):
            self.stop()
            raise

    def _good(self, run: Run) -> None:
        rows = run.ticks.rows
        known = min(rows, max(0, self.next_row - run.first_row))
        self.imported.rows += rows
        self.imported.there += known
        self.last_time = max(self.last_time, int(run.ticks.time.max()))
        if self.numbered is None:
            self.numbered = _Numbered(self.file.path)
            if self.before is not None and (jump := self.before.jump(run.ticks)):
                self._missing(jump, self.before.time, int(run.ticks.time[0]), new=not known)
        self.numbered.add(run.ticks)
        while known < rows:
            self._release()
            end = known + self._rows_to_silence(run.ticks.time[known : known + self.options.record_rows])
            self.held = run.part(known, end)
            known = end

    def _rows_to_silence(self, times: I8) -> int:
        """How many of the rows come before a day without a trade, which is told where it ends."""
        first = int(times[0])
        if self.newest and first - self.newest > DAY_NS:
            self._missing("no trade", self.newest, first, new=True)
        newest = np.maximum.accumulate(np.maximum(times, self.newest))
        silences = np.flatnonzero(times[1:] - newest[:-1] > DAY_NS)
        rows = int(silences[0]) + 1 if len(silences) else len(times)
        self.newest = int(newest[rows - 1])
        return rows

    def _missing(self, what: str, start: int, end: int, *, new: bool) -> None:
        self.imported.missing.append(f"{self.file.path}: {what} between {iso(start)} and {iso(end)}")
        if self.options.gaps and new and start < end - 1:
            self.pending.append(Gap(market=self.market.key, start=start, end=end - 1, reason=what))

    def _bad(self, error: BadRowError) -> None:
        """A row that is no trade. Raises it unless it is to be skipped, or was by an earlier run."""
        self.imported.rows += 1
        self.imported.bad += 1
        if error.place <= self.next_row:
            return
        if not self.options.skip_bad:
            raise error
        partition = partition_of(self.market.key.encode(), self.log.partitions)
        source, key = self.writer.source, self.market.key.encode()
        self.letters.append(
            lost_entry(str(error), key, partition, error.data, source=source, sequence=error.row)
        )

    def stop(self) -> None:
        """Write what came before the damage, without the promise that it was all."""
        self._release()
        self._send(sync=True)

    def finish(self) -> None:
        """Write what is left, and close the minutes up to the end of the last begun."""
        end = self.options.until or minute_end(self.last_time, self.market)
        closed = end < self.newest or (end == self.newest and self.place.finished)
        if not self.options.more and self.last_time and (self.held is not None or not closed):
            ticks = [] if self.held is None else [self._marked(self.held.ticks)]
            first_row = self.next_row if self.held is None else self.held.first_row
            clock = clock_rows(np.zeros(1, np.uint16), end)
            self.pending.append(pack(self._table, concatenate([*ticks, clock]), first_row=first_row))
            self.imported.appended += sum(part.rows for part in ticks)
            self.held = None
        self.stop()

    @property
    def _table(self) -> tuple[RowMarket]:
        return (RowMarket(self.market.key, self.market.price_scale, self.market.size_scale),)

    def _release(self) -> None:
        if self.held is None:
            return
        ticks = self._marked(self.held.ticks)
        self.pending.append(pack(self._table, ticks, first_row=self.held.first_row))
        self.imported.appended += ticks.rows
        self.held = None
        if len(self.pending) >= SEND_RECORDS:
            self._send(sync=False)

    def _marked(self, ticks: Ticks) -> Ticks:
        return ticks._replace(kind=ticks.kind | np.uint8(BACKFILL)) if self.options.backfill else ticks

    def _send(self, *, sync: bool) -> None:
        """Dead letters go first: a run that ends in between tells of a bad row twice, never not."""
        if self.letters:
            self.log.append(self.letters, sync=sync)
            self.letters = []
        for position in self.writer.append_all([(self.market.key, e) for e in self.pending], sync=sync):
            self.imported.records += 1
            _extend(self.imported.offsets, position.offset)
        self.pending = []


@dataclass
class _Numbered:
    """The trade ids of a file: `contiguous` where each is the one before plus 1."""

    path: Path
    contiguous: bool = True
    last: int | None = None
    time: int = 0

    def add(self, ticks: Ticks) -> None:
        self.time = max(self.time, int(ticks.time.max()))
        first = _first_of_contiguous(ticks)
        self.contiguous &= first is not None and (self.last is None or first == self.last + 1)
        if ticks.id is not None:
            self.last = int(ticks.id[-1])

    def jump(self, after: Ticks) -> str | None:
        """What is missing between this file and the next, which begins with `after`."""
        first = _first_of_contiguous(after)
        if not self.contiguous or self.last is None or first is None or first <= self.last + 1:
            return None
        missing = first - self.last - 1
        return f"ids jump from {self.last} in {self.path.name} to {first}: {missing:,} trades are missing"


def _first_of_contiguous(ticks: Ticks) -> int | None:
    ids = ticks.id
    return int(ids[0]) if ids is not None and ids[0] >= 0 and bool((np.diff(ids) == 1).all()) else None


def _extend(ranges: list[range], offset: int) -> None:
    if ranges and ranges[-1].stop == offset:
        ranges[-1] = range(ranges[-1].start, offset + 1)
    else:
        ranges.append(range(offset, offset + 1))


def _check_age(file: TradeFile, ticks: Ticks, not_before: int | None) -> None:
    first = int(ticks.time[0])
    if not_before is not None and first < not_before:
        newest_first = "; it is newest first, and one that has grown can't go on where it ended"
        raise OldFileError(
            f"{file.path}: its first trade is of {iso(first)}, and the market's candles are closed up to"
            f" {iso(not_before)}: import it into a fresh home (TCPD_HOME), in one command with the files"
            " before it, or after them where they were imported with --more, which leaves the last minute"
            " open; or as a backfill (--backfill), which revises candles and never fills an order"
            + (newest_first if file.layout.newest_first else "")
        )


def minute_end(time_ns: int, market: Market) -> int:
    """The end of the minute that a trade belongs to, by the market's `closed`."""
    shift = MINUTE_NS if market.closed == "left" else MINUTE_NS - 1
    return (time_ns + shift) // MINUTE_NS * MINUTE_NS
