"""The bots of one market: their steps, decisions, orders, fills, marks and commands.

A signal is a change of a bot's target. It is always recorded, with the decision on it: executed, or refused
by which rule. An executed one becomes an order, which waits for the first trade after the row that decided
it: not a backfilled one, and none older than the decision.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from projections.fold.bots import Bot, CandleHistory, Group, GroupKey, Step
from projections.fold.decide import Rules, decide
from projections.fold.fills import Waiting, fill
from projections.fold.money import INT64_MAX, Account, MoneyOverflowError, equity_at
from projections.strategies.code import History, Strategies
from projections.strategies.parameters import StrategyParameterError
from streams import events
from streams.causes import Cause
from streams.events import (
    TIMEFRAMES_NS,
    BotChanged,
    Candle,
    DerivedEvent,
    Equity,
    Fill,
    Market,
    Order,
    OrderClosed,
    RowKind,
    Signal,
    Sizing,
)
from streams.topics import BOTS, SIGNALS, TRADES

SCALE_MAX = 18
STRATEGY_CHANGED = "strategy_changed"
"""Code of a halt after which a bot steps no more: the code that it was given is on its way out."""
FILL_ROWS = 256
"""Rows looked at together: nearly always the first few hold the trade that fills."""
MARKS_MAX = 4096
"""Rows of one `Equity` event; keeps its record far below the limit."""
Ints = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]
Emit = Callable[[str, DerivedEvent], Cause]


class CommandError(ValueError):
    """A command that this market's history does not allow; it becomes a dead letter with these words."""


class Moment(NamedTuple):
    """When a decision is made: event `time` and the row's own time `now` in ns, `row` of the journal record
    (−1: none), and the market's last `close`."""

    time: int
    now: int
    row: int
    close: int


class DeskState(Struct, frozen=True, array_like=True):
    """Everything of a `Desk`, canonical: the same history gives the same bytes."""

    bots: list[Bot]
    groups: list[tuple[GroupKey, list[Any]]]
    histories: list[tuple[str, list[bytes]]]
    unmarked: list[list[int]]
    close: int


