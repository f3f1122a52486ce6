"""What a closed candle makes the bots of its market do: step, signal, and be marked.

A bot that reads higher timeframes does so behind all candles that end with its own, in the order in which
they closed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Group, Step, row_of
from projections.fold.life import fail
from projections.fold.marks import mark
from projections.fold.orders import SIGNAL, signal
from projections.fold.turn import Moment, Turn
from projections.fold.warm import keep
from projections.strategies.histories import History, New
from streams.causes import Cause
from streams.events import Candle


class Behind(NamedTuple):
    """Groups that step on a candle behind all that end with it, of these bots; and that moment."""

    candle: Candle
    moment: Moment
    groups: list[Group]
    bots: set[int]


def closed(turn: Turn, book: BotBook, candle: Candle, cause: Cause, now: int, row: int) -> Behind | None:
    """`row`, whose time is `now`, closed a candle: step the bots of its timeframe that read no other, and
    mark them. Returns the others, if any."""
    book.close = candle.close
    book.ends[candle.timeframe] = candle.timestamp
    if book.warmings:
        keep(book, candle)
    if not book.bots:
        return None
    kept = book.reads_back(candle.timeframe)
    if kept:
        book.histories[candle.timeframe].append(candle.timestamp, row_of(candle), kept)
    moment = Moment(candle.timestamp, now, row, candle.close, cause, candle.incomplete)
    groups = [group for key, group in book.groups.items() if key.timeframe == candle.timeframe]
    behind = [group for group in groups if group.higher]
    bots = {bot_id for group in behind for bot_id in group.rows}
    _decide(turn, book, candle, moment, [group for group in groups if not group.higher] if behind else groups)
    if book.unmarked[candle.timeframe] - bots:
        mark(turn, book, candle.timeframe, moment, without=bots)
    return Behind(candle, moment, behind, bots) if behind else None


def all_closed(turn: Turn, book: BotBook, behind: Iterable[Behind]) -> None:
    """All candles that end at a time have closed: step the bots that read several, and mark them."""
    for candle, moment, groups, bots in behind:
        _decide(turn, book, candle, moment, groups)
        timeframe = candle.timeframe
        mark(turn, book, timeframe, moment, without=book.unmarked[timeframe] - bots)


def _decide(turn: Turn, book: BotBook, candle: Candle, moment: Moment, groups: Sequence[Group]) -> None:
    for step in _steps(turn, book, candle, groups) if groups else ():
        bot = book.bots[step.bot_id]
        if step.failure is None:
            signal(turn, book, bot, step, moment)
            continue
        fail(turn, book, bot, step.failure, candle.timestamp)
    if candle.incomplete:
        _resume(book, groups)


def _resume(book: BotBook, groups: Sequence[Group]) -> None:
    """Behind an incomplete candle, bots compare."""
    for bot in (book.bots[bot_id] for group in groups for bot_id in group.rows):
        if bot.on_stale != "ignore":
            book.resume(bot)


def _steps(turn: Turn, book: BotBook, candle: Candle, groups: Sequence[Group]) -> list[Step]:
    """What changed by the step of every bot, and what is to be told again, by bot id."""
    history = book.histories[candle.timeframe]
    seen = History(history.ends, history.values)
    steps: list[Step] = []
    for group in groups:
        turn.progress.steps += 1
        turn.progress.strategy = group.key.strategy
        steps += group.step(seen, history.last, [_new(book, candle, above) for above in group.higher])
    turn.progress.strategy = ""
    if book.resuming:
        steps += _resumed(book, candle, groups, {step.bot_id for step in steps})
    return sorted(steps, key=lambda step: step.bot_id)


def _new(book: BotBook, candle: Candle, timeframe: str) -> New:
    """The candle of a higher timeframe that has closed with this one, if any."""
    history = book.histories[timeframe]
    closed = history.count > 0 and history.ends[history.last] == candle.timestamp
    return New(history.values, history.ends, history.count - closed, history.count)


def _resumed(book: BotBook, candle: Candle, groups: Sequence[Group], changed: set[int]) -> list[Step]:
    """Targets that did not change, but are not what their bots hold.

    A bot is not done with comparing while an order waits: one of a signal goes where it wants, one that
    closes its position does not. One that holds is told what closes, and goes on comparing.
    """
    steps: list[Step] = []
    for bot in list(book.resuming.values()):
        group = book.group_of(bot)
        if group is None or group not in groups or bot.status != "running":
            continue
        if bot.order is not None and bot.order.reason == SIGNAL:
            continue
        target = group.target(bot.bot_id)
        differs = bot.bot_id not in changed and target != bot.share
        if differs and book.holds(bot, incomplete=candle.incomplete) and not _closes(bot, target):
            continue
        if differs:
            steps.append(group.resumed(bot.bot_id, bot.share))
        if differs or bot.order is None:
            book.resumed(bot)
    return steps


def _closes(bot: Bot, target: float) -> bool:
    """Whether a target asks for less of what a bot holds, and no order is on its way."""
    return bot.order is None and (target * bot.share < 0 or abs(target) < abs(bot.share))
