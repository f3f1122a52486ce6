"""What becomes of a market's bots when nobody vouches for its data any more, and when somebody does again.

While the feed that counts is not live, and at a candle that closes incomplete, a bot *holds* unless it is to
ignore that: what would open or grow its position is refused as `stale_data`, what closes goes on.

Why: ADR 24.
"""

from projections.fold.book import BotBook
from projections.fold.bots import Bot
from projections.fold.orders import FLATTEN, cancel, place
from projections.fold.turn import Moment, Turn


def vouch(turn: Turn, book: BotBook, *, live: bool) -> None:
    """The feed that counts is `live`, or not, from here on."""
    if live == book.live:
        return
    book.live = live
    moment = Moment(turn.watermark, turn.watermark, -1, book.close)
    for bot in book.bots.values():
        if live and bot.on_stale != "ignore":
            book.resume(bot)
        if not live and bot.on_stale == "flatten" and bot.status == "running":
            _flatten(turn, book, bot, moment)


def _flatten(turn: Turn, book: BotBook, bot: Bot, moment: Moment) -> None:
    cancel(turn, book, bot, moment.time, "stale_data", flatten=False)
    if bot.account.position and bot.order is None:
        place(turn, book, bot, -bot.account.position, moment, FLATTEN)
