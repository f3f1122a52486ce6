"""Commands to bots: events in the journal, with who and when, effective at their place in the log.

Why: ADR 8.
"""

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypedDict
from uuid import uuid4

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Engine

from infra.commands.given import RefusedError, integer_of, timeframe_of
from infra.commands.journal_view import registrations, view
from infra.commands.warming import Warm, WarmUp, warm_up
from infra.db import queries
from infra.db.connect import writing
from infra.db.projector import BotState, write_bot_state
from projections.fold.commands import code_check
from projections.fold.specification import check_settled
from projections.fold.turn import CommandError
from projections.fold.warm import CANDLES_MAX
from projections.strategies import Signal
from projections.strategies.code import Strategies, StrategyCode, StrategyCompileError
from projections.strategies.parameters import StrategyParameterError
from streams.events import (
    Command,
    CreateBot,
    ExternalSignal,
    HaltBot,
    Market,
    OnStale,
    Params,
    ReconfigureBot,
    RegisterBot,
    Sizing,
    StartBot,
    StopBot,
    Timeframe,
    WarmedCommand,
)
from streams.journal import KnownBot, command_entry
from streams.log import Log
from streams.records import Entry, Position, partition_of
from streams.topics import market_key


class Signed(TypedDict):
    """The fields that every command begins with: request, who and when."""

    request: str
    who: str
    at: int


class BotSpec(NamedTuple):
    """A bot as it is asked for. `cash` is a decimal of the settle currency, `params` values or their text."""

    strategy: str
    venue: str
    symbol: str
    timeframe: str
    cash: str
    params: Mapping[str, object]
    sizing: Sizing = Sizing("equity", 1, 0)
    short: bool = False
    name: str = ""
    tags: tuple[str, ...] = ()
    on_stale: OnStale = "hold"

    @property
    def market(self) -> str:
        return market_key(self.venue, self.symbol)


class Begun(NamedTuple):
    """A bot that begins, or begins anew: where the command stands in the journal, and what it warms on, by
    `higher` timeframe too."""

    bot_id: int
    position: Position
    warm_up: WarmUp
    higher: Mapping[Timeframe, WarmUp] = MappingProxyType({})


