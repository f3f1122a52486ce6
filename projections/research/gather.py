"""One pass over a journal partition: of one market the bars of some timeframes, each with the trade that
fills what its close decides, and all that happens between them.

It says a second time what the fold does with a record (`projections.fold.pipeline`, `tape`, `matching`), as
far as it does not depend on bots: which records and trades are repeats, which trades are late, when somebody
vouches for the data. With the fold it shares candles and identities alone. Nothing is kept of the ticks.

Why: ADR 31.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from projections.fold.by_market import MarketRows, by_market
from projections.fold.candles import CandleBook
from projections.fold.seen_ids import SeenIds
from projections.research.arrays import IN_MEMORY, Zeros
from projections.research.columns import At, Columns, Happening, Vouched
from projections.research.found import Found
from streams.codec import input_of
from streams.events import (
    BACKFILL,
    MINUTE_NS,
    Bars,
    Clock,
    Command,
    CreateBot,
    Feed,
    Gap,
    GapFilled,
    HaltBot,
    Market,
    RegisterBot,
    RowKind,
    RowMarket,
    Rules,
    TickBatch,
)
from streams.feeds import Feeds
from streams.gaps import Gaps
from streams.genesis import check_rules, fits, genesis_of
from streams.records import Input, Record
from streams.ticks import I8, unpack

V = npt.NDArray[np.void]

WEEK_MINUTES = 7 * 24 * 60
"""A record that would close more minutes is refused."""
REQUESTS_KNOWN = 4096
"""Of so many commands, the newest, the request is known, by which a repeat is told."""
NUMBER_MAX = 2**63 - 1
_NEVER_CHANGED = (
    "base", "quote", "settle", "contract", "multiplier", "multiplier_scale", "closed", "grace_ms",
    "horizon_min",
)  # fmt: skip
_NO_TIMES = np.empty(0, np.int64)
_NO_KINDS = np.empty(0, np.uint8)


class ChainError(Exception):
    """The journal is not what was folded; the message names the record and what to do."""


def gather(
    records: Iterable[Record],
    market: str,
    timeframes: Sequence[str],
    dead: Collection[int] = (),
    checkpoints: Mapping[int, str] | None = None,
    zeros: Zeros = IN_MEMORY,
) -> list[Columns]:
    """The columns of a market, for each timeframe, from the records of its partition, from record 0 on.

    `dead`: the offsets of records that the engine could not take, as recorded; they are left out. A record
    that cannot be decoded or folded and is none of them ends the range before it. `checkpoints`: the chain up
    to a record, by its offset, as recorded.

    Raises `LookupError` for a market that has no specification there, naming those that have, `ValueError`
    for records that do not follow one another, `ChainError` where the chain is not the recorded one, and
    `JournalRefusedError` as the fold does.
    """
    recorded = checkpoints or {}
    found = _Gathering(market, timeframes, zeros)
    for record in records:
        if record.offset != found.offset + 1:
            raise ValueError(f"{record.place}: the record {found.offset + 1} is due")
        if not found.take(record, dead=record.offset in dead):
            break
        due = recorded.get(record.offset)
        if due is not None and due != found.chain.hex():
            raise ChainError(
                f"{record.place}: up to here the journal is not what the engine folded: its checkpoint says"
                f" {due}, the records give {found.chain.hex()}; `tcpdashboard verify` names what was changed"
            )
    if found.book is None:
        known = ", ".join(sorted(found.markets)) or "none"
        raise LookupError(f"market {market} is not in the journal partition; there: {known}")
    return [found.columns(timeframe) for timeframe in timeframes]


def linked(chain: bytes, record: Record) -> bytes:
    """The journal's hash chain with one more record, as checkpoints hold it."""
    parts = [record.key or b""]
    for name, value in record.headers:
        parts += [name.encode(), value]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    count = len(record.headers).to_bytes(8, "big")
    hashed = sha256(chain + record.time_ms.to_bytes(8, "big", signed=True) + count + framed)
    hashed.update(record.value)
    return hashed.digest()


class _Event(NamedTuple):
    """An `At` to be."""

    place: int
    offset: int
    event: Happening
    watermark: int
    close: int


class _Sequence(Struct):
    epoch: int
    due: int


