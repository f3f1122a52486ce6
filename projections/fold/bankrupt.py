"""A bot whose equity is used up: it is halted for good, and what it holds is closed at the next trade."""

from decimal import Decimal

from projections.fold.book import BotBook
from projections.fold.bots import Bot
from projections.fold.life import happens
from projections.fold.orders import BANKRUPT, place
from projections.fold.turn import Moment, Turn


def go_bankrupt(turn: Turn, book: BotBook, bot: Bot, equity: int, moment: Moment) -> None:
    """`equity`, not above 0, is what a mark or a fill says that it is worth, at `moment.close`."""
    if bot.standing != "bankrupt":
        market = turn.market
        left, at = Decimal(equity), Decimal(moment.close)
        message = (
            f"equity of {left.scaleb(-market.cash_scale):f} {market.settle}"
            f" at a price of {at.scaleb(-market.price_scale):f}"
        )
        happens(
            turn, book, bot, "bankrupt",
            who="engine", message=message, at=moment.time, cancelled_at=moment.time,
        )  # fmt: skip
    if bot.account.position and bot.order is None:
        place(turn, book, bot, -bot.account.position, moment, BANKRUPT)
