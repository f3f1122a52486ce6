"""Many sets of parameters of one compiled strategy, side by side over the same bars.

Bars go in pieces that fit a processor's cache. For each, every distinct indicator is computed once, into a
column; each set's signal goes over these columns and gives the bars at which its target changes; its account
goes from one change to the next (`projections.research.walk`). What is kept of a set is a row, whatever the
number of bars, so bars that do not fit memory may come one `Prepared` after another.

Why: ADR 33.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from projections.research import tally
from projections.research.account import BOT, HAPPENED, MARK, ROOM
from projections.research.columns import I8, At, Floats, Vouched
from projections.research.daily import days_of
from projections.research.decide import MODES, RUNNING
from projections.research.money import CASH, SCRATCH
from projections.research.prepared import Prepared, era_before
from projections.research.run import ON_STALE
from projections.research.statistics import unit_of
from projections.research.tally import TALLY, TRIP
from projections.research.walk import WALK, fill_up_to, over_changes, vouch
from projections.strategies.code import CompiledCode, StrategyCompileError, error_text, no_position
from streams.events import Market, OnStale, Sizing

PIECE = 1_440
"""Bars of a piece."""
GONE = 2**62
"""Where a set begins whose strategy has failed."""


class Account(NamedTuple):
    """How each set's account begins: `cash` in units of the cash scale of the first bar's market."""

    sizing: Sizing
    short: bool
    cash: int
    on_stale: OnStale = "hold"


class _Column(NamedTuple):
    """An indicator with each of its U distinct sets of arguments: a row of `parameters` f8[U, P] and of
    `state` f8[U, K] for each, and the bar that it begins with."""

    parameters: Floats
    state: Floats
    begins: I8
    outputs: int


class Sets:
    """S sets, their bots created before the bar `first`, each warmed on so many bars before it.

    `tallies` TALLY[S], `accounts` int64[S, 5] and `days` int64[S, D], the equity at the ends of UTC days
    `ends` int64[D], tell what became of them. `failures`: by set, at which bar its strategy failed, and how.
    One whose bot is `lost` (`bots` BOT[S]) needs a trade that the columns do not hold.
    """

    def __init__(
        self, code: CompiledCode, parameters: Floats, prepared: Prepared, first: int, warm: I8, how: Account
    ) -> None:
        """`parameters` f8[S, P] as `code` packs them; `warm` int64[S].

        Raises StrategyCompileError, also for a strategy whose sets share nothing.
        """
        sharing = code.sharing
        if sharing is None:
            raise StrategyCompileError("its step is of a form that is run one set at a time")
        self.code, self.sharing, self.first = code, sharing, first
        self.parameters = np.ascontiguousarray(parameters)
        count = len(parameters)
        self.begins = first - warm
        self.positions = np.zeros(count)
        self.bots = np.zeros(count, BOT)
        self.accounts = np.zeros((count, 5), np.int64)
        self.tallies, self.trips = np.zeros(count, TALLY), np.zeros(count, TRIP)
        self.failures: dict[int, tuple[int, str]] = {}
        self._columns, self._which = self._distinct()
        self._begin(prepared, how)
        self._room = _Room(count)

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

    def _begin(self, prepared: Prepared, how: Account) -> None:
        bots, before = self.bots, [at.event for at in prepared.columns.events if at.bar < self.first]
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
            tally.begin(row, how.cash, prepared.begin(self.first))

    # ------------------------------------------------------------ over bars

    def over(self, prepared: Prepared, last: int) -> None:
        """The bars up to `last` − 1, where they are `walkable`."""
        self._prepared = prepared
        days = days_of(prepared.ends[self.first : last])
        self.ends, self._day_bars = days.ends, days.last + self.first
        self.days = np.empty((len(self.bots), len(days.ends)), np.int64)
        for first, to in _pieces(int(self.begins.min()), self.first):
            self._signals(first, to)
        self.bots["target"] = self.positions
        at = self.first
        for event in _events(prepared, self.first, last):
            self._until(at, event.bar)
            self._meet(event)
            at = event.bar
        self._until(at, last)

    def _until(self, first: int, last: int) -> None:
        for start, to in _pieces(first, last):
            self._signals(start, to)
            self._walk(start, to)

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
        columns = [np.empty((len(column.begins) * column.outputs, last - first)) for column in self._columns]
        for k, (column, out) in enumerate(zip(self._columns, columns, strict=True)):
            sharing.columns[k](
                values, self._prepared.ends, first, last, column.begins, column.parameters, column.state, out
            )
        room.counts[:] = 0
        start, at, fault = 0, np.zeros(2, np.int64), np.zeros(1)
        while start < len(self.begins):
            with self.code.foreign():
                try:
                    start = sharing.changes(
                        values, first, last, start, self.begins, self._which, self.parameters,
                        self.positions, room.bars, room.targets, room.counts, *columns, at, fault,
                    )  # fmt: skip
                    said = error_text(no_position(fault[0]))
                except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                    start, said = int(at[0]), error_text(error)
            if start < len(self.begins):
                self.failures[start] = int(at[1]), said
                self.begins[start], self.bots["fails"][start] = GONE, at[1]
                start += 1

    def _walk(self, first: int, last: int) -> None:
        """Each account over the bars of a piece."""
        room, prepared = self._room, self._prepared
        lacking = first + np.flatnonzero(prepared.incomplete[first:last])
        self._with_money(
            over_changes, prepared.steps, prepared.columns.trades, prepared.closes, prepared.ends, lacking,
            first, last, room.bars, room.targets, room.counts, self._day_bars, self.days,
            int(np.searchsorted(self._day_bars, first)), room.walk, room.marks, room.out,
        )  # fmt: skip


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
    """What a piece is worked in: of each of S sets the `bars` at which its target changes, its `targets`
    there, and the `counts` of them."""

    def __init__(self, count: int) -> None:
        self.bars = np.empty((count, PIECE), np.int64)
        self.targets = np.empty((count, PIECE))
        self.counts = np.zeros(count, np.int64)
        self.words = np.zeros(SCRATCH, np.uint64)
        self.walk, self.marks, self.out = np.zeros(1, WALK), np.empty(0, MARK), np.empty(2 * ROOM, HAPPENED)
