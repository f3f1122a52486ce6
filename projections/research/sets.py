"""Many sets of parameters of one compiled strategy, side by side over the same bars.

Bars go in pieces that fit a processor's cache. For each, every distinct indicator is computed once, into a
column; each set's signal goes over these columns and gives the bars at which its target changes; its account
goes from one change to the next (`projections.research.walk`). What is kept of a set is a row, whatever the
number of bars, and `over` one part of them after another gives what `over` all does: each part goes on from
where the one before ended, so a split along time saves memory, and no time.

Why: ADR 33.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from projections.research import tally
from projections.research.account import BOT, HAPPENED, MARK, ROOM
from projections.research.arrays import passing
from projections.research.columns import I8, At, Floats, Vouched
from projections.research.daily import DAY_NS, days_of
from projections.research.decide import MODES, RUNNING
from projections.research.money import CASH, SCRATCH
from projections.research.prepared import Prepared, era_before
from projections.research.run import ON_STALE, Failure
from projections.research.statistics import unit_of
from projections.research.tally import TALLY, TRIP
from projections.research.walk import WALK, fill_up_to, over_changes, vouch
from projections.strategies.code import CompiledCode, StrategyCompileError, error_text, no_position
from streams.events import Market, OnStale, Sizing

PIECE = 1_440
"""Bars of a piece."""
COLUMNS = 96
"""Columns of a piece that are there at once: 1 MB."""
GONE = 2**62
"""Where a set begins whose strategy has failed."""


class Account(NamedTuple):
    """How each set's account begins: `cash` in units of the cash scale of the first bar's market."""

    sizing: Sizing
    short: bool
    cash: int
    on_stale: OnStale = "hold"


class ColumnError(Exception):
    """An author's block raised: which of the sets it concerns, is known when each is run alone."""


class _Column(NamedTuple):
    """An indicator with each of its U distinct sets of arguments: a row of `parameters` f8[U, P] and of
    `state` f8[U, K] for each, and the bar that it begins with."""

    parameters: Floats
    state: Floats
    begins: I8
    outputs: int


