"""From a signal to an order, and to its end without a fill.

A signal is a change of a bot's target. It is always recorded, with the decision on it: executed, or refused
by which rule. An executed one becomes an order, which waits for its trade (`projections.fold.matching`).
"""

from typing import Final, Literal

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Step
from projections.fold.decide import Rules, decide
from projections.fold.fills import Waiting
from projections.fold.turn import Moment, Turn
from streams.causes import Cause
from streams.events import Order, OrderClosed, Signal
from streams.topics import SIGNALS, TRADES

SIGNAL = "signal"
FLATTEN = "flatten"
BANKRUPT: Final = "bankrupt"
"""Reasons of orders: those of the last two close a position, whatever the strategy says."""


def signal(turn: Turn, book: BotBook, bot: Bot, step: Step, moment: Moment) -> None:
    """Record a changed target with the decision on it, and make the order that it asks for.

    A refused one leaves an order that closes the position of a bot, whatever its target, as it is.
    """
    market = turn.market
    holds = book.holds(bot, incomplete=moment.incomplete)
    rules = Rules(bot.standing, bot.sizing, bot.short, holds)
    decision = decide(market, rules, bot.account, step.target, moment.close)
    cause = turn.emit(
        SIGNALS,
        Signal(
            bot_id=bot.bot_id,
            timestamp=moment.time,
            timeframe=bot.timeframe,
            target=step.target,
            previous=step.previous,
            values=step.values,
            price=moment.close,
            price_scale=market.price_scale,
            decision="executed" if decision.executed else "refused",
            code=decision.code,
            origin=step.origin,
            candle=moment.candle,
        ),
    )
    cancel(turn, book, bot, moment.time, "superseded", flatten=decision.executed)
    if decision.size:
        place(turn, book, bot, decision.size, moment, SIGNAL, step.target, cause)
    elif decision.executed:
        bot.share = step.target


def place(
    turn: Turn,
    book: BotBook,
    bot: Bot,
    size: int,
    moment: Moment,
    reason: str,
    target: float = 0.0,
    cause: Cause | None = None,
) -> None:
    """A market order over a signed `size`, towards `target`, which waits from here on."""
    market, buy = turn.market, size > 0
    order = Order(
        bot_id=bot.bot_id,
        timestamp=moment.time,
        side="buy" if buy else "sell",
        size=abs(size),
        price=moment.close,
        price_scale=market.price_scale,
        size_scale=market.size_scale,
        reason=reason,
        signal=cause,
    )
    bot.order = Waiting(turn.emit(TRADES, order), buy, abs(size), moment.now, moment.row, reason, target)
    book.waiting[bot.bot_id] = bot


def cancel(turn: Turn, book: BotBook, bot: Bot, time: int, code: str, *, flatten: bool) -> None:
    """Cancel the order that waits, if any; one that is no signal's only where `flatten` says so."""
    if bot.order is None or (bot.order.reason != SIGNAL and not flatten):
        return
    end_order(turn, bot, bot.order.order, time, "cancelled", code)
    bot.order = None
    del book.waiting[bot.bot_id]


def end_order(
    turn: Turn, bot: Bot, order: Cause, time: int, status: Literal["cancelled", "rejected"], code: str
) -> None:
    """That an order ended without a fill, or with less than its size."""
    closed = OrderClosed(bot_id=bot.bot_id, timestamp=time, order_id=order, status=status, code=code)
    turn.emit(TRADES, closed)
