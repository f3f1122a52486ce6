"""One bot over columns: its strategy's loop, its money over the bars, and between them its commands.

`backtest` gives a bot that begins with a bar, `projections.research.reliving` a recorded one with its
commands. Both do what `projections.fold` does, and are written without it.

Why: ADR 32.
"""

from typing import NamedTuple

import numpy as np

from projections.research import account as bars_of
from projections.research.account import (
    BOT,
    BY_OTHERS,
    CODES,
    FLATTEN,
    HAPPENED,
    HOLD,
    IGNORE,
    MARK,
    NO_ORDER,
    ROOM,
)
from projections.research.arrays import Zeros
from projections.research.columns import I8, At, Floats, Table, Vouched
from projections.research.decide import BROKE, HALTED, MODES, RUNNING, STOPPED
from projections.research.money import CASH, COST, POSITION, SCRATCH, equity
from projections.research.prepared import NotKnownError, Prepared
from projections.strategies.code import Run, StrategyCode
from projections.strategies.histories import History
from streams.events import (
    Market,
    OnStale,
    Params,
    Sizing,
)

ON_STALE: dict[OnStale, int] = {"hold": HOLD, "flatten": FLATTEN, "ignore": IGNORE}
STATUSES = {RUNNING: "running", STOPPED: "stopped", HALTED: "halted", BROKE: "halted"}
OUT_ROWS = 65_536
"""Room for what happens, at first; pages that are not written cost nothing."""
END = 2**63 - 1
LOST = (
    "a bankrupt bot needs a second trade behind the one that filled it, which the columns do not"
    " hold; `tcpdashboard replay --bot` folds the whole journal"
)


class Specification(NamedTuple):
    """A bot to be: `cash` in units of the cash scale of the market as it stands at its first bar."""

    code: StrategyCode
    params: Params
    sizing: Sizing
    short: bool
    cash: int
    on_stale: OnStale = "hold"


class Change(NamedTuple):
    """A change of a bot's standing, at `time` ns."""

    time: int
    status: str
    code: str


class Failure(NamedTuple):
    """How a strategy failed, at the bar that ends at `end` ns UTC; `begun`: after it gave a target."""

    end: int
    begun: bool
    words: str


class Stretch(NamedTuple):
    """Bars `first` … `last` − 1 over which a strategy stepped. `history` and `run` begin with the `warmed`
    candles before them. `failure`: how it failed at the bar `last`, "" where it did not."""

    first: int
    last: int
    code: StrategyCode
    params: Params
    warmed: int
    history: History
    run: Run
    failure: str = ""

    @property
    def targets(self) -> Floats:
        """float64[n]."""
        return self.run.targets[self.warmed :]

    @property
    def values(self) -> Floats:
        """float64[n, K], by the names of its code."""
        return self.run.values[self.warmed :]


class Outcome(NamedTuple):
    """What became of a bot over the bars `first` … `last` − 1, n in number.

    `equity` int64[n] at each close and `position` int64[n], at the scales of the bar's era. `happened`
    HAPPENED: signals, orders, fills and changes in turn; `changes`: those of its standing. `marks` MARK:
    where equity, cash or position differ from the mark before, if they were asked for. `account` int64[5] at
    the end, and `initial_cash`, at the scales of the last era.
    """

    first: int
    last: int
    equity: I8
    position: I8
    happened: Table
    marks: Table
    changes: tuple[Change, ...]
    stretches: tuple[Stretch, ...]
    account: I8
    initial_cash: int


def backtest(prepared: Prepared, spec: Specification, first: int, last: int, warm: int) -> Outcome:
    """A bot that is created and started before the bar `first` and lives until the bar `last` has closed.

    It is warmed on the `warm` bars before, and unless these are none, on what it needs of timeframes above.
    Raises `NotKnownError`.
    """
    run = Life(prepared, first, last, marks=False)
    for at in prepared.columns.events:
        if at.bar < first:
            run.pass_by(at)
    run.begin(spec.sizing, spec.short, spec.on_stale, spec.cash)
    needs = {above: spec.code.need(spec.params, above) if warm else 0 for above in spec.code.higher}
    history = prepared.history(first, last, warm, needs)
    failure = run.join(spec.code, spec.params, history, warm)
    begun = int(prepared.ends[first - 1]) if first else 0
    run.stand(RUNNING, "created", begun)
    if failure:
        run.leave()
        run.stand(HALTED, "strategy_error", begun)
    for at in prepared.columns.events:
        if first <= at.bar < last:
            run.until(at.bar, at.place)
            run.meet(at)
    run.until(last, 0)
    return run.outcome()