class Sets:
    """S sets on their way over bars, their bots created before the first and each warmed on so many before.

    `tallies` TALLY[S], `accounts` int64[S, 5] and `days` int64[S, D], the equity at the ends of UTC days
    `ends` int64[D], tell what became of them; `failures`, by set, how its strategy failed. One whose bot is
    `lost` (`bots` BOT[S]) needs a trade that the columns do not hold.
    """

    def __init__(
        self, code: CompiledCode, parameters: Floats, prepared: Prepared, first: int, warm: I8, how: Account
    ) -> None:
        """`parameters` f8[S, P] as `code` packs them; `warm` int64[S].

        Raises StrategyCompileError, also for a strategy whose sets share nothing, and ColumnError.
        """
        sharing = code.sharing
        if sharing is None:
            raise StrategyCompileError("its step is of a form that is run one set at a time")
        self.code, self.sharing = code, sharing
        self.parameters = np.ascontiguousarray(parameters)
        count = len(parameters)
        self.begins = first - np.asarray(warm, np.int64)
        self.positions = np.zeros(count)
        self.bots = np.zeros(count, BOT)
        self.accounts = np.zeros((count, 5), np.int64)
        self.tallies, self.trips = np.zeros(count, TALLY), np.zeros(count, TRIP)
        self.failures: dict[int, Failure] = {}
        self.ends: I8 = np.empty(0, np.int64)
        self.days: I8 = np.empty((count, 0), np.int64)
        self._columns, self._which = self._distinct()
        self._room = _Room(count, [len(one.begins) * one.outputs for one in self._columns])
        self._prepared, self._first, self._at = prepared, first, first
        self._begin(how)

    def _distinct(self) -> tuple[list[_Column], I8]:
        """The distinct indicators, and for each set which of them it has."""
        names = [p.name for p in self.code.parameters]
        columns: list[_Column] = []
        which = np.empty((len(self.parameters), len(self.sharing.lines)), np.int64)
        for k, line in enumerate(self.sharing.lines):
            given = self.parameters[:, [names.index(name) for name in line.arguments]]
            keys = np.column_stack([self.begins, given])
            _, rows, which[:, k] = np.unique(keys, axis=0, return_index=True, return_inverse=True)
            state = np.zeros((len(rows), line.state))
            columns.append(_Column(self.parameters[rows], state, self.begins[rows], line.outputs))
        return columns, which

    def _begin(self, how: Account) -> None:
        """The bots are there, and warm."""
        bots, prepared, first = self.bots, self._prepared, self._first
        before = [at.event for at in prepared.columns.events if at.bar < first]
        bots["live"], bots["fails"], bots["at"] = 1, -1, -1
        bots["era"] = sum(isinstance(event, Market) for event in before)
        for event in before:
            if isinstance(event, Vouched):
                bots["live"] = event.live
        bots["mode"], bots["sizing"] = MODES.index(how.sizing.mode), how.sizing.value
        bots["sizing_scale"] = how.sizing.scale
        bots["short"], bots["on_stale"] = how.short, ON_STALE[how.on_stale]
        bots["standing"], bots["unmarked"], bots["steps"], bots["resumes"] = RUNNING, 1, 1, 1
        self.accounts[:, CASH] = how.cash
        for row in self.tallies:
            tally.begin(row, how.cash, prepared.begin(first))
        for start, to in _pieces(int(self.begins.min()), first):
            self._signals(start, to)
        bots["target"] = self.positions

    # ------------------------------------------------------------ over bars

    def over(self, last: int) -> None:
        """The bars up to `last` − 1, where they are `walkable`. Raises ColumnError."""
        first, prepared = self._at, self._prepared
        days = days_of(prepared.ends[first:last])
        self._day_bars, before = days.last + first, self._days_before(days.ends)
        self.days = passing((len(self.bots), len(days.ends)), np.int64)
        for event in _events(prepared, first, last):
            self._until(event.bar)
            self._meet(event)
        self._until(last)
        self.ends = np.concatenate([self.ends, days.ends])
        self.days = np.concatenate([before, self.days], axis=1)

    def _days_before(self, ends: I8) -> I8:
        """The equity at the ends of all days before these, also of days without a bar."""
        if not len(self.ends):
            return self.days
        midnights = np.arange(int(self.ends[0]), int(ends[0]), DAY_NS, dtype=np.int64)
        last = np.minimum(np.arange(len(midnights), dtype=np.int64), len(self.ends) - 1)
        self.ends = midnights
        return self.days[:, last]

    def _until(self, last: int) -> None:
        for first, to in _pieces(self._at, last):
            self._signals(first, to)
            self._walk(first, to)
        self._at = last

    def _meet(self, at: At) -> None:
        """What happens to the market happens to each bot."""
        self._with_money(fill_up_to, self._prepared.columns.trades, at.place, self._room.out)
        if isinstance(at.event, Vouched):
            live = at.event.live
            vouch(self.accounts, self.bots, live, at.watermark, at.close, at.trade, self._room.out)
        else:
            self.bots["era"] += 1

    def _with_money(self, do: Callable[..., None], *given: Any) -> None:
        """Call what is compiled with what functions of accounts begin with."""
        era = int(self.bots["era"][0])
        market = self._prepared.columns.eras[era]
        do(
            self._prepared.constants[era], self._room.words, self.accounts, self.bots, self.tallies,
            self.trips, unit_of(market), market.contract == "inverse", *given,
        )  # fmt: skip

    def _signals(self, first: int, last: int) -> None:
        """The changes of each set's target."""
        room, sharing, values = self._room, self.sharing, self._prepared.values
        with self.code.foreign():
            try:
                for compute, column, out in zip(sharing.columns, self._columns, room.columns, strict=True):
                    given, state, begins, _ = column
                    compute(values, self._prepared.ends, first, last, begins, given, state, out)
            except BaseException as error:
                raise ColumnError(error_text(error)) from error
        start = 0
        while start < len(self.begins):
            start, said = self._ask(first, last, start, len(self.begins), careful=False)
            if said:  # perhaps only where several bars were asked at once
                done, said = self._ask(first, last, start, start + 1, careful=True)
                if said:
                    self._fail(done, said)
                start += 1

    def _ask(self, first: int, last: int, start: int, stop: int, *, careful: bool) -> tuple[int, str]:
        """The changes of these sets; the set at which that ended, and how it failed, "" for all done."""
        room = self._room
        with self.code.foreign():
            try:
                done = self.sharing.changes(
                    self._prepared.values, first, last, start, stop, careful, self.begins, self._which,
                    self.parameters, self.positions, room.bars, room.targets, room.rows, room.at,
                    room.fault, *room.columns,
                )  # fmt: skip
            except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                return int(room.at[0]), error_text(error)
        return done, "" if done == stop else error_text(no_position(room.fault[0]))

    def _fail(self, s: int, said: str) -> None:
        bar = int(self._room.at[1])
        self.failures[s] = Failure(int(self._prepared.ends[bar]), bar > self._first, said)
        self.begins[s], self.bots["fails"][s] = GONE, bar

    def _walk(self, first: int, last: int) -> None:
        """Each account over the bars of a piece."""
        room, prepared = self._room, self._prepared
        lacking = first + np.flatnonzero(prepared.incomplete[first:last])
        self._with_money(
            over_changes, prepared.steps, prepared.columns.trades, prepared.closes, prepared.ends, lacking,
            first, last, room.bars, room.targets, room.rows, self._day_bars, self.days,
            int(np.searchsorted(self._day_bars, first)), room.walk, room.marks, room.out,
        )  # fmt: skip