class BotManager:
    """Writes bot commands to the journal. Safe to use from several processes at once.

    `who` stands in every command, such as `cli:ann`. `database` is asked where a bot lives before the journal
    is; None where there is none yet. Every command may be given a `request` id: the fold takes the first of
    an id and drops its repeats.

    A bot that begins, or begins anew, is warmed on the candles of its market before it: on as many as its
    indicators need, unless `warm` says how many, "all", or 0 for none.
    """

    def __init__(
        self,
        log: Log,
        strategies: Strategies,
        who: str,
        database: Engine | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._log = log
        self._strategies = strategies
        self._who = who
        self._database = database
        self._now = now

    def create_bot(
        self, spec: BotSpec, *, start: bool = False, warm: Warm = None, request: str | None = None
    ) -> Begun:
        """Register and create a bot, stopped unless `start`.

        Raises `RefusedError` for a market or timeframe that does not exist, for cash that does not fit and
        for a strategy that does not compile, `LookupError` for one that does not exist,
        `StrategyParameterError` for its parameters.
        """
        code = compiled(self._strategies, spec.strategy)
        market = find_market(self._log, spec.market)
        # what is refused is refused here, before anything is written
        checked = create_command(spec, market, code, 0, self._signed(), start=start)
        registered = self._append(RegisterBot(**self._signed(), market=market.key), market.key, partition=0)
        bot_id = registrations(self._log, registered.offset + 1)
        # an id of its own: a repeated registration leaves an id unused, and never two bots with one id
        command = create_command(spec, market, code, bot_id, self._signed(request), start=start)
        needs = _needs(code, checked.params, checked.timeframe)
        return self._begin(command, market.key, needs, warm)

    def start_bot(self, bot_id: int, *, warm: Warm = None, request: str | None = None) -> Begun:
        """Start a bot with today's code of its strategy, which must compile. A running bot is no error.

        It begins anew where that is other code, or where its strategy had failed; else it goes on. Raises
        `RefusedError` for a bot that the database knows as bankrupt; the fold refuses any other.
        """
        bot = self._known(bot_id)
        row = queries.bot(self._database, bot_id) if self._database is not None else None
        if row is not None and row.code == "bankrupt":
            raise RefusedError(f"bot {bot_id} is bankrupt: {row.message}; it starts no more, create another")
        code = compiled(self._strategies, bot.strategy)
        command = StartBot(
            **self._signed(request),
            bot_id=bot_id,
            code_hash=code.code_hash,
            code_check=code_check(bot.strategy, code.code_hash),
        )
        if bot.steps and bot.code_hash == code.code_hash:
            warm = 0
        return self._begin(command, bot.market, _needs(code, bot.params, bot.timeframe), warm)

    def stop_bot(self, bot_id: int, *, flatten: bool = False, request: str | None = None) -> Position:
        """Stop a bot; `flatten` closes its position at the next trade. A stopped bot is no error."""
        return self._append(
            StopBot(**self._signed(request), bot_id=bot_id, flatten=flatten), self._bot(bot_id).market
        )

    def halt_bot(self, bot_id: int, reason: str, *, request: str | None = None) -> Position:
        return self._append(
            HaltBot(**self._signed(request), bot_id=bot_id, reason=reason, code="halted"),
            self._bot(bot_id).market,
        )

    def halt_all(self, reason: str, *, request: str | None = None) -> list[Position]:
        """Halt every bot: one command in each partition, all appended at once."""
        halts = [
            self._entry(
                HaltBot(**self._signed(request), bot_id=None, reason=reason, code="halted"), "", partition
            )
            for partition in range(self._log.partitions)
        ]
        return self._log.append(halts)

    def reconfigure_bot(
        self,
        bot_id: int,
        params: Mapping[str, object] | None = None,
        sizing: Sizing | None = None,
        short: bool | None = None,
        on_stale: OnStale | None = None,
        *,
        warm: Warm = None,
        request: str | None = None,
    ) -> Begun:
        """Change what is given and keep the rest, single parameters and the strategy's code too.

        Parameters are checked by the bot's own code; a bot whose code is not at hand takes today's.
        """
        bot = self._known(bot_id)
        checked: Params | None = None
        today: str | None = None
        code = self._strategies.get(bot.strategy, bot.code_hash)
        if params:
            if code is None:
                code = compiled(self._strategies, bot.strategy)
                today = code.code_hash
            checked = code.check({**bot.params, **params})
        command = ReconfigureBot(
            **self._signed(request),
            bot_id=bot_id,
            params=checked,
            code_hash=today,
            sizing=sizing,
            short=short,
            on_stale=on_stale,
            code_check="" if today is None else code_check(bot.strategy, today),
        )
        needs = _needs(code, checked or bot.params, bot.timeframe)
        return self._begin(command, bot.market, needs, warm)

    def process_signal(self, bot_id: int, signal: Signal | float, *, request: str | None = None) -> Position:
        """Give a bot a target that was decided outside; the engine takes it like its strategy's own."""
        target = signal.target if isinstance(signal, Signal) else float(signal)
        if not math.isfinite(target) or abs(target) > 1:
            raise RefusedError(f"signal for bot {bot_id}: target {target} must be a number from -1 to 1")
        return self._append(
            ExternalSignal(**self._signed(request), bot_id=bot_id, target=target), self._bot(bot_id).market
        )

    def update_bot_state(self, bot_id: int, state: BotState, connection: Connection | None = None) -> None:
        """Write a bot's newest state, as the projector does with each that the fold derives.

        Within the transaction of `connection`, or else in one of its own.
        """
        if connection is not None:
            write_bot_state(bot_id, state, connection)
            return
        if self._database is None:
            raise RefusedError(f"state of bot {bot_id}: this manager was given no database")
        with writing(self._database).begin() as own:
            write_bot_state(bot_id, state, own)

    def market_of(self, bot_id: int) -> str:
        """The key of the market that a bot trades. Raises `RefusedError` for a bot that does not exist."""
        return self._bot(bot_id).market

    def _signed(self, request: str | None = None) -> Signed:
        return Signed(request=request or uuid4().hex, who=self._who, at=self._now())

    def _begin(
        self, command: WarmedCommand, market: str, needs: Mapping[Timeframe, int], warm: Warm
    ) -> Begun:
        """Append a command, behind the candles that it is to be warmed on; `needs` as `warm_up` has them."""
        warmed = warm_up(self._log, market, needs, warm, self._now() // 1_000_000)
        own, *_ = warmed.values()
        higher: dict[Timeframe, WarmUp] = dict(list(warmed.items())[1:])
        command = replace(
            command,
            warm_up=own.name,
            warm_candles=own.candles,
            warm_higher={timeframe: one.candles for timeframe, one in higher.items() if one.name} or None,
        )
        return Begun(command.bot_id, self._append(command, market), own, higher)

    def _append(self, command: Command, market: str, partition: int | None = None) -> Position:
        number = self._partition(market) if partition is None else partition
        return self._log.append([self._entry(command, market, number)])[0]

    def _entry(self, command: Command, market: str, partition: int) -> Entry:
        return command_entry(command, market, partition, self._now() // 1_000_000)

    def _partition(self, market: str) -> int:
        return partition_of(market.encode(), self._log.partitions)

    def _known(self, bot_id: int) -> KnownBot:
        """A bot as the journal leaves it. Raises `RefusedError`."""
        bot = self._bot(bot_id)
        return view(self._log, self._partition(bot.market)).bots.get(bot_id, bot)._replace(steps=bot.steps)

    def _bot(self, bot_id: int) -> KnownBot:
        row = queries.bot(self._database, bot_id) if self._database is not None else None
        if row is not None:
            params = msgspec.json.decode(row.params)
            return KnownBot(row.market, row.timeframe, row.strategy, row.code_hash, params, bool(row.steps))
        for partition in range(self._log.partitions):
            bots = view(self._log, partition).bots
            if bot_id in bots:
                return bots[bot_id]
        raise RefusedError(f"bot {bot_id} does not exist; `tcpdashboard bots list` shows those that do")


def compiled(strategies: Strategies, strategy: str) -> StrategyCode:
    """Today's code of a strategy, able to step. Raises `RefusedError` and `LookupError`."""
    code = strategies.latest(strategy)
    try:
        code.compile()
    except StrategyCompileError as error:
        raise RefusedError(f"strategy {strategy} does not compile: {error}") from None
    return code


def create_command(
    spec: BotSpec, market: Market, code: StrategyCode, bot_id: int, signed: Signed, *, start: bool
) -> CreateBot:
    """Raises `RefusedError` and `StrategyParameterError` for a bot that cannot be."""
    timeframe = timeframe_of(spec.timeframe)
    code.check_timeframe(timeframe)
    try:
        check_settled(market)
    except CommandError as error:
        raise RefusedError(str(error)) from error
    cash = integer_of(spec.cash, market.cash_scale, f"cash in {market.settle}")
    return CreateBot(
        **signed,
        bot_id=bot_id,
        market=market.key,
        timeframe=timeframe,
        strategy=spec.strategy,
        code_hash=code.code_hash,
        params=code.check(spec.params),
        sizing=spec.sizing,
        short=spec.short,
        cash=cash,
        cash_scale=market.cash_scale,
        start=start,
        name=spec.name,
        tags=spec.tags,
        on_stale=spec.on_stale,
        code_check=code_check(spec.strategy, code.code_hash),
    )


def _needs(code: StrategyCode | None, params: Params, timeframe: Timeframe) -> dict[Timeframe, int]:
    """Candles to warm on, by timeframe, the bot's own first. A bot whose code is not at hand, or that refuses
    its parameters, warms on none."""
    try:
        if code is None:
            return {timeframe: 0}
        needs: dict[Timeframe, int] = {timeframe: code.need(params)}
        needs.update((above, code.need(params, above)) for above in code.higher)
        return needs
    except StrategyParameterError:
        return {timeframe: 0}


def warm_of(text: str) -> Warm:
    """`all`, or a number of candles. Raises `RefusedError`."""
    if text == "all":
        return "all"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= CANDLES_MAX:
        raise RefusedError(f"warm {text!r}: write all, or a number of candles from 1 to {CANDLES_MAX}")
    return int(text)


def find_market(log: Log, key: str) -> Market:
    """The newest specification of a market in the journal. Raises `RefusedError`."""
    market = view(log, partition_of(key.encode(), log.partitions)).markets.get(key)
    if market is not None:
        return market
    known = {name for partition in range(log.partitions) for name in view(log, partition).markets}
    shown = f"known are {', '.join(sorted(known)[:8])}" if known else "none is known yet"
    raise RefusedError(
        f"market {key} is not in the journal; {shown}. Add one with"
        " `tcpdashboard markets add …`, or by `tcpdashboard import FILE …` or `up`"
    )