class Desk:
    """The bots of one market. Emits derived events through `emit`, in the order of the journal."""

    def __init__(self, market: Market, strategies: Strategies) -> None:
        self.market = market
        self.strategies = strategies
        self.bots: dict[int, Bot] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._histories: dict[str, CandleHistory] = {}
        self._waiting: dict[int, Bot] = {}
        self._unmarked: dict[str, set[int]] = {timeframe: set() for timeframe in TIMEFRAMES_NS}
        self._close = 0
        self._watermark = -1
        self.emit: Emit
        self._rows: tuple[Ints, Ints, Kinds, Ints | None]

    def begin(self, watermark: int, emit: Emit) -> None:
        """A new journal record: orders that waited before it may be filled by any of its rows."""
        self._watermark, self.emit = watermark, emit
        for bot in self._waiting.values():
            assert bot.order is not None
            bot.order.row = -1

    # ------------------------------------------------------------ candles and trades

    def candle(self, candle: Candle, now: int, row: int) -> None:
        """`row`, whose time is `now`, closed a candle: step the bots of its timeframe, and mark them."""
        self._close = candle.close
        moment = Moment(candle.end, now, row, candle.close)
        groups = [(key, group) for key, group in self._groups.items() if key.timeframe == candle.timeframe]
        if groups:
            self._step(candle, [group for _, group in groups], moment)
        if self._unmarked[candle.timeframe]:
            self._mark(candle.timeframe, moment)

    def _step(self, candle: Candle, groups: list[Group], moment: Moment) -> None:
        history = self._histories[candle.timeframe]
        unit, lot = 10**candle.price_scale, 10**candle.size_scale
        floats = (
            candle.open / unit,
            candle.high / unit,
            candle.low / unit,
            candle.close / unit,
            candle.volume / lot,
        )
        history.append(candle.end, floats, max(group.lookback for group in groups))
        seen = History(history.ends, history.values)
        steps = [step for group in groups for step in group.step(seen, history.last)]
        for step in sorted(steps, key=lambda s: s.bot_id):
            bot = self.bots[step.bot_id]
            if step.failure is None:
                self._signal(bot, step, moment, "strategy")
            else:
                self._fail(bot, candle.end, step.failure)

    def _signal(self, bot: Bot, step: Step, moment: Moment, origin: Any) -> None:
        m = self.market
        rules = Rules(bot.status, bot.sizing, bot.short)
        decision = decide(m, rules, bot.account, step.target, moment.close)
        cause = self.emit(
            SIGNALS,
            Signal(
                bot.bot_id, moment.time, bot.timeframe, step.target, step.previous, step.values, moment.close,
                m.price_scale, "executed" if decision.executed else "refused", decision.code, origin,
            ),
        )  # fmt: skip
        self._cancel(bot, moment.time, "superseded")
        if decision.size:
            self._order(bot, decision.size, moment, "signal", cause)

    def _order(self, bot: Bot, size: int, moment: Moment, reason: str, signal: Cause | None) -> None:
        m, buy = self.market, size > 0
        order = Order(
            bot.bot_id, moment.time, "buy" if buy else "sell", abs(size), moment.close,
            m.price_scale, m.size_scale, reason, signal,
        )  # fmt: skip
        bot.order = Waiting(self.emit(TRADES, order), buy, abs(size), moment.now, moment.row, reason)
        self._waiting[bot.bot_id] = bot

    def _cancel(self, bot: Bot, time: int, code: str) -> None:
        if bot.order is not None:
            self.emit(TRADES, OrderClosed(bot.bot_id, time, bot.order.order, "cancelled", code))
            bot.order = None
            del self._waiting[bot.bot_id]

    def trades(self, time: Ints, price: Ints, kind: Kinds, rows: Ints | None) -> None:
        """The rows that `fill` goes by; those that may not fill carry `BACKFILL`. `rows`: see `Tape`."""
        self._rows = (time, price, kind, rows)

    def fill(self, start: int, stop: int) -> None:
        """Fill waiting orders with the trades of rows start ≤ row < stop."""
        if not self._waiting or start >= stop:
            return
        time, price, kind, rows = self._rows
        found: dict[tuple[int, int], int] = {}
        due: list[tuple[int, int]] = []
        for bot_id, bot in self._waiting.items():
            assert bot.order is not None
            begin = (max(start, bot.order.row + 1), bot.order.decided)
            if begin not in found:
                found[begin] = _first_trade(time, kind, *begin, stop)
            if found[begin] >= 0:
                due.append((found[begin], bot_id))
        for row, bot_id in sorted(due):
            number = row if rows is None else int(rows[row])
            self._fill_one(self.bots[bot_id], int(time[row]), int(price[row]), number)

    def _fill_one(self, bot: Bot, time: int, price: int, row: int) -> None:
        m, order = self.market, bot.order
        assert order is not None
        result = fill(m, bot.account, order, price)
        bot.order = None
        del self._waiting[bot.bot_id]
        if result.traded is not None:
            bot.account = after = result.traded.account
            self._unmarked[bot.timeframe].add(bot.bot_id)
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

    def _mark(self, timeframe: str, moment: Moment) -> None:
        marks: list[tuple[int, int, int, int]] = []
        unmarked = self._unmarked[timeframe]
        equity = equity_at(self.market, moment.close)
        for bot_id in sorted(unmarked):
            bot = self.bots[bot_id]
            account = bot.account
            if not account.position:
                unmarked.remove(bot_id)
            try:
                mark = (account.cash, account.position, equity(account))
            except MoneyOverflowError as error:
                if bot.code != "overflow":
                    self._cancel(bot, moment.time, "bot_halted")
                    self._change(bot, moment.time, "halted", "overflow", str(error), "engine")
                continue
            if mark != bot.mark:
                bot.mark = mark
                marks.append((bot_id, *mark))
        for first in range(0, len(marks), MARKS_MAX):
            columns = zip(*marks[first : first + MARKS_MAX], strict=True)
            ids, cash, position, value = (tuple(column) for column in columns)
            self.emit(
                BOTS,
                Equity(
                    moment.time, ids, cash, position, value, self.market.cash_scale, self.market.size_scale
                ),
            )

    # ------------------------------------------------------------ commands

    def create(self, command: events.CreateBot) -> None:
        if command.bot_id in self.bots:
            raise CommandError(f"bot {command.bot_id} exists already")
        check_sizing(command.sizing)
        cash = command.cash * grown(command.cash_scale, self.market.cash_scale, "cash")
        bot = Bot(
            command.bot_id, command.timeframe, command.strategy, command.code_hash, command.params,
            command.sizing, command.short, cash, Account(cash).check(),
        )  # fmt: skip
        self.bots[bot.bot_id] = bot
        self._unmarked[bot.timeframe].add(bot.bot_id)
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
        if bot.order is not None and bot.order.reason != "flatten":
            self._cancel(bot, self._watermark, "bot_stopped")
        if bot.status == "running":
            self._change(bot, command.at, "stopped", "stopped", "stopped", command.who)
        if command.flatten and bot.account.position and bot.order is None:
            moment = Moment(self._watermark, self._watermark, -1, self._close)
            self._order(bot, -bot.account.position, moment, "flatten", None)

    def halt(self, command: events.HaltBot) -> None:
        bots = self.bots.values() if command.bot_id is None else [self._bot(command.bot_id)]
        for bot in sorted(bots, key=lambda b: b.bot_id):
            self._cancel(bot, self._watermark, "bot_halted")
            if command.code == STRATEGY_CHANGED:
                self._leave(bot)
            self._change(bot, command.at, "halted", command.code, command.reason, command.who)

    def reconfigure(self, command: events.ReconfigureBot) -> None:
        bot = self._bot(command.bot_id)
        self._leave(bot)
        bot.params = bot.params if command.params is None else command.params
        bot.code_hash = command.code_hash or bot.code_hash
        if command.sizing is not None:
            check_sizing(command.sizing)
        bot.sizing = command.sizing or bot.sizing
        bot.short = bot.short if command.short is None else command.short
        self._cancel(bot, self._watermark, "superseded")
        if self._join(bot, command.at, command.who, _held(bot)):
            code, words = (bot.code, bot.words) if bot.status == "halted" else ("reconfigured",) * 2
            self._change(bot, command.at, bot.status, code, words, command.who)

    def signal(self, command: events.ExternalSignal) -> None:
        bot = self._bot(command.bot_id)
        if not -1 <= command.target <= 1:
            raise CommandError(
                f"external signal for bot {bot.bot_id}: target {command.target} is not in −1 … 1"
            )
        if not self._close:
            raise CommandError(f"external signal for bot {bot.bot_id}: {self.market.key} has no candle yet")
        group = self._groups.get(_group_key(bot)) if bot.steps else None
        previous = group.target(bot.bot_id) if group else 0.0
        if command.target == previous and np.sign(previous) == _held(bot) and bot.order is None:
            raise CommandError(f"external signal for bot {bot.bot_id}: its target is {previous} already")
        if group:
            group.aim(bot.bot_id, command.target)
        step = Step(bot.bot_id, previous, command.target, {})
        self._signal(bot, step, Moment(self._watermark, self._watermark, -1, self._close), "external")

    def _bot(self, bot_id: int) -> Bot:
        if bot_id not in self.bots:
            raise CommandError(f"bot {bot_id} is not on {self.market.key}")
        return self.bots[bot_id]

    def _join(self, bot: Bot, time: int, who: str, target: float) -> bool:
        """Put a bot into the group it steps with; False where its parameters halt it."""
        key = _group_key(bot)
        group = self._groups.get(key)
        if group is None:
            group = Group(key, self.strategies.get(bot.strategy, bot.code_hash))
        try:
            group.add(bot.bot_id, bot.params, target)
        except StrategyParameterError as error:
            bot.steps = False
            self._cancel(bot, self._watermark, "bot_halted")
            self._change(bot, time, "halted", "bad_parameters", str(error), who)
            return False
        self._groups[key] = group
        self._histories.setdefault(bot.timeframe, CandleHistory())
        bot.steps = True
        return True

    def _leave(self, bot: Bot) -> None:
        if bot.steps:
            key = _group_key(bot)
            self._groups[key].remove(bot.bot_id)
            if not self._groups[key].rows:
                del self._groups[key]
            bot.steps = False

    def _fail(self, bot: Bot, time: int, words: str) -> None:
        self._leave(bot)
        self._cancel(bot, time, "bot_halted")
        self._change(bot, time, "halted", "strategy_error", words, "engine")

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

    def rescale(self, market: Market) -> None:
        """Take a specification whose scales have grown; every amount stays what it is."""
        price = 10 ** (market.price_scale - self.market.price_scale)
        size = 10 ** (market.size_scale - self.market.size_scale)
        cash = 10 ** (market.cash_scale - self.market.cash_scale)
        self.market = market
        self._close *= price
        for bot in self.bots.values():
            a = bot.account
            scaled = (a.cash * cash, a.position * size, a.cost * cash, a.realised * cash, a.fees * cash)
            bot.account = Account(*scaled).check()
            bot.initial_cash *= cash
            if bot.mark is not None:
                bot.mark = (bot.mark[0] * cash, bot.mark[1] * size, bot.mark[2] * cash)
            if bot.order is not None:
                bot.order.size *= size
            amounts = (bot.initial_cash, *(bot.mark or ()), bot.order.size if bot.order else 0)
            if max(map(abs, amounts)) > INT64_MAX:
                raise CommandError(
                    f"{market.key}: at these scales an amount of bot {bot.bot_id} exceeds 64 bits"
                )

    def state(self) -> DeskState:
        return DeskState(
            list(self.bots.values()),
            [(key, group.state()) for key, group in self._groups.items()],
            [(timeframe, history.state()) for timeframe, history in self._histories.items()],
            [sorted(bots) for bots in self._unmarked.values()],
            self._close,
        )

    @classmethod
    def restore(cls, market: Market, state: DeskState, strategies: Strategies) -> "Desk":
        desk = cls(market, strategies)
        desk.bots = {bot.bot_id: bot for bot in state.bots}
        for key, rows in state.groups:
            desk._groups[key] = group = Group(key, strategies.get(key.strategy, key.code_hash))
            group.restore(rows)
        for timeframe, candles in state.histories:
            desk._histories[timeframe] = history = CandleHistory()
            history.restore(candles)
        desk._waiting = {bot.bot_id: bot for bot in state.bots if bot.order is not None}
        desk._unmarked = {t: set(bots) for t, bots in zip(TIMEFRAMES_NS, state.unmarked, strict=True)}
        desk._close = state.close
        return desk