def groups(code: CompiledCode, parameters: Floats, warm: I8) -> Iterator[slice]:
    """Sets next to each other whose columns fit a processor's cache together."""
    lines = code.sharing.lines if code.sharing is not None else ()
    names = [p.name for p in code.parameters]
    places = [[names.index(name) for name in line.arguments] for line in lines]
    seen: list[set[tuple[float, ...]]] = [set() for _ in lines]
    begun = 0
    for s, (row, begins) in enumerate(zip(parameters.tolist(), warm.tolist(), strict=True)):
        own = [(begins, *(row[place] for place in given)) for given in places]
        rows = sum(
            line.outputs * (len(known) + (key not in known))
            for line, known, key in zip(lines, seen, own, strict=True)
        )
        if rows > COLUMNS and s > begun:
            yield slice(begun, s)
            begun = s
            for known in seen:
                known.clear()
        for known, key in zip(seen, own, strict=True):
            known.add(key)
    yield slice(begun, len(parameters))


def walkable(prepared: Prepared, first: int, last: int) -> bool:
    """Whether sets can be walked over these bars: amounts stay at one scale, and sizes at one worth."""
    era = era_before(prepared, first)
    count = sum(isinstance(at.event, Market) for at in _events(prepared, first, last))
    eras = prepared.columns.eras[era : era + count + 1]
    return len({(m.price_scale, m.size_scale, m.cash_scale, unit_of(m)) for m in eras}) == 1


def _events(prepared: Prepared, first: int, last: int) -> list[At]:
    """What happens to the market between these bars."""
    events = prepared.columns.events
    return [at for at in events if first <= at.bar < last and isinstance(at.event, Market | Vouched)]


def _pieces(first: int, last: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last, PIECE):
        yield start, min(start + PIECE, last)


class _Room:
    """What a piece is worked in: one set behind the other the `bars` at which its target changes and its
    `targets` there, those of set `s` from `rows[s]` to before `rows[s + 1]`, so that memory is touched as far
    as they go; and the `columns` of the indicators, so many rows each."""

    def __init__(self, count: int, rows: Sequence[int]) -> None:
        self.columns = [passing((most, PIECE), np.float64) for most in rows]
        self.bars = passing((count * PIECE,), np.int64)
        self.targets = passing((count * PIECE,), np.float64)
        self.rows = np.zeros(count + 1, np.int64)
        self.at, self.fault = np.zeros(2, np.int64), np.zeros(1)
        self.words = np.zeros(SCRATCH, np.uint64)
        self.walk, self.marks, self.out = np.zeros(1, WALK), np.empty(0, MARK), np.empty(2 * ROOM, HAPPENED)
