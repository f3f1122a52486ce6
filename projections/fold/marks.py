"""What the bots of a market are worth at a candle's close."""

from collections.abc import Set

from projections.fold.bankrupt import go_bankrupt
from projections.fold.book import BotBook
from projections.fold.life import happens
from projections.fold.money import MoneyOverflowError, equity_at
from projections.fold.turn import Moment, Turn
from streams.events import Equity
from streams.topics import BOTS

MARKS_MAX = 4096
"""Rows of one `Equity` event; keeps its record far below the limit."""


def mark(turn: Turn, book: BotBook, timeframe: str, moment: Moment, without: Set[int]) -> None:
    """Mark those of a timeframe whose worth may have changed, but for some; tell those whose worth has."""
    marks: list[tuple[int, ...]] = []
    unmarked = book.unmarked[timeframe]
    equity = equity_at(turn.market, moment.close)
    for bot_id in sorted(unmarked - without):
        bot = book.bots[bot_id]
        account = bot.account
        if not account.position:
            unmarked.remove(bot_id)
        try:
            worth = equity(account)
        except MoneyOverflowError as error:
            if bot.code not in ("overflow", "bankrupt"):
                happens(
                    turn, book, bot, "overflow",
                    who="engine", message=str(error), at=moment.time, cancelled_at=moment.time,
                )  # fmt: skip
            continue
        made = (account.cash, account.position, worth)
        if made != bot.mark:
            if worth > bot.peak or bot.mark is None:
                bot.peak = worth
            bot.mark = made
            marks.append((bot_id, *made, worth - account.cash - account.cost, bot.peak))
        if worth <= 0:
            go_bankrupt(turn, book, bot, worth, moment)
    for first in range(0, len(marks), MARKS_MAX):
        _tell(turn, moment, marks[first : first + MARKS_MAX])


def _tell(turn: Turn, moment: Moment, marks: list[tuple[int, ...]]) -> None:
    ids, cash, position, equity, unrealised, peak = zip(*marks, strict=True)
    turn.emit(
        BOTS,
        Equity(
            timestamp=moment.time,
            mark_price=moment.close,
            bot_id=ids,
            cash=cash,
            position=position,
            equity=equity,
            unrealised_pnl=unrealised,
            peak=peak,
            price_scale=turn.market.price_scale,
            size_scale=turn.market.size_scale,
            cash_scale=turn.market.cash_scale,
        ),
    )