def grown(old: int, new: int, what: str) -> int:
    """The factor from a decimal scale to a larger one. Raises `CommandError` for a smaller one."""
    if not 0 <= old <= new:
        raise CommandError(f"{what} can only grow, from 0: {old} → {new}")
    return 10 ** (new - old)


def check_sizing(sizing: Sizing) -> None:
    """Raises `CommandError` for a sizing that no bot can have."""
    if not 0 <= sizing.scale <= SCALE_MAX or sizing.value <= 0:
        raise CommandError(
            f"sizing {sizing.mode}: value {sizing.value}, scale {sizing.scale}: no amount above 0"
        )


def _group_key(bot: Bot) -> GroupKey:
    return GroupKey(bot.timeframe, bot.strategy, bot.code_hash)


def _held(bot: Bot) -> float:
    """The target that a position stands for."""
    return float(np.sign(bot.account.position))


def _first_trade(time: Ints, kind: Kinds, start: int, decided: int, stop: int) -> int:
    """The first row that may fill an order decided at time `decided`, or −1."""
    for first in range(start, stop, FILL_ROWS):
        rows = slice(first, min(first + FILL_ROWS, stop))
        found = np.flatnonzero((kind[rows] < RowKind.CLOCK) & (time[rows] >= decided))
        if len(found):
            return first + int(found[0])
    return -1
