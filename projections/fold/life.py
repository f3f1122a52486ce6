"""A bot's life as one table: what becomes of its status, by what happens to it.

Whether it steps is not in the table: it does from `create`, `reconfigure` or a start with other code on,
until its strategy fails, its parameters are refused, or its code is on its way out (`STRATEGY_CHANGED`).

Why: ADR 19.
"""

from typing import Literal, NamedTuple, get_args

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Standing
from projections.fold.orders import BANKRUPT, cancel
from projections.fold.turn import CommandError, Turn
from streams.events import BotChanged, BotStatus
from streams.topics import BOTS

STRATEGY_CHANGED = "strategy_changed"
"""Code of a halt after which a bot steps no more: the code that it was given is on its way out."""
GIVEN = "(given)"
"""In the table: the code that the command names."""

Happening = Literal[
    "create",
    "create, start",
    "start",
    "start, other code",
    "stop",
    "halt",
    "reconfigure",
    "bad parameters",
    "strategy error",
    "overflow",
    "bankrupt",
]


class Answer(NamedTuple):
    """`status` and `code` None: they stay. `cancels`: with this code a waiting order is cancelled, one that
    flattens only where `flatten` says so. `told`: whether a `BotChanged` follows. `refused`: the command
    becomes a dead letter."""

    status: BotStatus | None
    code: str | None
    cancels: str | None = None
    flatten: bool = False
    told: bool = True
    refused: bool = False


_ANY: dict[Happening, Answer] = {
    "start, other code": Answer("running", "started"),
    "halt": Answer("halted", GIVEN, "bot_halted", flatten=True),
    "bad parameters": Answer("halted", "bad_parameters", "bot_halted", flatten=True),
    "strategy error": Answer("halted", "strategy_error", "bot_halted", flatten=True),
    "overflow": Answer("halted", "overflow", "bot_halted", flatten=True),
    "bankrupt": Answer("halted", BANKRUPT, BANKRUPT, flatten=True),
}
_OWN: dict[tuple[Standing, Happening], Answer] = {
    ("stopped", "create"): Answer("stopped", "created"),
    ("stopped", "create, start"): Answer("running", "created"),
    ("stopped", "start"): Answer("running", "started"),
    ("running", "start"): Answer(None, None, told=False),
    ("halted", "start"): Answer("running", "started"),
    ("stopped", "stop"): Answer(None, None, told=False),
    ("running", "stop"): Answer("stopped", "stopped", "bot_stopped"),
    ("halted", "stop"): Answer(None, None, told=False),
    ("stopped", "reconfigure"): Answer("stopped", "reconfigured", "reconfigured", flatten=True),
    ("running", "reconfigure"): Answer("running", "reconfigured", "reconfigured", flatten=True),
    ("halted", "reconfigure"): Answer(None, None, "reconfigured", flatten=True),
    (BANKRUPT, "start"): Answer(None, None, refused=True),
    (BANKRUPT, "start, other code"): Answer(None, None, refused=True),
    (BANKRUPT, "stop"): Answer(None, None, told=False),
    (BANKRUPT, "halt"): Answer(None, None),
    (BANKRUPT, "reconfigure"): Answer(None, None),
    (BANKRUPT, "bad parameters"): Answer(None, None),
    (BANKRUPT, "strategy error"): Answer(None, None),
    (BANKRUPT, "overflow"): Answer(None, None, told=False),
    (BANKRUPT, "bankrupt"): Answer(None, None, told=False),
}
STATUSES: tuple[BotStatus, ...] = get_args(BotStatus)
STANDINGS: tuple[Standing, ...] = (*STATUSES, BANKRUPT)
LIFE = {(status, happening): answer for happening, answer in _ANY.items() for status in STATUSES} | _OWN


def check_allowed(bot: Bot, happening: Happening) -> None:
    """Raises `CommandError` for what the table refuses."""
    if LIFE[bot.standing, happening].refused:
        raise CommandError(f"bot {bot.bot_id} is bankrupt: {bot.message}; it starts no more, create another")


def happens(
    turn: Turn,
    book: BotBook,
    bot: Bot,
    happening: Happening,
    *,
    who: str,
    message: str,
    at: int,
    cancelled_at: int,
    code: str = "",
) -> None:
    """Let the table answer. `at`: time of what happens, `cancelled_at`: of an order's end; both ns.

    `code` stands in for `GIVEN`, `message` beside the code that the bot gets.
    """
    answer = LIFE[bot.standing, happening]
    if answer.cancels is not None:
        cancel(turn, book, bot, cancelled_at, answer.cancels, flatten=answer.flatten)
    if not answer.told:
        return
    bot.status, bot.who = answer.status or bot.status, who
    if answer.code is not None:
        bot.code = code if answer.code == GIVEN else answer.code
        bot.message = message
    _tell(turn, bot, at)


def fail(turn: Turn, book: BotBook, bot: Bot, failure: str, at: int) -> None:
    """The bot's strategy failed at event time `at`: it steps no more."""
    book.leave(bot)
    happens(turn, book, bot, "strategy error", who="engine", message=failure, at=at, cancelled_at=at)


def _tell(turn: Turn, bot: Bot, at: int) -> None:
    """What the bot is now."""
    if bot.since is None:
        bot.since = turn.next_cause()
    turn.emit(
        BOTS,
        BotChanged(
            bot_id=bot.bot_id,
            timestamp=at,
            market=turn.market.key,
            timeframe=bot.timeframe,
            strategy=bot.strategy,
            code_hash=bot.code_hash,
            params=bot.params,
            sizing=bot.sizing,
            short=bot.short,
            initial_cash=bot.initial_cash,
            cash_scale=turn.market.cash_scale,
            currency=turn.market.settle,
            status=bot.status,
            code=bot.code,
            message=bot.message,
            who=bot.who,
            steps=bot.steps,
            since=bot.since,
            name=bot.name,
            tags=bot.tags,
            on_stale=bot.on_stale,
            warmed=bot.warmed,
        ),
    )
