"""The journal records of one partition that are within a range, and the commands to bots that belong to it.

Commands before the range are given where their market's part of it begins, each bot warmed on the candles
that it had seen; what was signalled from outside before is over. Within the range everything stands at its
place.

Why: ADR 25.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from msgspec.structs import replace

from infra.upkeep.before_range import (
    WHOLE,
    Before,
    Edge,
    Range,
    Sources,
    before_first,
    first_within,
)
from projections.fold.warm import CANDLES_MAX
from projections.history import END, NONE, Rows, bars_of
from streams.codec import DAMAGED, encode, input_of
from streams.events import (
    TIMEFRAMES_NS,
    Bars,
    Clock,
    Command,
    CreateBot,
    ExternalSignal,
    Feed,
    Gap,
    GapFilled,
    HaltBot,
    IdsReset,
    JournalEvent,
    Market,
    ReconfigureBot,
    RegisterBot,
    Rules,
    StartBot,
    TickBatch,
    Timeframe,
    WarmedCommand,
    named_above,
)
from streams.journal import bars_entry, command_entry
from streams.records import Entry, Input, Record
from streams.ticks import Ticks, pack, trades, unpack
from streams.topics import JOURNAL

WHO = "replay"

Creations = Callable[[Market, Edge | None, Record], list[Entry]]
"""Commands that create the given bots of a market, once: at the edge of a range, or behind its
specification."""


class _Held(NamedTuple):
    """A command that waits for its place in the copy."""

    record: Record
    event: Command | Bars


class Cutter:
    """`creations` None: with the recorded commands. `warm`: bots begin with what lies before the range."""

    def __init__(
        self, partition: int, span: Range, before: Before, creations: Creations | None, *, warm: bool
    ) -> None:
        self._partition, self._span, self._before = partition, span, before
        self._creations, self._warm = creations, warm
        self._held: list[Entry] = []
        """Commands that are kept if a kept row comes after them."""
        self._early: defaultdict[str, list[_Held]] = defaultdict(list)
        """By market, the commands before its part of the range."""
        self._begun: set[str] = set()
        self._bars: set[str] = set()
        """Names of the warm-ups that are copied."""
        self._sources = Sources()
        self._sequences: dict[str, int] = defaultdict(int)
        self._passed: set[str] = set()
        self._time_ms = 0
        self.left_out = 0
        """Records that hold no event: only a whole copy has a place for them."""

    def entries(self, record: Record) -> Iterator[tuple[Entry, int]]:
        """What is kept of a record, after the commands held back for it, each with its trades."""
        whole, self._time_ms = self._span == WHOLE, record.time_ms
        try:
            entry = input_of(record)
            ticks = unpack(entry.event) if isinstance(entry.event, TickBatch) else None
        except ValueError:
            self.left_out += not whole
            if whole:
                yield _copy(record), 0
            return
        event = entry.event
        if isinstance(event, Command) or (isinstance(event, Bars) and event.warm_up):
            yield from self._to_bots(record, event)
        elif whole:
            yield _copy(record), _trades(ticks)
        elif self._sources.is_new(entry):
            yield from self._within(record, entry, ticks)
        if isinstance(event, Market) and self._creations and self._span.after is None:
            yield from ((made, 0) for made in self._creations(event, None, record))

    def last(self) -> Iterator[Entry]:
        """The promise that markets whose trades go on behind the range are complete up to its end."""
        if self._passed:
            assert self._span.until is not None
            keys = tuple(sorted(self._passed))
            clock = encode(Input(WHO, 0, 0, Clock(time=self._span.until, markets=keys)))
            yield Entry(JOURNAL, keys[0].encode(), clock, self._time_ms, self._partition)

    # ------------------------------------------------------------ rows

    def _within(self, record: Record, entry: Input, ticks: Ticks | None) -> Iterator[tuple[Entry, int]]:
        event = entry.event
        if isinstance(event, TickBatch) and ticks is not None:
            yield from self._rows(record, entry, event, ticks)
        elif isinstance(event, Clock):
            yield from self._clock(record, entry, event)
        elif self._keeps(event):
            yield self._numbered(record, entry.source, event), 0

    def _rows(
        self, record: Record, entry: Input, batch: TickBatch, ticks: Ticks
    ) -> Iterator[tuple[Entry, int]]:
        since = np.array([self._since(market.key) for market in batch.markets])
        inside = ticks.time > since[ticks.market]
        if self._span.until is not None:
            inside &= ticks.time <= self._span.until
            behind = np.unique(ticks.market[ticks.time > self._span.until]).tolist()
            self._passed.update(batch.markets[index].key for index in behind)
        first = first_within(batch, ticks, self._span)
        first = {key: row for key, row in first.items() if self._begins(key, record)}
        early = before_first(batch, ticks, first)
        yield from self._part(record, entry.source, batch, ticks.take(inside & early))
        for key in first:
            yield from self._begin(key, record)
        yield from self._part(record, entry.source, batch, ticks.take(inside & ~early))

    def _part(
        self, record: Record, source: str, batch: TickBatch, rows: Ticks
    ) -> Iterator[tuple[Entry, int]]:
        if rows.rows:
            yield from self._flush()
            kept = pack(batch.markets, rows, received=batch.received)
            yield self._numbered(record, source, kept), _trades(rows)

    def _clock(self, record: Record, entry: Input, clock: Clock) -> Iterator[tuple[Entry, int]]:
        if self._span.until is not None and clock.time > self._span.until:
            return
        markets = tuple(key for key in clock.markets if clock.time > self._since(key))
        if not markets:
            return
        yield from self._flush()
        for key in markets:
            if self._begins(key, record):
                yield from self._begin(key, record)
        yield self._numbered(record, entry.source, replace(clock, markets=markets)), 0

    def _keeps(self, event: JournalEvent) -> bool:
        match event:
            case Market() | Rules() | Bars():
                return True
            case Feed(market=key, since=since):  # what counts at the edge was said before it
                return self._span.holds(since) if not self._warm else self._ends_within(since)
            case Gap(market=key, end=end) | GapFilled(market=key, end=end) | IdsReset(market=key, since=end):
                return end > self._since(key) and self._ends_within(end)
            case _:
                return False

    def _ends_within(self, time_ns: int) -> bool:
        return self._span.until is None or time_ns <= self._span.until

    def _since(self, market: str) -> int:
        """Rows of a market with later times are kept."""
        if market in self._before.edges:
            return self._before.edges[market].since
        return -1 if self._span.after is None else self._span.after

    def _numbered(self, record: Record, source: str, event: JournalEvent) -> Entry:
        entry = Input(source, 0, self._sequences[source], event)
        self._sequences[source] += 1
        return _copy(record, encode(entry))

    # ------------------------------------------------------------ commands to bots

    def _to_bots(self, record: Record, event: Command | Bars) -> Iterator[tuple[Entry, int]]:
        if self._creations:
            return
        if self._span == WHOLE or isinstance(event, RegisterBot):
            # registrations give ids, which a range does not change
            yield _copy(record), 0
            return
        market = (record.key or b"").decode()
        if isinstance(event, HaltBot) and event.bot_id is None:
            for key in self._before.edges.keys() - self._begun:
                self._early[key].append(_Held(record, event))
        elif self._span.after is not None and market not in self._begun:
            self._early[market].append(_Held(record, event))
            return
        self._hold(record, event)

    def _hold(self, record: Record, event: Command | Bars) -> None:
        """Keep a command within the range for its place."""
        if isinstance(event, Bars):
            if not self._warm:
                return
            self._bars.add(event.warm_up)
        if isinstance(event, WarmedCommand) and not self._bars.issuperset(event.warm_ups.values()):
            cold = replace(event, warm_up="", warm_candles=0, warm_higher=None)
            record = record._replace(value=encode(Input("", 0, 0, cast(JournalEvent, cold))))
        self._held.append(_copy(record))

    def _flush(self) -> Iterator[tuple[Entry, int]]:
        yield from ((held, 0) for held in self._held)
        self._held = []

    def _begins(self, market: str, record: Record) -> bool:
        edge = self._before.edges.get(market)
        return edge is not None and edge.offset == record.offset and market not in self._begun

    def _begin(self, market: str, record: Record) -> Iterator[tuple[Entry, int]]:
        """The commands that come before a market's part of the range."""
        self._begun.add(market)
        edge = self._before.edges[market]
        made = self._creations(edge.market, edge, record) if self._creations else self._recorded(market, edge)
        yield from ((entry, 0) for entry in made)

    def _recorded(self, market: str, edge: Edge) -> Iterator[Entry]:
        early = self._early.pop(market, [])
        warmed = _last_beginnings(early) if self._warm else set()
        timeframes: dict[int, Timeframe] = {}
        for number, (record, event) in enumerate(early):
            match event:
                case Bars() | ExternalSignal():
                    continue
                case HaltBot(bot_id=None):
                    for bot_id in timeframes:
                        halt = replace(event, request=f"{event.request}:{bot_id}", bot_id=bot_id)
                        yield command_entry(halt, market, self._partition, record.time_ms)
                case WarmedCommand():
                    if isinstance(event, CreateBot):
                        timeframes[event.bot_id] = event.timeframe
                    own = timeframes.get(event.bot_id, "1m")
                    rows: dict[Timeframe, Rows] = {own: NONE}
                    if number in warmed and event.bot_id in timeframes:
                        rows = self._seen_by(event, own, record, edge)
                    yield from warmed_entries(event, market, rows, record)
                case _:
                    yield _copy(record)

    def _seen_by(
        self, event: WarmedCommand, own: Timeframe, record: Record, edge: Edge
    ) -> dict[Timeframe, Rows]:
        """The candles that a bot had seen at the edge which began anew with this command."""
        warmed: dict[Timeframe, int] = {own: event.warm_candles}
        for timeframe in sorted(self._before.above.get(event.bot_id, ()), key=TIMEFRAMES_NS.__getitem__):
            warmed[timeframe] = (event.warm_higher or {}).get(timeframe, 0)
        seen, found = self._before.seen[record.offset], dict[Timeframe, Rows]()
        for timeframe, candles in warmed.items():
            found[timeframe] = edge.candles[timeframe][max(0, seen[timeframe] - candles) :]
        return found