class Life:
    """A bot on its way over the bars."""

    def __init__(self, prepared: Prepared, first: int, last: int, *, marks: bool) -> None:
        self.prepared, self.trades = prepared, prepared.columns.trades
        self.first, self.last, self.at = first, last, first
        record = np.zeros(1, BOT)
        self._bot, self.bot = record[0], record.view(np.recarray)[0]
        self.bot.live, self.bot.fails, self.bot.at = 1, -1, -1
        self.account = np.zeros(5, np.int64)
        self.exists, self.initial_cash = False, 0
        self.code = ""
        self.equity: I8 = prepared.zeros(last - first, np.int64)
        self.position: I8 = prepared.zeros(last - first, np.int64)
        self.marks = prepared.zeros(last - first if marks else 0, MARK)
        self.changes: list[Change] = []
        self.stretches: list[Stretch] = []
        self.strategy: _Strategy | None = None
        self._out, self._seen = np.empty(OUT_ROWS, HAPPENED), 0
        self._full: list[Table] = []
        self._words = np.zeros(SCRATCH, np.uint64)

    @property
    def constants(self) -> I8:
        return self.prepared.constants[int(self.bot.era)]

    # ------------------------------------------------------------ over bars

    def until(self, bar: int, place: int) -> None:
        """Everything before the bar, and before the place behind the bar before it."""
        self.bot.at = -1
        if not self.exists:
            self.at = bar
            return
        while self.at < bar:
            targets, shift = np.empty(0), 0
            if self.strategy is not None and self.bot.steps:
                self.bot.fails = self.strategy.step(bar)
                targets, shift = self.strategy.run.targets, self.strategy.shift
            self.at = bars_of.over_bars(
                self.constants, self._words, self.account, self._bot, self.prepared.steps, self.trades,
                self.prepared.incomplete, self.at, bar, targets, shift, self.first, self.equity,
                self.position, self.marks, self._out,
            )  # fmt: skip
            self._drain()
        bars_of.fill_before(
            self.constants, self._words, self.account, self._bot, self.trades, self._out, place
        )
        self._drain()

    def _drain(self) -> None:
        """See how the bot has changed, and make room."""
        bot = self.bot
        if bot.changed:
            told = self._out[self._seen : bot.told]
            for one in told[told["kind"] == bars_of.CHANGE]:
                self.code = CODES[int(one["code"])]
                self.changes.append(Change(int(one["time"]), STATUSES[int(one["status"])], self.code))
            bot.changed = 0
        self._seen = int(bot.told)
        if bot.told + ROOM > len(self._out):
            self._full.append(self._out[: self._seen])
            self._out, self._seen, bot.told = np.empty(2 * len(self._out), HAPPENED), 0, 0
        if bot.lost:
            raise NotKnownError(LOST)
        if self.strategy is not None and not bot.steps:
            self.leave()

    # ------------------------------------------------------------ what happens to it

    def begin(self, sizing: Sizing, short: bool, on_stale: OnStale, cash: int) -> None:
        """The bot is there, and does not step yet."""
        self.bot.standing, self.bot.unmarked, self.exists = STOPPED, 1, True
        self.settings(sizing, short, on_stale)
        self.account[CASH] = self.initial_cash = cash

    def settings(self, sizing: Sizing, short: bool, on_stale: OnStale) -> None:
        bot = self.bot
        bot.mode, bot.sizing, bot.sizing_scale = MODES.index(sizing.mode), sizing.value, sizing.scale
        bot.short, bot.on_stale = short, ON_STALE[on_stale]

    def join(
        self, code: StrategyCode, params: Params, history: History, seen: int, target: float = 0.0
    ) -> str:
        """Let it step over the bars that stand in `history` behind the first `seen`; how its warm-up failed.

        Raises `StrategyParameterError`."""
        self.leave()
        strategy = _Strategy(code, params, history, self.at - seen, target, self.prepared.zeros)
        failure = strategy.warm(seen)
        bot = self.bot
        bot.steps, bot.resumes, bot.target = 1, 1, strategy.midway.target
        self.strategy = strategy
        return failure

    def leave(self) -> None:
        """It steps no more; what it did is kept."""
        if self.strategy is not None:
            self.stretches.append(self.strategy.stretch())
        self.strategy, self.bot.steps, self.bot.fails = None, 0, -1

    def stand(self, standing: int, code: str, time: int) -> None:
        """It changes as a command says."""
        self.bot.standing, self.bot.overflowed, self.code = standing, 0, code
        self.tell(time)

    def tell(self, time: int) -> None:
        """What it is now."""
        self.changes.append(Change(time, STATUSES[self.bot.standing], self.code))

    def cancel(self, time: int, code: str, *, flatten: bool) -> None:
        bars_of.cancel(self._bot, self._out, -1, time, CODES.index(code), flatten)
        self._drain()

    def flatten(self, at: At) -> None:
        """Close what it holds, where no order waits."""
        bars_of.flatten(self._bot, self.account, self._out, -1, at.watermark, at.close, at.trade)
        self._drain()

    def signal(self, at: At, target: float) -> None:
        """A target from outside."""
        previous = 0.0
        if self.strategy is not None:
            previous, self.strategy.midway.target, self.bot.target = self.bot.target, target, target
        holds = self.bot.on_stale != IGNORE and not self.bot.live
        m, w, account = self.constants, self._words, self.account
        worth = equity(m, w, account[CASH], account[POSITION], account[COST], at.close)
        bars_of.signal(
            m, w, account, self._bot, self._out, previous, target, BY_OTHERS, holds, -1, at.watermark,
            at.close, at.trade, worth,
        )  # fmt: skip
        self._drain()

    def meet(self, at: At) -> None:
        """What happens to the market happens to the bot."""
        self.bot.at = at.offset
        if not self.exists or not isinstance(at.event, Market | Vouched):
            self.pass_by(at)
        elif isinstance(at.event, Market):
            self._respecified()
        else:
            live = at.event.live
            bars_of.vouched(self._bot, self.account, self._out, live, at.watermark, at.close, at.trade)
            self._drain()

    def pass_by(self, at: At) -> None:
        """The market goes on where there is no bot."""
        if isinstance(at.event, Market):
            self.bot.era += 1
        elif isinstance(at.event, Vouched):
            self.bot.live = at.event.live

    def _respecified(self) -> None:
        """The market's scales may have grown; every amount stays what it is."""
        old, new = self.prepared.columns.eras[self.bot.era : self.bot.era + 2]
        size, cash = 10 ** (new.size_scale - old.size_scale), 10 ** (new.cash_scale - old.cash_scale)
        bot, account = self.bot, self.account
        if bot.order == NO_ORDER:
            bot.order_size = 0
        try:
            account[:] = [int(n) * (size if k == POSITION else cash) for k, n in enumerate(account)]
            bot.order_size, bot.mark_position = int(bot.order_size) * size, int(bot.mark_position) * size
            for name in ("mark_cash", "mark_equity", "peak"):
                bot[name] = int(bot[name]) * cash
        except OverflowError:
            raise NotKnownError(
                "an amount exceeds 64 bits at the market's new scale: take less cash"
            ) from None
        self.initial_cash *= cash
        bot.era += 1

    # ------------------------------------------------------------ at the end

    def outcome(self) -> Outcome:
        self.leave()
        told = self._out[: self._seen]
        happened = np.concatenate([*self._full, told]) if self._full else told
        return Outcome(
            self.first, self.last, self.equity, self.position, happened, self.marks[: int(self.bot.marked)],
            tuple(self.changes), tuple(self.stretches), self.account, self.initial_cash,
        )  # fmt: skip