class _Gathering:
    """A market's history as far as it was read: up to `offset`."""

    def __init__(self, key: str, timeframes: Sequence[str], zeros: Zeros) -> None:
        self.key = key
        self.offset = -1
        self.chain = bytes(32)
        self.markets: dict[str, Market] = {}
        self.book: CandleBook | None = None
        self.eras: list[Market] = []
        self.events: list[_Event] = []
        self._sources: dict[str, _Sequence] = {}
        self._requests: dict[str, None] = {}
        self._found = Found(list(timeframes), zeros)
        self._place = 0
        self._seen = SeenIds()
        self._gaps = Gaps()
        self._feeds = Feeds()
        self._live = True

    def take(self, record: Record, *, dead: bool) -> bool:
        """False for a record with which the range ends."""
        if record.offset == 0:
            genesis_of(record)
        if dead:
            with suppress(ValueError):
                self._is_new(input_of(record))
        elif not self._folded(record):
            return False
        self.chain, self.offset = linked(self.chain, record), record.offset
        return True

    def _folded(self, record: Record) -> bool:
        """False, and nothing told of it, for a record that the fold refuses."""
        mark, events, eras = self._found.mark(), len(self.events), len(self.eras)
        try:
            entry = input_of(record)
            if self._is_new(entry):
                self._fold(entry, record)
        except (ValueError, OverflowError):
            self._found.back(mark)
            del self.events[events:], self.eras[eras:]
            return False
        return True

    def _is_new(self, entry: Input) -> bool:
        """False for a repeated request, or a repeated record of a source. Raises `ValueError`."""
        if not entry.source:
            request: str = getattr(entry.event, "request", "")
            if not request:
                return True
            if request in self._requests:
                return False
            self._requests[request] = None
            if len(self._requests) > REQUESTS_KNOWN:
                del self._requests[next(iter(self._requests))]
            return True
        if not (0 <= entry.epoch < NUMBER_MAX and 0 <= entry.sequence < NUMBER_MAX):
            raise ValueError(f"source {entry.source}: epoch {entry.epoch}, sequence {entry.sequence}")
        known = self._sources.get(entry.source)
        if known is not None and (entry.epoch, entry.sequence) < (known.epoch, known.due):
            return False
        self._sources[entry.source] = _Sequence(entry.epoch, entry.sequence + 1)
        return True

    def _fold(self, entry: Input, record: Record) -> None:
        event = entry.event
        match event:
            case TickBatch():
                self._ticks(event, entry.source, record)
            case Clock():
                self._clock(event, entry.source, record)
            case Market():
                self._market(event, record)
            case Feed() | Gap() | GapFilled():
                self._word(event, record)
            case Rules():
                if fits(event):
                    check_rules(event.number, record.place)
            case RegisterBot():
                pass
            case CreateBot() | Bars():
                self._command(event, event.market, record)
            case HaltBot(bot_id=None):
                self._command(event, self.key, record)
            case Command():
                self._command(event, (record.key or b"").decode(), record)
            case _:
                pass

    def _command(self, event: Command | Bars, key: str, record: Record) -> None:
        if key == self.key and self.book is not None:
            self._happens(event, record.offset, self.book.watermark)

    def _happens(self, event: Happening, offset: int, watermark: int) -> None:
        """It has a place, and what it decides waits for a trade."""
        self._found.event(len(self.events), watermark)
        self.events.append(_Event(self._place, offset, event, watermark, self._found.close))
        self._place += 1

    # ------------------------------------------------------------ specification, and words of sources

    def _market(self, event: Market, record: Record) -> None:
        old = self.markets.get(event.key)
        if old is not None:
            _check_change(old, event)
        if event.key == self.key:
            self._own_market(old, event, record)
        self.markets[event.key] = event

    def _own_market(self, old: Market | None, event: Market, record: Record) -> None:
        if old is None or self.book is None:
            grace, horizon = event.grace_ms * 1_000_000, event.horizon_min * MINUTE_NS
            self.book = CandleBook(closed=event.closed, grace_ns=grace, horizon_ns=horizon)
        else:
            price = 10 ** (event.price_scale - old.price_scale)
            self.book.rescale(price, 10 ** (event.size_scale - old.size_scale))
            self._happens(event, record.offset, self.book.watermark)
            self._found.rescale(price)
        self.eras.append(event)

    def _word(self, event: Feed | Gap | GapFilled, record: Record) -> None:
        if event.market != self.key or self.book is None:
            return
        if isinstance(event, Feed):
            self._feeds.note(event)
            self._vouch(record.offset)
        else:
            self._gaps.note(event)
            mark = self.book.gap if isinstance(event, Gap) else self.book.gap_filled
            closed = mark(event.start, event.end, record.offset).closed
            rows = MarketRows(_NO_TIMES, _NO_TIMES, _NO_TIMES, _NO_KINDS, None, None)
            self._found_in(closed, rows, record.offset)
        self._place += 1

    def _vouch(self, offset: int) -> None:
        live = self._feeds.live
        if live != self._live and self.book is not None:
            self._live = live
            self._happens(Vouched(live), offset, self.book.watermark)

    # ------------------------------------------------------------ rows

    def _ticks(self, batch: TickBatch, source: str, record: Record) -> None:
        ticks = unpack(batch)
        for number, entry in enumerate(batch.markets):
            price, size = self._factors(entry)
            if entry.key == self.key:
                rows = by_market(ticks, len(batch.markets))[number]
                rows = rows._replace(price=_times(rows.price, price), size=_times(rows.size, size))
                self._rows(rows, source, record.offset)

    def _factors(self, entry: RowMarket) -> tuple[int, int]:
        """By which a batch's prices and sizes stand at the market's scales. Raises `ValueError`."""
        market = self.markets.get(entry.key)
        if market is None:
            raise ValueError(f"market {entry.key} has no specification yet")
        price, size = market.price_scale - entry.price_scale, market.size_scale - entry.size_scale
        if min(price, size) < 0:
            raise ValueError(f"market {entry.key}: rows at larger scales than its own")
        return 10**price, 10**size

    def _clock(self, clock: Clock, source: str, record: Record) -> None:
        unknown = [key for key in clock.markets if key not in self.markets]
        if unknown:
            raise ValueError(f"market {unknown[0]} has no specification yet")
        zero, kind = np.zeros(1, np.int64), np.array([RowKind.CLOCK], np.uint8)
        for key in clock.markets:
            if key == self.key:
                time = np.array([clock.time], np.int64)
                self._rows(MarketRows(time, zero, zero, kind, None, None), source, record.offset)

    def _rows(self, rows: MarketRows, source: str, offset: int) -> None:
        assert self.book is not None
        rows = self._fresh(rows)
        self._check_silence(rows)
        self._note_source(rows, source, offset)
        folded = self.book.fold(rows.time, rows.price, rows.size, rows.kind, offset)
        if len(folded.late) or len(folded.revising):
            kind = rows.kind.copy()
            kind[folded.late] |= BACKFILL
            kind[folded.revising] |= BACKFILL
            rows = rows._replace(kind=kind)
        if len(folded.closed) or self._found.waits:
            self._found_in(folded.closed, rows, offset)
        self._place += len(rows.time)

    def _note_source(self, rows: MarketRows, source: str, offset: int) -> None:
        """Whose row was the last, backfill aside: its word counts."""
        if source == self._feeds.source and not self._feeds.known:
            return
        given = rows.kind < BACKFILL
        if given.any():
            self._feeds.rows(source, int(rows.time[given].max()))
            self._vouch(offset)

    def _fresh(self, rows: MarketRows) -> MarketRows:
        """Without the trades that were there before."""
        if rows.id is None:
            return rows
        scales = (self.eras[-1].price_scale, self.eras[-1].size_scale)
        fresh = self._seen.add(rows.id, rows.time, rows.price, rows.size, scales).fresh
        if fresh.all():
            return rows
        number = np.flatnonzero(fresh) if rows.row is None else rows.row[fresh]
        columns = (rows.time[fresh], rows.price[fresh], rows.size[fresh], rows.kind[fresh])
        return MarketRows(*columns, None, number)

    def _check_silence(self, rows: MarketRows) -> None:
        """Raises `ValueError`."""
        assert self.book is not None
        span = int(rows.time.max(initial=0)) - self.book.watermark
        if span > WEEK_MINUTES * MINUTE_NS and self.book.closing(rows.time, rows.kind) > WEEK_MINUTES:
            raise ValueError(f"market {self.key}: the record would close more than {WEEK_MINUTES} minutes")

    def _found_in(self, closed: V, rows: MarketRows, offset: int) -> None:
        record = np.array([self._place, offset, len(self.eras) - 1, self._live], np.int64)
        self._found.rows(closed, rows, record)

    # ------------------------------------------------------------ what was found

    def columns(self, timeframe: str) -> Columns:
        bars, final, revisions, trades, filling = self._found.parts(timeframe, len(self.events))
        places = np.array([event.place for event in self.events], np.int64)
        before = np.searchsorted(bars["place"], places)
        ends = zip(self.events, filling.tolist(), before.tolist(), strict=True)
        events = tuple(At(*event, trade, bar) for event, trade, bar in ends)
        return Columns(
            self.key, timeframe, tuple(self.eras), bars, final, revisions, trades, events, 0, self.offset,
            self.chain.hex(),
        )  # fmt: skip


def _times(column: I8, factor: int) -> I8:
    """Raises `OverflowError`."""
    if factor == 1:
        return column
    if len(column) and int(np.abs(column).max()) > NUMBER_MAX // factor:
        raise OverflowError(f"a value of {int(np.abs(column).max())} × {factor} exceeds 64 bits")
    return column * factor


def _check_change(old: Market, new: Market) -> None:
    """Raises `ValueError` for a specification that cannot follow."""
    changed = [name for name in _NEVER_CHANGED if getattr(old, name) != getattr(new, name)]
    scales = ("price_scale", "size_scale", "cash_scale")
    shrunk = [name for name in scales if getattr(old, name) > getattr(new, name)]
    if changed or shrunk:
        raise ValueError(f"{new.key}: {(changed + shrunk)[0]} cannot change so")
