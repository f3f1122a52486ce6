"""Which trade fills an order that waits, and what that does to its bot.

It is the first trade after the row that decided the order: not a backfilled one, and none older than the
decision. What a fill costs is in `projections.fold.fills`.
"""

from contextlib import suppress
from heapq import heapify, heappop, heappush

import numpy as np

from projections.fold.bankrupt import go_bankrupt
from projections.fold.book import BotBook
from projections.fold.bots import Bot
from projections.fold.fills import Result, Waiting, fill
from projections.fold.money import MoneyOverflowError, Traded, equity
from projections.fold.orders import end_order
from projections.fold.turn import Moment, Rows, Turn
from streams.events import Fill, RowKind
from streams.ticks import I8, U1
from streams.topics import TRADES

FILL_ROWS = 256
"""Rows looked at together: nearly always the first few hold the trade that fills."""


def fill_waiting(turn: Turn, book: BotBook, rows: Rows, start: int, stop: int) -> None:
    """Fill waiting orders with the trades of rows start ≤ row < stop."""
    if not book.waiting or start >= stop:
        return
    found: dict[tuple[int, int], int] = {}

    def first_trade(order: Waiting) -> int:
        decided_here = order.order.offset == turn.offset
        begin = (max(start, order.row + 1 if decided_here else 0), order.decided)
        if begin not in found:
            found[begin] = _first_trade(rows.time, rows.kind, *begin, stop)
        return found[begin]

    due = [(first_trade(bot.order), bot_id) for bot_id, bot in book.waiting.items() if bot.order]
    due = [(row, bot_id) for row, bot_id in due if row >= 0]
    heapify(due)
    while due:
        row, bot_id = heappop(due)
        bot = book.bots[bot_id]
        _fill(turn, book, bot, rows, row)
        if bot.order is not None and (following := first_trade(bot.order)) >= 0:
            heappush(due, (following, bot_id))


def _first_trade(time: I8, kind: U1, start: int, decided: int, stop: int) -> int:
    """The first row that may fill an order decided at time `decided`, or −1."""
    for first in range(start, stop, FILL_ROWS):
        rows = slice(first, min(first + FILL_ROWS, stop))
        found = np.flatnonzero((kind[rows] < RowKind.CLOCK) & (time[rows] >= decided))
        if len(found):
            return first + int(found[0])
    return -1


def _fill(turn: Turn, book: BotBook, bot: Bot, rows: Rows, row: int) -> None:
    order, time, price = bot.order, int(rows.time[row]), int(rows.price[row])
    assert order is not None
    result = fill(turn.market, bot.account, order, price, holds=book.holds(bot))
    bot.order = None
    del book.waiting[bot.bot_id]
    if result.traded is not None:
        number = row if rows.number is None else int(rows.number[row])
        _filled(turn, bot, order, result.traded, result, time, number)
        book.unmarked[bot.timeframe].add(bot.bot_id)
    if result.rejected is not None:
        status = "rejected" if result.traded is None else "cancelled"
        end_order(turn, bot, order.order, time, status, result.rejected)
    with suppress(MoneyOverflowError):  # the next mark halts it
        worth = equity(turn.market, bot.account, price)
        if worth <= 0:
            go_bankrupt(turn, book, bot, worth, Moment(time, time, row, price))


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
