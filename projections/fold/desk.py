"""What a closed candle makes the bots of its market do: step, signal, and be marked."""

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Group, Step, row_of
from projections.fold.life import fail
from projections.fold.marks import mark
from projections.fold.orders import SIGNAL, signal
from projections.fold.turn import Moment, Turn
from projections.fold.warm import keep
from projections.strategies.code import History
from streams.causes import Cause
from streams.events import Candle


def closed(turn: Turn, book: BotBook, candle: Candle, cause: Cause, now: int, row: int) -> None:
    """`row`, whose time is `now`, closed a candle: step the bots of its timeframe, and mark them."""
    book.close = candle.close
    book.ends[candle.timeframe] = candle.timestamp
    if book.warmings:
        keep(book, candle)
    if not book.bots:
        return
    moment = Moment(candle.timestamp, now, row, candle.close, cause, candle.incomplete)
    groups = [group for key, group in book.groups.items() if key.timeframe == candle.timeframe]
    for step in _steps(turn, book, candle, groups) if groups else ():
        bot = book.bots[step.bot_id]
        if step.failure is None:
            signal(turn, book, bot, step, moment)
            continue
        fail(turn, book, bot, step.failure, candle.timestamp)
    if candle.incomplete:
        _resume(book, groups)
    if book.unmarked[candle.timeframe]:
        mark(turn, book, candle.timeframe, moment)


def _resume(book: BotBook, groups: list[Group]) -> None:
    """Behind an incomplete candle, bots compare."""
    for bot in (book.bots[bot_id] for group in groups for bot_id in group.rows):
        if bot.on_stale != "ignore":
            book.resume(bot)


def _steps(turn: Turn, book: BotBook, candle: Candle, groups: list[Group]) -> list[Step]:
    """What changed by the step of every bot, and what is to be told again, by bot id."""
    history = book.histories[candle.timeframe]
    history.append(candle.timestamp, row_of(candle), max(group.lookback for group in groups))
    seen = History(history.ends, history.values)
    steps: list[Step] = []
    for group in groups:
        turn.progress.steps += 1
        turn.progress.strategy = group.key.strategy
        steps += group.step(seen, history.last)
    turn.progress.strategy = ""
    if book.resuming:
        steps += _resumed(book, candle, {step.bot_id for step in steps})
    return sorted(steps, key=lambda step: step.bot_id)


def _resumed(book: BotBook, candle: Candle, changed: set[int]) -> list[Step]:
    """Targets that did not change, but are not what their bots hold.

    A bot is not done with comparing while an order waits: one of a signal goes where it wants, one that
    closes its position does not. One that holds is told what closes, and goes on comparing.
    """
    steps: list[Step] = []
    for bot in list(book.resuming.values()):
        group = book.group_of(bot)
        if group is None or bot.timeframe != candle.timeframe or bot.status != "running":
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
