"""One market of a partition: its candles, its bots and its waiting orders, in the order of the journal.

The order within a record, row by row, is the heart of "live equals backtest":

1. a row that closes candles closes them (1m … 1d), and each steps the bots of its timeframe by bot id;
2. the row fills orders that were decided at an earlier row.

So the closing trade never fills what it decided, and a strategy never sees a candle that is not closed.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from projections.bots import Bot, CandleHistory, Group, GroupKey, Step
from projections.candles import CandleBook, Folded
from projections.decide import Rules, decide
from projections.fills import Waiting, fill
from projections.money import Account, equity
from projections.seen_ids import SeenIds
from projections.strategies.code import History, Strategies
from projections.strategies.parameters import StrategyParameterError
from streams import events
from streams.events import (
    BACKFILL,
    MINUTE_NS,
    BotChanged,
    Candle,
    CandleFlag,
    Cause,
    DerivedEvent,
    Equity,
    Fill,
    LateTick,
    Market,
    Order,
    OrderClosed,
    RowKind,
    Signal,
    Timeframe,
)
from streams.topics import BOTS, CANDLES, SIGNALS, TRADES

TIMEFRAMES: tuple[Timeframe, ...] = get_args(Timeframe)
FIXED = (
    "base", "quote", "settle", "contract", "multiplier", "multiplier_scale",
    "closed", "grace_ms", "horizon_min",
)  # fmt: skip
"""What of a specification never changes: recorded candles and money were made with it."""
MARKS_MAX = 4096
"""Rows of one `Equity` event; keeps its record far below the limit."""

Ints = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]
EMPTY, INCOMPLETE = int(CandleFlag.EMPTY), int(CandleFlag.INCOMPLETE)
"""As plain integers: an enum costs more than the candle."""
Emit = Callable[[str, DerivedEvent], Cause]


class CommandError(ValueError):
    """A command that this market's history does not allow; it becomes a dead letter with these words."""


class TapeState(Struct, frozen=True, array_like=True):
    """Everything of a `Tape`, canonical: the same history gives the same bytes."""

    market: Market
    book: bytes
    seen: list[list[int]]
    repeats: int
    bots: list[Bot]
    groups: list[tuple[GroupKey, list[Any]]]
    histories: list[tuple[str, list[bytes]]]
    unmarked: list[list[int]]
    last_close: int


