"""The bots of one market: who they are, with whom they step, whose order waits, who is to be marked."""

from typing import Any

from msgspec import Struct

from projections.fold.bots import Bot, CandleHistory, Group, GroupKey, Warming
from projections.fold.money import INT64_MAX, Account
from projections.fold.turn import CommandError
from projections.strategies.code import Strategies
from streams.events import TIMEFRAMES_NS, Market


class BookState(Struct, frozen=True, array_like=True):
    """Everything of a `BotBook`, canonical: the same history gives the same bytes."""

    bots: list[Bot]
    groups: list[tuple[GroupKey, list[Any]]]
    histories: list[tuple[str, list[bytes]]]
    unmarked: list[list[int]]
    close: int
    ends: dict[str, int]
    warmings: dict[str, Warming]


class BotBook:
    """`close`: the market's last close, 0 before the first candle. `live`: somebody vouches for its data.
    `ends`: where the last candle of each timeframe ends. `warmings`: candles that wait for commands.
    `waiting`: bots whose order waits. `resuming`: bots that are to compare their target with what they hold.
    `unmarked`: by timeframe, bots whose mark may have changed."""

    def __init__(self, key: str, strategies: Strategies) -> None:
        self.key = key
        self.strategies = strategies
        self.bots: dict[int, Bot] = {}
        self.groups: dict[GroupKey, Group] = {}
        self.histories: dict[str, CandleHistory] = {}
        self.waiting: dict[int, Bot] = {}
        self.resuming: dict[int, Bot] = {}
        self.unmarked: dict[str, set[int]] = {timeframe: set() for timeframe in TIMEFRAMES_NS}
        self.close = 0
        self.ends: dict[str, int] = {}
        self.warmings: dict[str, Warming] = {}
        self.live = True
        self._reads: dict[str, int] | None = None

    def bot(self, bot_id: int) -> Bot:
        """Raises `CommandError`."""
        if bot_id not in self.bots:
            raise CommandError(f"bot {bot_id} is not on {self.key}")
        return self.bots[bot_id]

    def add(self, bot: Bot) -> None:
        self.bots[bot.bot_id] = bot
        self.unmarked[bot.timeframe].add(bot.bot_id)

    def group_of(self, bot: Bot) -> Group | None:
        """The bots that it steps with; None where it steps no more."""
        return self.groups[_key_of(bot)] if bot.steps else None

    def join(self, bot: Bot, target: float) -> None:
        """Let a bot step from here on, as one that has seen nothing. Raises `StrategyParameterError`."""
        key = _key_of(bot)
        group = self.groups.get(key) or Group(key, self.strategies.get(bot.strategy, bot.code_hash))
        group.add(bot.bot_id, bot.params, target)
        self.groups[key], self._reads = group, None
        for timeframe in (bot.timeframe, *group.higher):
            self.histories.setdefault(timeframe, CandleHistory())
        bot.steps, bot.since = True, None

    def leave(self, bot: Bot) -> None:
        """Let a bot step no more."""
        group = self.group_of(bot)
        if group is None:
            return
        group.remove(bot.bot_id)
        self._reads = None
        if not group.rows:
            del self.groups[group.key]
        bot.steps, bot.since, bot.warmed = False, None, 0

    def reads_back(self, timeframe: str) -> int:
        """How many candles of a timeframe its bots may read, 0 where none does."""
        if self._reads is None:
            self._reads = dict.fromkeys(TIMEFRAMES_NS, 0)
            for group in self.groups.values():
                for one in (group.key.timeframe, *group.higher):
                    self._reads[one] = max(self._reads[one], group.lookback)
        return self._reads[timeframe]

    def holds(self, bot: Bot, *, incomplete: bool = False) -> bool:
        """Whether a bot opens nothing now; `incomplete`: at a candle that is."""
        return bot.on_stale != "ignore" and (incomplete or not self.live)

    def resume(self, bot: Bot) -> None:
        """Let a bot compare its target with what it holds, at its next candle."""
        bot.resumes = True
        self.resuming[bot.bot_id] = bot

    def resumed(self, bot: Bot) -> None:
        """It has compared."""
        bot.resumes = False
        self.resuming.pop(bot.bot_id, None)

    def rescale(self, old: Market, new: Market) -> None:
        """The market's scales have grown; every amount stays what it is. Raises `CommandError`."""
        size = 10 ** (new.size_scale - old.size_scale)
        cash = 10 ** (new.cash_scale - old.cash_scale)
        self.close *= 10 ** (new.price_scale - old.price_scale)
        for bot in self.bots.values():
            a = bot.account
            bot.account = Account(
                a.cash * cash, a.position * size, a.cost * cash, a.realised * cash, a.fees * cash
            ).check()
            bot.initial_cash *= cash
            bot.peak *= cash
            if bot.mark is not None:
                bot.mark = (bot.mark[0] * cash, bot.mark[1] * size, bot.mark[2] * cash)
            if bot.order is not None:
                bot.order.size *= size
            amounts = (bot.initial_cash, bot.peak, *(bot.mark or ()), bot.order.size if bot.order else 0)
            if max(map(abs, amounts)) > INT64_MAX:
                raise CommandError(
                    f"{new.key}: at these scales an amount of bot {bot.bot_id} exceeds 64 bits"
                )

    def state(self) -> BookState:
        return BookState(
            list(self.bots.values()),
            [(key, group.state()) for key, group in self.groups.items()],
            [(timeframe, history.state()) for timeframe, history in self.histories.items()],
            [sorted(bots) for bots in self.unmarked.values()],
            self.close,
            self.ends,
            self.warmings,
        )

    @classmethod
    def restore(cls, key: str, state: BookState, strategies: Strategies) -> "BotBook":
        book = cls(key, strategies)
        book.bots = {bot.bot_id: bot for bot in state.bots}
        for group_key, rows in state.groups:
            group = Group(group_key, strategies.get(group_key.strategy, group_key.code_hash))
            group.restore(rows)
            book.groups[group_key] = group
        for timeframe, candles in state.histories:
            book.histories[timeframe] = history = CandleHistory()
            history.restore(candles)
        book.waiting = {bot.bot_id: bot for bot in state.bots if bot.order is not None}
        book.resuming = {bot.bot_id: bot for bot in state.bots if bot.resumes}
        book.unmarked = {t: set(bots) for t, bots in zip(TIMEFRAMES_NS, state.unmarked, strict=True)}
        book.close, book.ends, book.warmings = state.close, state.ends, state.warmings
        return book


def _key_of(bot: Bot) -> GroupKey:
    return GroupKey(bot.timeframe, bot.strategy, bot.code_hash)