def warmed_entries(
    command: WarmedCommand, market: str, rows: Mapping[Timeframe, Rows], at: Record
) -> Iterator[Entry]:
    """A command behind the candles that its bot is warmed on, in the partition of `at` and at its time;
    `rows`: by timeframe, the bot's own first."""
    name = f"{WHO}:{command.request}"
    kept: dict[Timeframe, Rows] = {
        timeframe: _in_a_row(timeframe, candles) for timeframe, candles in rows.items()
    }
    own = next(iter(kept))
    if len(kept[own]):
        for timeframe, candles in kept.items():
            called = name if timeframe == own else named_above(name, timeframe)
            for bars in bars_of(candles, market, timeframe, called):
                yield bars_entry(bars, at.partition, at.time_ms)
    command = replace(
        command,
        warm_up=name if len(kept[own]) else "",
        warm_candles=len(kept[own]),
        warm_higher={one: len(kept[one]) for one in kept if one != own and len(kept[own])} or None,
    )
    yield command_entry(command, market, at.partition, at.time_ms)


def _in_a_row(timeframe: Timeframe, rows: Rows) -> Rows:
    """The newest, behind the last hole."""
    holes = np.flatnonzero(np.diff(rows[:, END]) != TIMEFRAMES_NS[timeframe])
    return rows[int(holes[-1]) + 1 if len(holes) else 0 :][-CANDLES_MAX:]


def _last_beginnings(commands: Sequence[_Held]) -> set[int]:
    """By their numbers, the commands with which the bots began anew for the last time."""
    codes: dict[int, str | None] = {}
    found: dict[int, set[int]] = {}
    for number, (_, event) in enumerate(commands):
        if isinstance(event, StartBot) and event.code_hash in (None, codes.get(event.bot_id)):
            if event.warm_up:  # it stepped no more; whether it does in the copy, the candles before it tell
                found.setdefault(event.bot_id, set()).add(number)
        elif isinstance(event, CreateBot | StartBot | ReconfigureBot):
            codes[event.bot_id] = event.code_hash or codes.get(event.bot_id)
            found[event.bot_id] = {number}
    return set().union(*found.values())


def _trades(ticks: Ticks | None) -> int:
    return 0 if ticks is None else trades(ticks.kind)


def _copy(record: Record, value: bytes | None = None) -> Entry:
    if record.damaged:
        value = DAMAGED.encode()  # in its place: its bytes must not look sound in the copy
    return Entry(JOURNAL, record.key, value or record.value, record.time_ms, record.partition, record.headers)