class _Strategy:
    """A strategy on its way over a history, of which row 0 is the bar `shift`."""

    def __init__(
        self,
        code: StrategyCode,
        params: Params,
        history: History,
        shift: int,
        target: float,
        zeros: Zeros,
    ) -> None:
        self.code, self.params, self.history, self.shift = code, params, history, shift
        self.packed = code.pack(params)
        self.midway = code.fresh(target)
        length = len(history.ends)
        self.run = Run(zeros(length, np.float64), zeros((length, len(code.value_names)), np.float64))
        self.at, self.first, self.failure = 0, 0, ""

    def warm(self, rows: int) -> str:
        """Step over the first rows; how it failed."""
        self._to(rows)
        self.first = rows
        return self.failure

    def step(self, bar: int) -> int:
        """Step over the bars before `bar`; the bar at which it failed, −1 for none."""
        self._to(bar - self.shift)
        return self.at + self.shift if self.failure else -1

    def _to(self, row: int) -> None:
        if self.failure or row <= self.at:
            return
        failure = self.code.over(self.midway, self.history, self.at, row, self.packed, self.run)
        self.at = row if failure is None else failure.bot
        self.failure = "" if failure is None else failure.message

    def stretch(self) -> Stretch:
        history = self.history.head(self.at)
        run = Run(self.run.targets[: self.at], self.run.values[: self.at])
        first, last = self.first + self.shift, self.at + self.shift
        return Stretch(first, last, self.code, self.params, self.first, history, run, self.failure)
