"""A recorded bot again, from its market's columns: every command that it was given, at its place.

What the fold does with commands, written without it; `projections.audit.parity` compares the two.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from projections.research.columns import I8, At, Floats
from projections.research.decide import BROKE, HALTED, RUNNING, STOPPED
from projections.research.run import END, Life, NotKnownError, Outcome, Prepared
from projections.strategies.code import StrategyCode
from projections.strategies.histories import Higher, History, beside
from projections.strategies.parameters import StrategyParameterError
from streams.events import (
    Bars,
    Command,
    CreateBot,
    ExternalSignal,
    HaltBot,
    OnStale,
    Params,
    ReconfigureBot,
    Sizing,
    StartBot,
    StopBot,
    WarmedCommand,
)

STRATEGY_CHANGED = "strategy_changed"
CodeOf: TypeAlias = Callable[[str, str], StrategyCode | None]
"""The code of a strategy by name and hash."""


def relive(prepared: Prepared, code_of: CodeOf, bot_id: int) -> Outcome:
    """A recorded bot with its commands. Raises `NotKnownError`; `LookupError` for a bot that is not here."""
    run = Life(prepared, 0, len(prepared.bars), marks=True)
    commands = _Commands(run, code_of, bot_id)
    for at in prepared.columns.events:
        run.until(at.bar, at.place)
        run.meet(at)
        commands.take(at)
    if not run.exists:
        raise LookupError(f"no bot {bot_id} was created on {prepared.columns.market}")
    run.until(len(prepared.bars), END)
    return run.outcome()


class _Commands:
    """The commands of one bot, each at its place. Those that the fold refused are not in the columns."""

    def __init__(self, life: Life, code_of: CodeOf, bot_id: int) -> None:
        self._life, self._code_of, self._bot_id = life, code_of, bot_id
        self._bars: dict[str, list[Bars]] = {}
        self._strategy, self._code_hash = "", ""
        self._params: Params = {}
        self._sizing, self._short = Sizing("equity", 1, 0), False
        self._on_stale: OnStale = "hold"

    def take(self, at: At) -> None:
        event = at.event
        if isinstance(event, Bars):
            prepared = self._life.prepared
            if event.warm_up and event.timeframe in (prepared.columns.timeframe, *prepared.higher):
                self._bars.setdefault(event.warm_up, []).append(event)
        elif isinstance(event, CreateBot):
            if event.bot_id == self._bot_id:
                self._create(at, event)
        elif isinstance(event, Command) and self._life.exists and self._is_for_it(event):
            self._obey(at, event)

    def _is_for_it(self, command: Command) -> bool:
        bot_id = getattr(command, "bot_id", -1)
        return bot_id == self._bot_id or (bot_id is None and isinstance(command, HaltBot))

    def _obey(self, at: At, command: Command) -> None:
        match command:
            case StartBot():
                self._start(at, command)
            case StopBot():
                self._stop(at, command)
            case HaltBot():
                self._halt(at, command)
            case ReconfigureBot():
                self._reconfigure(at, command)
            case ExternalSignal():
                self._life.signal(at, command.target)
            case _:
                raise TypeError(f"{type(command).__name__} at {at.offset} is no command to a bot")

    def _create(self, at: At, command: CreateBot) -> None:
        life = self._life
        market = life.prepared.columns.eras[int(life.bot.era)]
        self._strategy, self._code_hash, self._params = command.strategy, command.code_hash, command.params
        self._sizing, self._short, self._on_stale = command.sizing, command.short, command.on_stale
        cash = command.cash * 10 ** (market.cash_scale - command.cash_scale)
        life.begin(command.sizing, command.short, command.on_stale, cash)
        self._join(at, command, 0.0, RUNNING if command.start else STOPPED, "created")

    def _start(self, at: At, command: StartBot) -> None:
        life = self._life
        accepts = command.code_hash is not None and command.code_hash != self._code_hash
        if not accepts and life.bot.steps:
            if life.bot.standing != RUNNING:
                life.bot.resumes = 1
                life.stand(RUNNING, "started", command.at)
            return
        self._code_hash = command.code_hash or self._code_hash
        told = accepts or life.bot.standing != RUNNING
        self._join(at, command, life.bot.share, RUNNING, "started" if told else "")

    def _stop(self, at: At, command: StopBot) -> None:
        life = self._life
        if life.bot.standing == RUNNING:
            life.cancel(at.watermark, "bot_stopped", flatten=False)
            life.stand(STOPPED, "stopped", command.at)
        if command.flatten:
            life.flatten(at)

    def _halt(self, at: At, command: HaltBot) -> None:
        if command.code == STRATEGY_CHANGED:
            self._life.leave()
        self._end(at, command.at, command.code)

    def _end(self, at: At, time: int, code: str) -> None:
        """It is halted as `code`, or stays bankrupt."""
        life = self._life
        if life.bot.standing == BROKE:
            life.tell(time)
            return
        life.cancel(at.watermark, "bot_halted", flatten=True)
        life.stand(HALTED, code, time)

    def _reconfigure(self, at: At, command: ReconfigureBot) -> None:
        life = self._life
        self._params = self._params if command.params is None else command.params
        self._code_hash = command.code_hash or self._code_hash
        self._sizing = command.sizing or self._sizing
        self._short = self._short if command.short is None else command.short
        self._on_stale = command.on_stale or self._on_stale
        life.settings(self._sizing, self._short, self._on_stale)
        self._join(at, command, life.bot.share, life.bot.standing, "reconfigured")

    def _join(self, at: At, command: WarmedCommand, target: float, standing: int, code: str) -> None:
        """Step anew, from `target` or from what a warm-up leaves; then stand as the command says. `code` ""
        tells nothing."""
        life = self._life
        strategy = self._code_of(self._strategy, self._code_hash)
        if strategy is None:
            raise NotKnownError(
                f"the code of strategy {self._strategy} with hash {self._code_hash} is not at hand; carry it"
                " here from another machine: `tcpdashboard strategies --archive FILE` there, `--import FILE`"
                " here"
            )
        history, seen = self._history(at, command, strategy)
        try:
            failure = life.join(strategy, self._params, history, seen, 0.0 if seen else target)
        except StrategyParameterError:
            self._end(at, command.at, "bad_parameters")
            return
        if code == "reconfigured":
            if standing != BROKE:
                life.cancel(at.watermark, "reconfigured", flatten=True)
            if standing in {HALTED, BROKE}:
                life.tell(command.at)
            else:
                life.stand(standing, code, command.at)
        elif code:
            life.stand(standing, code, command.at)
        if failure:
            life.leave()
            self._end(at, at.watermark, "strategy_error")

    def _history(self, at: At, command: WarmedCommand, code: StrategyCode) -> tuple[History, int]:
        """What a strategy that joins here may read, and on how much of that it warms."""
        prepared, names = self._life.prepared, command.warm_ups
        whole = History(prepared.ends, prepared.values)
        own, seen = self._behind(names.get(""), whole, at.bar)
        higher: list[Higher] = []
        for timeframe in code.higher:
            closed = prepared.closed_before(timeframe, at.bar)
            above, warmed = self._behind(names.get(timeframe), prepared.of(timeframe), closed)
            higher.append(beside(own.ends, above, 0 if seen else warmed))
        return own._replace(higher=tuple(higher)), seen

    def _behind(self, name: str | None, history: History, closed: int) -> tuple[History, int]:
        """The candles of a warm-up, with those of the history behind them, where `closed` had before; and how
        many had closed of these. None: from there on."""
        if name is None:
            return History(history.ends[closed:], history.values[closed:]), 0
        bars = [one for one in self._bars.pop(name) if one.timestamp]
        rows = [row for one in bars for row in _rows(one)]
        values: Floats = np.array(rows, np.float64).reshape(-1, 5)
        ends: I8 = np.array([end for one in bars for end in one.timestamp], np.int64)
        last = ends.tolist()[-1] if len(ends) else -1
        behind = int(np.searchsorted(history.ends, last, side="right"))
        both: tuple[I8, Floats] = (
            np.concatenate([ends, history.ends[behind:]]),
            np.concatenate([values, history.values[behind:]]),
        )
        return History(*both), len(ends) + closed - behind


def _rows(bars: Bars) -> list[tuple[float, ...]]:
    unit, lot = 10**bars.price_scale, 10**bars.size_scale
    prices = zip(bars.open, bars.high, bars.low, bars.close, strict=True)
    return [
        (*(price / unit for price in row), size / lot) for row, size in zip(prices, bars.volume, strict=True)
    ]
