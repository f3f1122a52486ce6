"""Commands to the bots of a market: create, start, stop, halt, reconfigure, and signals from outside.

What becomes of a bot's status is in the table of `projections.fold.life`.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeAlias

from projections.fold.book import BotBook
from projections.fold.bots import Bot, Step
from projections.fold.life import STRATEGY_CHANGED, Happening, check_allowed, fail, happens
from projections.fold.money import Account
from projections.fold.orders import BANKRUPT, FLATTEN, place, signal
from projections.fold.specification import SCALE_MAX, check_settled, grown
from projections.fold.turn import CommandError, Moment, Turn
from projections.fold.warm import NONE, claim, take, warm
from projections.strategies.parameters import StrategyParameterError
from streams.events import (
    Bars,
    Command,
    CreateBot,
    ExternalSignal,
    HaltBot,
    ReconfigureBot,
    Sizing,
    StartBot,
    StopBot,
    WarmedCommand,
)

ToBots: TypeAlias = Command | Bars


def obey(turn: Turn, book: BotBook, command: ToBots) -> None:
    """Carry out a command to bots of this market. Raises `CommandError` for one that cannot be."""
    _OBEYED[type(command)](turn, book, command)


def code_check(strategy: str, code_hash: str) -> str:
    """What a command carries beside the code that it names: a damaged one must not look for code."""
    return sha256(f"{strategy} {code_hash}".encode()).hexdigest()[:16]


def _check_code(strategy: str, command: CreateBot | StartBot | ReconfigureBot) -> None:
    """Raises `CommandError`. A command that names code without its check is none of ours."""
    if command.code_hash is not None and command.code_check != code_check(strategy, command.code_hash):
        raise CommandError(
            f"bot {command.bot_id}: code {command.code_hash} of strategy {strategy} does not fit its check"
            f" {command.code_check}: the command is damaged, give it again"
        )


def _create(turn: Turn, book: BotBook, command: CreateBot) -> None:
    if command.bot_id in book.bots:
        raise CommandError(f"bot {command.bot_id} exists already")
    check_settled(turn.market)
    _check_sizing(command.sizing)
    _check_code(command.strategy, command)
    cash = command.cash * grown(command.cash_scale, turn.market.cash_scale, "cash")
    bot = Bot(
        command.bot_id, command.timeframe, command.strategy, command.code_hash, command.params,
        command.sizing, command.short, cash, Account(cash).check(), name=command.name, tags=command.tags,
        on_stale=command.on_stale,
    )  # fmt: skip
    book.add(bot)
    if command.start:
        _join(turn, book, bot, command, 0.0, "create, start", "created and started")
    else:
        _join(turn, book, bot, command, 0.0, "create", "created, not started")


def _start(turn: Turn, book: BotBook, command: StartBot) -> None:
    bot = book.bot(command.bot_id)
    _check_code(bot.strategy, command)
    accepts = command.code_hash is not None and command.code_hash != bot.code_hash
    happening: Happening = "start, other code" if accepts else "start"
    check_allowed(bot, happening)
    if not accepts and bot.steps:
        for name in command.warm_ups.values():
            book.warmings.pop(name, None)  # meant for code that it steps with by now
        if bot.status != "running":
            book.resume(bot)
        _happens(turn, book, bot, command, happening, "started")
        return
    book.leave(bot)
    bot.code_hash = command.code_hash or bot.code_hash
    _join(turn, book, bot, command, bot.share, happening, "started")


def _stop(turn: Turn, book: BotBook, command: StopBot) -> None:
    bot = book.bot(command.bot_id)
    _happens(turn, book, bot, command, "stop", "stopped")
    if command.flatten and bot.account.position and bot.order is None:
        place(turn, book, bot, -bot.account.position, _now(turn, book), FLATTEN)


def _halt(turn: Turn, book: BotBook, command: HaltBot) -> None:
    if command.code == BANKRUPT:
        raise CommandError(f"a halt as {BANKRUPT}: no command says so, the equity of a bot does")
    bots = book.bots.values() if command.bot_id is None else [book.bot(command.bot_id)]
    for bot in sorted(bots, key=lambda b: b.bot_id):
        if command.code == STRATEGY_CHANGED:
            book.leave(bot)
        _happens(turn, book, bot, command, "halt", command.reason, command.code)


def _reconfigure(turn: Turn, book: BotBook, command: ReconfigureBot) -> None:
    bot = book.bot(command.bot_id)
    if command.sizing is not None:
        _check_sizing(command.sizing)
    _check_code(bot.strategy, command)
    book.leave(bot)
    bot.params = bot.params if command.params is None else command.params
    bot.code_hash = command.code_hash or bot.code_hash
    bot.sizing = command.sizing or bot.sizing
    bot.short = bot.short if command.short is None else command.short
    bot.on_stale = command.on_stale or bot.on_stale
    _join(turn, book, bot, command, bot.share, "reconfigure", "reconfigured")


def _signal(turn: Turn, book: BotBook, command: ExternalSignal) -> None:
    bot = book.bot(command.bot_id)
    if not -1 <= command.target <= 1:
        raise CommandError(f"external signal for bot {bot.bot_id}: target {command.target} is not in −1 … 1")
    if not book.close:
        raise CommandError(f"external signal for bot {bot.bot_id}: {book.key} has no candle yet")
    group = book.group_of(bot)
    previous = group.target(bot.bot_id) if group else 0.0
    if command.target == previous == bot.share and bot.order is None:
        raise CommandError(f"external signal for bot {bot.bot_id}: its target is {previous} already")
    if group:
        group.aim(bot.bot_id, command.target)
    step = Step(bot.bot_id, previous, command.target, {}, origin="external")
    signal(turn, book, bot, step, _now(turn, book))


_OBEYED: dict[type[ToBots], Callable[[Turn, BotBook, Any], None]] = {
    CreateBot: _create,
    StartBot: _start,
    StopBot: _stop,
    HaltBot: _halt,
    ReconfigureBot: _reconfigure,
    ExternalSignal: _signal,
    Bars: take,
}


def _now(turn: Turn, book: BotBook) -> Moment:
    """The moment of a command: it has no row of its own, the market's time stands."""
    return Moment(turn.watermark, turn.watermark, -1, book.close)


def _join(
    turn: Turn,
    book: BotBook,
    bot: Bot,
    command: WarmedCommand,
    target: float,
    happening: Happening,
    message: str,
) -> None:
    """Let a bot step anew, from a `target` or from what its warm-up leaves; where its parameters are refused,
    that happens instead."""
    candles = claim(book, command, bot.timeframe)
    try:
        book.join(bot, 0.0 if len(candles.get(bot.timeframe, NONE).ends) else target)
    except StrategyParameterError as error:
        _happens(turn, book, bot, command, "bad parameters", str(error))
        return
    book.resume(bot)
    failure = warm(turn, book, bot, candles)
    _happens(turn, book, bot, command, happening, message)
    if failure is not None:
        fail(turn, book, bot, failure, turn.watermark)


def _happens(
    turn: Turn, book: BotBook, bot: Bot, command: Command, happening: Happening, message: str, code: str = ""
) -> None:
    happens(
        turn, book, bot, happening,
        who=command.who, message=message, at=command.at, cancelled_at=turn.watermark, code=code,
    )  # fmt: skip


def _check_sizing(sizing: Sizing) -> None:
    """Raises `CommandError` for a sizing that no bot can have."""
    if not 0 <= sizing.scale <= SCALE_MAX or sizing.value <= 0:
        raise CommandError(
            f"sizing {sizing.mode}: value {sizing.value}, scale {sizing.scale}: no amount above 0"
        )
