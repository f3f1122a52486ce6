"""From a signal to an order to its fill.

A signal is a change of a bot's target. It is always recorded, with the decision on it: executed, or refused
by which rule. An executed one becomes an order, which waits for the first trade after the row that decided
it: not a backfilled one, and none older than the decision.
"""

from typing import Literal

import numpy as np

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Step
from projections.fold.decide import Rules, decide
from projections.fold.fills import Result, Waiting, fill
from projections.fold.money import Traded
from projections.fold.turn import Moment, Rows, Turn
from streams.causes import Cause
from streams.events import Fill, Order, OrderClosed, RowKind, Signal
from streams.ticks import I8, U1
from streams.topics import SIGNALS, TRADES

FLATTEN = "flatten"
"""Reason of the order that closes the position of a bot that was stopped."""
FILL_ROWS = 256
"""Rows looked at together: nearly always the first few hold the trade that fills."""


def signal(turn: Turn, book: BotBook, bot: Bot, step: Step, moment: Moment) -> None:
    """Record a changed target with the decision on it, and make the order that it asks for.

    A refused one leaves an order that closes a stopped bot's position as it is.
    """
    market = turn.market
    rules = Rules(bot.status, bot.sizing, bot.short)
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
        place(turn, book, bot, decision.size, moment, "signal", step.target, cause)
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
    """Cancel the order that waits, if any; one that flattens only where `flatten` says so."""
    if bot.order is None or (bot.order.reason == FLATTEN and not flatten):
        return
    _closed(turn, bot, bot.order.order, time, "cancelled", code)
    bot.order = None
    del book.waiting[bot.bot_id]


def fill_waiting(turn: Turn, book: BotBook, rows: Rows, start: int, stop: int) -> None:
    """Fill waiting orders with the trades of rows start ≤ row < stop."""
    if not book.waiting or start >= stop:
        return
    found: dict[tuple[int, int], int] = {}
    due: list[tuple[int, int]] = []
    for bot_id, bot in book.waiting.items():
        order = bot.order
        assert order is not None
        decided_here = order.order.offset == turn.offset
        begin = (max(start, order.row + 1 if decided_here else 0), order.decided)
        if begin not in found:
            found[begin] = _first_trade(rows.time, rows.kind, *begin, stop)
        if found[begin] >= 0:
            due.append((found[begin], bot_id))
    for row, bot_id in sorted(due):
        number = row if rows.number is None else int(rows.number[row])
        _fill(turn, book, book.bots[bot_id], int(rows.time[row]), int(rows.price[row]), number)


def _first_trade(time: I8, kind: U1, start: int, decided: int, stop: int) -> int:
    """The first row that may fill an order decided at time `decided`, or −1."""
    for first in range(start, stop, FILL_ROWS):
        rows = slice(first, min(first + FILL_ROWS, stop))
        found = np.flatnonzero((kind[rows] < RowKind.CLOCK) & (time[rows] >= decided))
        if len(found):
            return first + int(found[0])
    return -1


def _fill(turn: Turn, book: BotBook, bot: Bot, time: int, price: int, row: int) -> None:
    order = bot.order
    assert order is not None
    result = fill(turn.market, bot.account, order, price)
    bot.order = None
    del book.waiting[bot.bot_id]
    if result.traded is not None:
        _filled(turn, bot, order, result.traded, result, time, row)
        book.unmarked[bot.timeframe].add(bot.bot_id)
    if result.rejected is not None:
        status = "rejected" if result.traded is None else "cancelled"
        _closed(turn, bot, order.order, time, status, result.rejected)


def _filled(
    turn: Turn, bot: Bot, order: Waiting, traded: Traded, result: Result, time: int, row: int
) -> None:
    market, before, after = turn.market, bot.account.position, traded.account
    crossed = before * after.position <= 0
    closes = bot.trips if before and crossed else 0
    bot.trips += bool(after.position and crossed)
    opens = bot.trips if after.position and crossed else 0
    bot.account = after
    bot.share = order.target if order.target * after.position > 0 else float(np.sign(after.position))
    turn.emit(
        TRADES,
        Fill(
            bot_id=bot.bot_id,
            timestamp=time,
            order_id=order.order,
            side="buy" if order.buy else "sell",
            price=result.price,
            size=result.size,
            fee=traded.fee,
            fee_currency=market.settle,
            realised_pnl=traded.realised,
            position=after.position,
            cost=after.cost,
            cash=after.cash,
            price_scale=market.price_scale,
            size_scale=market.size_scale,
            cash_scale=market.cash_scale,
            row=row,
            opens=opens,
            closes=closes,
        ),
    )


def _closed(
    turn: Turn, bot: Bot, order: Cause, time: int, status: Literal["cancelled", "rejected"], code: str
) -> None:
    closed = OrderClosed(bot_id=bot.bot_id, timestamp=time, order_id=order, status=status, code=code)
    turn.emit(TRADES, closed)