class Tape:
    """State of one market. `fold_rows` and the commands emit derived events through `emit`."""

    def __init__(self, market: Market, strategies: Strategies) -> None:
        self.market = market
        self.strategies = strategies
        self.book = CandleBook(
            closed=market.closed,
            grace_ns=market.grace_ms * 1_000_000,
            horizon_ns=market.horizon_min * MINUTE_NS,
        )
        self.seen = SeenIds()
        self.repeats = 0
        self.bots: dict[int, Bot] = {}
        self.groups: dict[GroupKey, Group] = {}
        self.histories: dict[str, CandleHistory] = {}
        self.waiting: dict[int, Bot] = {}
        self.unmarked: dict[str, set[int]] = {timeframe: set() for timeframe in TIMEFRAMES}
        self.last_close = 0
        self.emit: Emit
        self.offset = -1

    def begin(self, offset: int, emit: Emit) -> None:
        """A new journal record: orders that waited before it may be filled by any of its rows."""
        self.offset, self.emit = offset, emit
        for bot in self.waiting.values():
            assert bot.order is not None
            bot.order.row = -1

    # ------------------------------------------------------------ rows

    def fold_rows(
        self,
        time: Ints,
        price: Ints,
        size: Ints,
        kind: Kinds,
        ids: Ints | None,
    ) -> None:
        """Fold rows of this market, shape (n,) each, in order, at the market's scales."""
        if ids is not None:
            fresh = self.seen.add(ids)
            if not fresh.all():
                self.repeats += len(fresh) - int(fresh.sum())
                time, price, size, kind = time[fresh], price[fresh], size[fresh], kind[fresh]
        folded = self.book.fold(time, price, size, kind, self.offset)
        late = folded.late.tolist()
        cursor = 0
        for row, closed in groupby(folded.closed.tolist(), key=lambda c: c[0]):
            while late and late[0] < row:
                self._late(late.pop(0), time, price, size)
            self._fill(time, price, kind, cursor, row)
            for candle in closed:
                self._candle(candle, int(time[row]), row)
            cursor = row
        self._fill(time, price, kind, cursor, len(time))
        for row in late:
            self._late(row, time, price, size)

    def gap(self, start: int, end: int, *, filled: bool) -> None:
        """Mark (start, end] as possibly missing, or as complete again."""
        mark = self.book.gap_filled if filled else self.book.gap
        self._revise(mark(start, end, self.offset))

    def _revise(self, folded: Folded) -> None:
        for candle in folded.closed.tolist():
            self._candle(candle, self.book.watermark, 0)

    def _late(self, row: int, time: Ints, price: Ints, size: Ints) -> None:
        m = self.market
        late = LateTick(int(time[row]), int(price[row]), int(size[row]), m.price_scale, m.size_scale)
        self.emit(CANDLES, late)

    def _candle(self, closed: tuple[int, ...], now: int, row: int) -> None:
        (
            _,
            frame,
            end,
            revision,
            _,
            open_,
            high,
            low,
            _,
            close,
            volume,
            trades,
            flags,
            first,
            last,
        ) = closed
        m, timeframe = self.market, TIMEFRAMES[frame]
        self.emit(
            CANDLES,
            Candle(
                timeframe, end, revision, open_, high, low, close, volume, trades,
                m.price_scale, m.size_scale,
                bool(flags & EMPTY), bool(flags & INCOMPLETE), first, last,
            ),
        )  # fmt: skip
        if revision == 0:
            self.last_close = close
            self._step(timeframe, end, now, row, (open_, high, low, close, volume))
            self._mark(timeframe, end, close)

    # ------------------------------------------------------------ bots

    def _step(
        self, timeframe: str, end: int, now: int, row: int, ohlcv: tuple[int, int, int, int, int]
    ) -> None:
        groups = [(key, group) for key, group in self.groups.items() if key.timeframe == timeframe]
        if not groups:
            return
        history = self.histories[timeframe]
        unit, close = 10**self.market.price_scale, ohlcv[3]
        open_, high, low, _, volume = ohlcv
        floats = (open_ / unit, high / unit, low / unit, close / unit, volume / 10**self.market.size_scale)
        history.append(end, floats, max(group.lookback for _, group in groups))
        candles = History(history.ends, history.values)
        steps = [step for _, group in groups for step in group.step(candles, history.last)]
        for step in sorted(steps, key=lambda s: s.bot_id):
            bot = self.bots[step.bot_id]
            if step.failure is None:
                self._signal(bot, step, end, now, row, close, "strategy")
            else:
                code = "strategy_changed" if step.failure == "strategy_changed" else "strategy_error"
                self._fail(bot, end, code, step.failure)

    def _signal(self, bot: Bot, step: Step, time: int, now: int, row: int, close: int, origin: Any) -> None:
        m = self.market
        rules = Rules(bot.status, bot.sizing, bot.short)
        decision = decide(m, rules, bot.account, step.target, close)
        cause = self.emit(
            SIGNALS,
            Signal(
                bot.bot_id, time, bot.timeframe, step.target, step.previous, step.values, close,
                m.price_scale, "executed" if decision.executed else "refused", decision.code, origin,
            ),
        )  # fmt: skip
        if decision.executed:
            self._cancel(bot, time, "superseded")
        if decision.size:
            self._order(bot, decision.size, time, now, row, close, "signal", cause)

    def _order(
        self,
        bot: Bot,
        size: int,
        time: int,
        now: int,
        row: int,
        price: int,
        reason: str,
        signal: Cause | None,
    ) -> None:
        m, buy = self.market, size > 0
        side = "buy" if buy else "sell"
        order = Order(bot.bot_id, time, side, abs(size), price, m.price_scale, m.size_scale, reason, signal)
        bot.order = Waiting(self.emit(TRADES, order), buy, abs(size), now, row)
        self.waiting[bot.bot_id] = bot

    def _cancel(self, bot: Bot, time: int, code: str) -> None:
        if bot.order is not None:
            self.emit(TRADES, OrderClosed(bot.bot_id, time, bot.order.order, "cancelled", code))
            bot.order = None
            del self.waiting[bot.bot_id]

    def _fill(
        self,
        time: Ints,
        price: Ints,
        kind: Kinds,
        start: int,
        stop: int,
    ) -> None:
        """Fill waiting orders with the trades of rows start ≤ row < stop."""
        if not self.waiting or start >= stop:
            return
        found: dict[tuple[int, int], int] = {}
        due: list[tuple[int, int]] = []
        for bot_id, bot in self.waiting.items():
            assert bot.order is not None
            begin = (max(start, bot.order.row + 1), bot.order.decided)
            if begin not in found:
                found[begin] = _first_trade(time, kind, *begin, stop)
            if found[begin] >= 0:
                due.append((found[begin], bot_id))
        for row, bot_id in sorted(due):
            self._fill_one(self.bots[bot_id], int(time[row]), int(price[row]), row)

    def _fill_one(self, bot: Bot, time: int, price: int, row: int) -> None:
        m, order = self.market, bot.order
        assert order is not None
        result = fill(m, bot.account, order, price)
        bot.order = None
        del self.waiting[bot.bot_id]
        if result.traded is not None:
            bot.account = after = result.traded.account
            self.unmarked[bot.timeframe].add(bot.bot_id)
            self.emit(
                TRADES,
                Fill(
                    bot.bot_id, time, order.order, "buy" if order.buy else "sell", result.price, result.size,
                    result.traded.fee, result.traded.realised, after.position, after.cost, after.cash,
                    m.settle, m.price_scale, m.size_scale, m.cash_scale, row,
                ),
            )  # fmt: skip
        if result.rejected is not None:
            status = "rejected" if result.traded is None else "cancelled"
            self.emit(TRADES, OrderClosed(bot.bot_id, time, order.order, status, result.rejected))

    def _mark(self, timeframe: str, end: int, close: int) -> None:
        marks: list[tuple[int, int, int, int]] = []
        unmarked = self.unmarked[timeframe]
        for bot_id in sorted(unmarked):
            bot = self.bots[bot_id]
            account = bot.account
            if not account.position:
                unmarked.remove(bot_id)
            mark = (account.cash, account.position, equity(self.market, account, close))
            if mark != bot.mark:
                bot.mark = mark
                marks.append((bot_id, *mark))
        for first in range(0, len(marks), MARKS_MAX):
            columns = zip(*marks[first : first + MARKS_MAX], strict=True)
            ids, cash, position, value = (tuple(column) for column in columns)
            self.emit(
                BOTS,
                Equity(end, ids, cash, position, value, self.market.cash_scale, self.market.size_scale),
            )

    # ------------------------------------------------------------ commands

    def create(self, command: events.CreateBot) -> None:
        if command.bot_id in self.bots:
            raise CommandError(f"bot {command.bot_id} exists already")
        factor = _grown(command.cash_scale, self.market.cash_scale, "cash")
        cash = command.cash * factor
        bot = Bot(
            command.bot_id, command.timeframe, command.strategy, command.code_hash, command.params,
            command.sizing, command.short, cash, Account(cash).check(),
        )  # fmt: skip
        self.bots[bot.bot_id] = bot
        self.unmarked[bot.timeframe].add(bot.bot_id)
        if self._join(bot, command.at, command.who, 0.0):
            status, words = ("running", "created and started") if command.start else ("stopped", bot.words)
            self._change(bot, command.at, status, "created", words, command.who)

    def start(self, command: events.StartBot) -> None:
        bot = self._bot(command.bot_id)
        accepts = command.code_hash is not None and command.code_hash != bot.code_hash
        if accepts or not bot.steps:
            self._leave(bot)
            bot.code_hash = command.code_hash or bot.code_hash
            if not self._join(bot, command.at, command.who, _held(bot)):
                return
        if bot.status != "running" or accepts:
            self._change(bot, command.at, "running", "started", "started", command.who)

    def stop(self, command: events.StopBot) -> None:
        bot = self._bot(command.bot_id)
        self._cancel(bot, command.at, "bot_stopped")
        if bot.status == "running":
            self._change(bot, command.at, "stopped", "stopped", "stopped", command.who)
        if command.flatten and bot.account.position:
            last = self.book.watermark
            self._order(bot, -bot.account.position, command.at, last, -1, 0, "flatten", None)

    def halt(self, command: events.HaltBot) -> None:
        bots = self.bots.values() if command.bot_id is None else [self._bot(command.bot_id)]
        for bot in sorted(bots, key=lambda b: b.bot_id):
            self._cancel(bot, command.at, "bot_halted")
            self._change(bot, command.at, "halted", command.code, command.reason, command.who)

    def reconfigure(self, command: events.ReconfigureBot) -> None:
        bot = self._bot(command.bot_id)
        self._leave(bot)
        bot.params = bot.params if command.params is None else command.params
        bot.code_hash = command.code_hash or bot.code_hash
        bot.sizing = command.sizing or bot.sizing
        bot.short = bot.short if command.short is None else command.short
        self._cancel(bot, command.at, "superseded")
        if self._join(bot, command.at, command.who, _held(bot)):
            self._change(bot, command.at, bot.status, "reconfigured", "reconfigured", command.who)

    def signal(self, command: events.ExternalSignal) -> None:
        bot = self._bot(command.bot_id)
        if not -1 <= command.target <= 1:
            raise CommandError(
                f"external signal for bot {bot.bot_id}: target {command.target} is not in −1 … 1"
            )
        close = self.last_close
        if not close:
            raise CommandError(f"external signal for bot {bot.bot_id}: {self.market.key} has no candle yet")
        group = self.groups.get(_group_key(bot)) if bot.steps else None
        previous = group.target(bot.bot_id) if group else 0.0
        if group:
            group.aim(bot.bot_id, command.target)
        step = Step(bot.bot_id, previous, command.target, {})
        self._signal(bot, step, command.at, self.book.watermark, -1, close, "external")

    def _bot(self, bot_id: int) -> Bot:
        if bot_id not in self.bots:
            raise CommandError(f"bot {bot_id} is not on {self.market.key}")
        return self.bots[bot_id]

    def _join(self, bot: Bot, time: int, who: str, target: float) -> bool:
        """Put a bot into the group it steps with; False where its parameters halt it."""
        key = _group_key(bot)
        group = self.groups.get(key)
        if group is None:
            group = Group(self.strategies.get(bot.strategy, bot.code_hash))
        try:
            group.add(bot.bot_id, bot.params, target)
        except StrategyParameterError as error:
            bot.steps = False
            self._change(bot, time, "halted", "bad_parameters", str(error), who)
            return False
        self.groups[key] = group
        self.histories.setdefault(bot.timeframe, CandleHistory())
        bot.steps = True
        return True

    def _leave(self, bot: Bot) -> None:
        if bot.steps:
            key = _group_key(bot)
            self.groups[key].remove(bot.bot_id)
            if not self.groups[key].rows:
                del self.groups[key]
            bot.steps = False

    def _fail(self, bot: Bot, time: int, code: str, words: str) -> None:
        self._leave(bot)
        self._cancel(bot, time, "bot_halted")
        if code == "strategy_changed":
            words = (
                f"the code of {bot.strategy} with hash {bot.code_hash[:12]} is not at hand; "
                "start the bot again to accept today's code"
            )
        self._change(bot, time, "halted", code, words, "engine")

    def _change(self, bot: Bot, time: int, status: Any, code: str, words: str, who: str) -> None:
        bot.status, bot.code, bot.words, bot.who = status, code, words, who
        self.emit(
            BOTS,
            BotChanged(
                bot.bot_id, time, self.market.key, bot.timeframe,  # pyright: ignore[reportArgumentType] - checked at creation
                bot.strategy, bot.code_hash, bot.params, bot.sizing, bot.short, bot.initial_cash,
                self.market.cash_scale, self.market.settle, status, code, words, who,
            ),
        )  # fmt: skip

    # ------------------------------------------------------------ specification and state

    def respecify(self, market: Market) -> None:
        """Take a changed specification; grown scales rescale the state exactly."""
        old = self.market
        for field in (
            "base",
            "quote",
            "settle",
            "contract",
            "closed",
            "multiplier",
            "multiplier_scale",
        ):
            if getattr(old, field) != getattr(market, field):
                raise CommandError(
                    f"{market.key}: {field} can't change from {getattr(old, field)!r} to "
                    f"{getattr(market, field)!r}; record it as a market of another name"
                )
        price = _grown(old.price_scale, market.price_scale, f"{market.key}: price_scale")
        size = _grown(old.size_scale, market.size_scale, f"{market.key}: size_scale")
        cash = _grown(old.cash_scale, market.cash_scale, f"{market.key}: cash_scale")
        self.book.rescale(price, size)
        self.last_close *= price
        self.market = market
        for bot in self.bots.values():
            a = bot.account
            scaled = (
                a.cash * cash,
                a.position * size,
                a.cost * cash,
                a.realised * cash,
                a.fees * cash,
            )
            bot.account = Account(*scaled).check()
            bot.initial_cash *= cash
            if bot.mark is not None:
                bot.mark = (bot.mark[0] * cash, bot.mark[1] * size, bot.mark[2] * cash)
            if bot.order is not None:
                bot.order.size *= size

    def state(self) -> TapeState:
        return TapeState(
            self.market,
            self.book.state(),
            self.seen.ranges,
            self.repeats,
            list(self.bots.values()),
            [(key, group.state()) for key, group in self.groups.items()],
            [(timeframe, history.state()) for timeframe, history in self.histories.items()],
            [sorted(self.unmarked[timeframe]) for timeframe in TIMEFRAMES],
            self.last_close,
        )

    @classmethod
    def restore(cls, state: TapeState, strategies: Strategies) -> "Tape":
        tape = cls(state.market, strategies)
        tape.book = CandleBook.restore(state.book)
        tape.seen, tape.repeats = SeenIds(state.seen), state.repeats
        tape.bots = {bot.bot_id: bot for bot in state.bots}
        for key, rows in state.groups:
            tape.groups[key] = group = Group(strategies.get(key.strategy, key.code_hash))
            group.restore(rows)
        for timeframe, candles in state.histories:
            tape.histories[timeframe] = history = CandleHistory()
            history.restore(candles)
        tape.waiting = {bot.bot_id: bot for bot in state.bots if bot.order is not None}
        tape.unmarked = {frame: set(ids) for frame, ids in zip(TIMEFRAMES, state.unmarked, strict=True)}
        tape.last_close = state.last_close
        return tape


def _group_key(bot: Bot) -> GroupKey:
    return GroupKey(bot.timeframe, bot.strategy, bot.code_hash)


def _held(bot: Bot) -> float:
    """The target that a position stands for."""
    return float(np.sign(bot.account.position))


def _grown(old: int, new: int, what: str) -> int:
    if new < old:
        raise CommandError(f"{what} can only grow: {old} → {new}")
    return 10 ** (new - old)


def _first_trade(time: Ints, kind: Kinds, start: int, decided: int, stop: int) -> int:
    """The first row that may fill an order decided at time `decided`, or −1."""
    for row in range(start, stop):
        if kind[row] < RowKind.CLOCK and not kind[row] & BACKFILL and time[row] >= decided:
            return row
    return -1
